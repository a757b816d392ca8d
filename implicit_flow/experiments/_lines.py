"""Whether a loss is convex in the weights, looked at along random lines."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


_POINTS = 33
LOSSES: dict[str, Callable] = {
    "z": lambda z, y: z,
    "-z": lambda z, y: -z,
    "squared": lambda z, y: 0.5 * (z - y) ** 2,
    "logistic": lambda z, y: np.logaddexp(0, -y * z),
}


def predictors(num_inputs: int, width: int, key: Any) -> dict[str, tuple[int, bool, Callable]]:
    """Predictors f(w, x) with as many weights as they have, and whether they are affine in w.

    Args:
        num_inputs: d.
        width: hidden units, or features.
        key: of the features that are fixed.

    Returns:
        Name -> number of weights, whether affine, and f.
    """
    one, two = jax.random.split(key)
    fixed = jax.random.normal(one, (width, num_inputs))
    shift = jax.random.normal(two, (width,))
    layer = num_inputs * width

    def two_layers(w: Float[Array, " s"], x: Float[Array, " d"], bend: Callable) -> Array:
        return w[layer:] @ bend(w[:layer].reshape(width, num_inputs) @ x)

    return {
        "linear": (num_inputs, True, lambda w, x: w @ x),
        "quadratic in x": (
            num_inputs**2,
            True,
            lambda w, x: x @ w.reshape(num_inputs, num_inputs) @ x,
        ),
        "fixed features": (width, True, lambda w, x: w @ jax.nn.relu(fixed @ x + shift)),
        "product of weights": (layer + width, False, lambda w, x: two_layers(w, x, lambda h: h)),
        "ReLU network": (layer + width, False, lambda w, x: two_layers(w, x, jax.nn.relu)),
        "tanh network": (layer + width, False, lambda w, x: two_layers(w, x, jnp.tanh)),
    }


def least_bend(
    predictor: Callable,
    num_weights: int,
    inputs: np.ndarray,
    labels: np.ndarray,
    num_lines: int,
    key: Any,
) -> dict[str, tuple[float, float]]:
    """The most negative second difference of each loss along random lines, and how often there is.

    Args:
        predictor: f(w, x).
        num_weights: of w.
        inputs: shape (N, d).
        labels: of +1 and -1, shape (N,).
        num_lines: lines w0 + t (w1 - w0), with t from -1 to 2.
        key: of the lines.

    Returns:
        Loss -> the least second difference relative to the largest size of the loss on its line,
        and the share of lines on which it is negative beyond rounding.
    """
    x = jnp.asarray(inputs)
    times = jnp.linspace(-1.0, 2.0, _POINTS)

    def along(key: Any) -> Float[Array, "points examples"]:
        ends = jax.random.normal(key, (2, num_weights)) / np.sqrt(max(inputs.shape[1], 1))
        return jax.vmap(
            lambda t: jax.vmap(lambda x: predictor(ends[0] + t * (ends[1] - ends[0]), x))(x)
        )(times)

    z = np.asarray(jax.jit(jax.vmap(along))(jax.random.split(key, num_lines)))
    found = {}
    for name, loss in LOSSES.items():
        values = loss(z, labels).mean(axis=-1)
        bends = values[:, 2:] - 2 * values[:, 1:-1] + values[:, :-2]
        # Means of N numbers, each rounded a few times in sums over the weights.
        sizes = np.abs(loss(z, labels)).max(axis=(1, 2))
        least = bends.min(axis=1) / sizes
        rounding = 64 * np.finfo(values.dtype).eps * (num_weights + len(labels))
        found[name] = (float(least.min()), float(np.mean(least < -rounding)))
    return found
