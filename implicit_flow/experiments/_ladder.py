"""Ladders of alpha: what they must be, and the exponent with which something falls along them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from .. import _checks


def checked(log10_alphas: Sequence[float]) -> Float[np.ndarray, " k"]:
    """Refuse a ladder that does not go down towards alpha = 0.

    Args:
        log10_alphas: logarithms to base 10.

    Returns:
        The ladder, shape (k,).

    Raises:
        ValueError: values that do not decrease, or are not negative; fewer than two.

    Example:
        >>> from implicit_flow.experiments._ladder import checked
        >>> checked((-2.0, -4.0)).tolist()
        [-2.0, -4.0]
    """
    ladder = np.array(log10_alphas, float)
    if ladder.size < 2 or np.any(np.diff(ladder) >= 0) or ladder[0] >= 0:
        _checks.refuse(
            "log10_alphas",
            "hold two or more negative numbers that decrease",
            f"is {ladder.tolist()}",
            "For instance (-2, -4, -8).",
        )
    return ladder


def exponent(
    ladder: Float[np.ndarray, " k"],
    heights: Float[np.ndarray, " k"],
    usable: Bool[np.ndarray, " k"],
) -> float:
    """The slope of log(height) over log(alpha), between the last two usable rungs.

    Args:
        ladder: logarithms of alpha to base 10, decreasing, shape (k,).
        heights: positive where usable, shape (k,).
        usable: where heights are far above their errors, shape (k,).

    Returns:
        The exponent, or nan where fewer than two rungs are usable.

    Example:
        >>> import numpy as np
        >>> from implicit_flow.experiments._ladder import exponent
        >>> ladder = np.array([-2.0, -4.0, -8.0])
        >>> round(exponent(ladder, 10 ** (ladder / 4), np.array([True, True, True])), 12)
        0.25
    """
    found = np.flatnonzero(usable)
    if found.size < 2:
        return float("nan")
    above, below = found[-2:]
    fall = np.log10(heights[above]) - np.log10(heights[below])
    return float(fall / (ladder[above] - ladder[below]))


def escape_time(log10_alpha: float, rate: float) -> float:
    """When a direction of X that grows like alpha e^{2 rate t} is of order one.

    Args:
        log10_alpha: the start.
        rate: largest eigenvalue of A*(y), positive.

    Returns:
        A time of dU/dt = -A*(r) U.

    Example:
        >>> from implicit_flow.experiments._ladder import escape_time
        >>> round(escape_time(-4.0, 2.0), 6)
        2.302585
    """
    return float(-log10_alpha * np.log(10) / (2 * rate))
