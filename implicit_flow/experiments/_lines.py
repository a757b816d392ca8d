"""Whether a loss is convex in the weights, looked at along random lines."""

from collections.abc import Callable

import numpy as np


_POINTS = 33
LOSSES: dict[str, Callable] = {
    "z": lambda z, y: z,
    "-z": lambda z, y: -z,
    "squared": lambda z, y: 0.5 * (z - y) ** 2,
    "logistic": lambda z, y: np.logaddexp(0, -y * z),
}


def predictors(
    num_inputs: int, width: int, random: np.random.Generator
) -> dict[str, tuple[int, bool, Callable]]:
    """Predictors f(w, x) of many w and many x, and whether they are affine in w.

    Args:
        num_inputs: d.
        width: hidden units, or features.
        random: of the features that are fixed.

    Returns:
        Name -> number of weights s, whether affine, and f, which takes w of shape (..., s) and x
        of shape (N, d) to shape (..., N).
    """
    fixed, shift = random.standard_normal((num_inputs, width)), random.standard_normal(width)
    layer = num_inputs * width

    def two_layers(w: np.ndarray, x: np.ndarray, bend: Callable) -> np.ndarray:
        first = w[..., :layer].reshape(*w.shape[:-1], width, num_inputs)
        return np.einsum("...k,...kn->...n", w[..., layer:], bend(first @ x.T))

    def relu(h: np.ndarray) -> np.ndarray:
        return np.maximum(h, 0)

    def quadratic(w: np.ndarray, x: np.ndarray) -> np.ndarray:
        return w @ np.einsum("na,nb->abn", x, x).reshape(num_inputs**2, len(x))

    return {
        "linear": (num_inputs, True, lambda w, x: w @ x.T),
        "quadratic in x": (num_inputs**2, True, quadratic),
        "fixed features": (width, True, lambda w, x: w @ relu(x @ fixed + shift).T),
        "product of weights": (layer + width, False, lambda w, x: two_layers(w, x, lambda h: h)),
        "ReLU network": (layer + width, False, lambda w, x: two_layers(w, x, relu)),
        "tanh network": (layer + width, False, lambda w, x: two_layers(w, x, np.tanh)),
    }


def least_bend(
    predictor: Callable,
    num_weights: int,
    inputs: np.ndarray,
    labels: np.ndarray,
    num_lines: int,
    random: np.random.Generator,
) -> dict[str, tuple[float, float]]:
    """The most negative second difference of each loss along random lines, and how often there is.

    Args:
        predictor: f(w, x).
        num_weights: of w.
        inputs: shape (N, d).
        labels: of +1 and -1, shape (N,).
        num_lines: lines w0 + t (w1 - w0), with t from -1 to 2.
        random: of the lines.

    Returns:
        Loss -> the least second difference relative to the largest size of the loss on its line,
        and the share of lines on which it is negative beyond rounding.
    """
    times = np.linspace(-1.0, 2.0, _POINTS)[None, :, None]
    ends = random.standard_normal((2, num_lines, 1, num_weights)) / np.sqrt(inputs.shape[1])
    z = predictor(ends[0] + times * (ends[1] - ends[0]), inputs)
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
