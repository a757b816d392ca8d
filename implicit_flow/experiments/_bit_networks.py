"""Small ReLU networks on the inputs {0, 1}^d, many of them trained at once."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from ..networks import MLP


def trained_outputs(
    inputs: np.ndarray,
    labels: np.ndarray,
    examples: np.ndarray,
    *,
    width: int,
    num_steps: int,
    seed: int,
) -> np.ndarray:
    """Trains a network with one hidden layer for each row of labels, by Adam on all examples.

    Args:
        inputs: bits, shape (2^d, d).
        labels: of every input, shape (lanes, 2^d).
        examples: how often each input is among the examples, shape (lanes, 2^d).
        width: hidden units.
        num_steps: steps of training.
        seed: of the starts.

    Returns:
        What the networks say of every input, shape (lanes, 2^d).
    """
    x = jnp.asarray(2.0 * inputs - 1.0, jnp.float32)
    signs = jnp.asarray(2.0 * labels - 1.0, jnp.float32)
    weights = jnp.asarray(
        examples / np.maximum(examples.sum(axis=1, keepdims=True), 1), jnp.float32
    )
    keys = jax.random.split(jax.random.key(seed), len(labels))
    optimizer = optax.adam(0.01)

    def loss(
        network: MLP, sign: Float[Array, " points"], weight: Float[Array, " points"]
    ) -> Float[Array, ""]:
        return jnp.sum(weight * jax.nn.softplus(-sign * jax.vmap(network)(x)[:, 0]))

    def train(
        key: Key[Array, ""], sign: Float[Array, " points"], weight: Float[Array, " points"]
    ) -> Float[Array, " points"]:
        network = MLP((inputs.shape[1], width, 1), key=key, dtype=jnp.float32)
        parameters, rest = eqx.partition(network, eqx.is_inexact_array)

        def step(carry: tuple, _: None) -> tuple[tuple, None]:
            now, state = carry
            slope = jax.grad(lambda p: loss(eqx.combine(p, rest), sign, weight))(now)
            change, state = optimizer.update(slope, state, now)
            return (eqx.apply_updates(now, change), state), None

        start = (parameters, optimizer.init(parameters))
        (last, _), _ = jax.lax.scan(step, start, None, length=num_steps)
        return jax.vmap(eqx.combine(last, rest))(x)[:, 0]

    outputs = jax.jit(jax.vmap(train))(keys, signs, weights)
    return np.asarray(outputs) > 0
