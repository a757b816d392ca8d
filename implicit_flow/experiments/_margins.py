"""The margin with which a kernel separates a function on the cube, between two bounds."""

import numpy as np
from scipy.optimize import nnls


def gaussian(points: np.ndarray) -> np.ndarray:
    """The Gaussian kernel of width sigma^2 = d on the points of a cube.

    Args:
        points: shape (n, d).

    Returns:
        The kernel matrix, with ones on the diagonal.
    """
    squares = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    return np.exp(-squares / (2 * points.shape[1]))


def arc_cosine(points: np.ndarray) -> np.ndarray:
    """The kernel of infinitely many random ReLU units with biases.

    Args:
        points: shape (n, d).

    Returns:
        The kernel matrix, with ones on the diagonal.

    Reference:
        Cho and Saul (2009), Kernel methods for deep learning.
    """
    inside = (points @ points.T + 1) / (points.shape[1] + 1)
    angle = np.arccos(np.clip(inside, -1, 1))
    return (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi


def margin(kernel: np.ndarray, signs: np.ndarray) -> tuple[float, float]:
    r"""The largest margin of a function f of the kernel's space, $\min_i y_if(x_i)/\|f\|$.

    It is the distance $\min\sqrt{\alpha'YKY\alpha}$ over $\alpha \ge 0$, $1'\alpha = 1$: any such
    alpha bounds it from above, and the f that belongs to it from below.

    Args:
        kernel: K, shape (n, n).
        signs: y, of +1 and -1, shape (n,).

    Returns:
        A lower and an upper bound.
    """
    Q = signs[:, None] * kernel * signs
    # With Q = RR', alpha'Q alpha / 2 - 1'alpha is |R'alpha - R^-1 1|^2 / 2 and a constant.
    values, vectors = np.linalg.eigh(Q)
    root = np.sqrt(np.maximum(values, values[-1] * 1e-15))
    alpha = nnls(root[:, None] * vectors.T, (vectors.T @ np.ones(len(signs))) / root)[0]
    norm = float(np.sqrt(alpha @ Q @ alpha))
    return float(np.min(Q @ alpha)) / norm, norm / float(np.sum(alpha))
