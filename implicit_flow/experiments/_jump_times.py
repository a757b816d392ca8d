"""When something infinitesimal becomes visible along a path."""

import numpy as np
from jaxtyping import Float


def crossing(
    times: Float[np.ndarray, " k"],
    sizes: Float[np.ndarray, " k"],
    level: float,
    *,
    power: float = 0.0,
) -> float:
    """The first time at which a size passes a level.

    Args:
        times: increasing, shape (k,).
        sizes: nonnegative, shape (k,).
        level: positive.
        power: interpolation is linear in the logarithm, or in size^-power where that is positive:
            exact for exponential growth, and for the blow-up of deeper products.

    Returns:
        The time; nan where the level is never passed.
    """
    above = np.flatnonzero(sizes > level)
    if above.size == 0 or above[0] == 0:
        return float("nan")
    last = above[0]
    before, after = np.maximum(sizes[last - 1 : last + 1], 1e-300)
    scale = (lambda x: -(x**-power)) if power else np.log
    share = (scale(level) - scale(before)) / (scale(after) - scale(before))
    return float(times[last - 1] + share * (times[last] - times[last - 1]))


def around(jumps: Float[np.ndarray, " j"], points: int) -> Float[np.ndarray, " k"]:
    """Times that resolve every jump and reach beyond the last.

    Args:
        jumps: increasing, shape (j,).
        points: for each jump.

    Returns:
        Increasing times.
    """
    windows = [np.linspace(0.6 * jump, 1.1 * jump, points) for jump in jumps]
    between = np.linspace(0.2 * jumps[0], 2.0 * jumps[-1], 2 * points)
    return np.unique(np.concatenate([*windows, between]))
