"""Random labels, and networks of every width trained at once to fit them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from ..networks import MLP


def fitted_share(
    points: np.ndarray, labels: np.ndarray, widths: tuple[int, ...], *, num_steps: int, seed: int
) -> np.ndarray:
    """Trains a network with one hidden layer of each width on each row of labels, by Adam.

    All widths run as one program: the widest, with units switched off at their output.

    Args:
        points: shape (N, d).
        labels: of +1 and -1, shape (repeats, N).
        widths: hidden units.
        num_steps: steps of training on all points.
        seed: of the starts.

    Returns:
        The share of points with the right sign, shape (widths, repeats).
    """
    x, y = jnp.asarray(points, jnp.float32), jnp.asarray(labels, jnp.float32)
    most = max(widths)
    optimizer = optax.adam(0.01)

    def masked(network: MLP, width: Int[Array, ""]) -> MLP:
        keep = jnp.arange(most) < width
        return eqx.tree_at(lambda n: n.layers[1].weight, network, replace_fn=lambda w: w * keep)

    def loss(network: MLP, width: Int[Array, ""], y: Float[Array, " N"]) -> Float[Array, ""]:
        return jnp.mean(jax.nn.softplus(-y * jax.vmap(masked(network, width))(x)[:, 0]))

    def train(
        key: Key[Array, ""], width: Int[Array, ""], y: Float[Array, " N"]
    ) -> Float[Array, ""]:
        network = MLP((points.shape[1], most, 1), key=key, dtype=jnp.float32)
        parameters, rest = eqx.partition(network, eqx.is_inexact_array)

        def step(carry: tuple, _: None) -> tuple[tuple, None]:
            now, state = carry
            slope = jax.grad(lambda p: loss(eqx.combine(p, rest), width, y))(now)
            change, state = optimizer.update(slope, state, now)
            return (eqx.apply_updates(now, change), state), None

        start = (parameters, optimizer.init(parameters))
        (last, _), _ = jax.lax.scan(step, start, None, length=num_steps)
        outputs = jax.vmap(masked(eqx.combine(last, rest), width))(x)[:, 0]
        return jnp.mean(outputs * y > 0)

    def of_width(width: Int[Array, ""], key: Key[Array, ""]) -> Float[Array, " repeats"]:
        keys = jax.random.split(key, len(labels))
        return jax.vmap(train, (0, None, 0))(keys, width, y)

    keys = jax.random.split(jax.random.key(seed), len(widths))
    return np.asarray(jax.jit(jax.vmap(of_width))(jnp.asarray(widths), keys))
