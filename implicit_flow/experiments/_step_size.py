"""Choosing step sizes alike for all methods, on grids that do not end where the best one is."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


# A grid is extended up to this many values: six powers of ten beyond those that one begins with.
MOST_TRIED = 16


class StepSize(NamedTuple):
    """A step size and how it was chosen.

    Attributes:
        rate: the step size, a power 10^-a.
        scores: exponent a -> score of every step size tried, the lower the better.
        is_inside: whether a larger and a smaller step size were tried and found worse.
    """

    rate: float
    scores: dict[float | int, Any]
    is_inside: bool


def choose_step_size(
    score: Callable[[float], Any], exponents: Sequence[float | int], *, most_tried: int = MOST_TRIED
) -> StepSize:
    """Finds the best of the step sizes 10^-a, extending the grid while the best is at its end.

    Args:
        score: of a step size; a number or a tuple, the lower the better, infinite (in its first
            entry) where the run was lost.
        exponents: the a to begin with, at equal distances.
        most_tried: where the extension stops.

    Returns:
        The choice. Where the extension stopped, or every run was lost, `is_inside` is false.

    Example:
        >>> from implicit_flow.experiments._step_size import choose_step_size
        >>> found = choose_step_size(lambda rate: (rate - 300.0) ** 2, (0, 1, 2))
        >>> found.rate, found.is_inside, sorted(found.scores)
        (100.0, True, [-3, -2, -1, 0, 1, 2])
    """
    tried = sorted(exponents)
    gap = tried[1] - tried[0] if len(tried) > 1 else 1
    scores = {exponent: score(10.0**-exponent) for exponent in tried}
    while True:
        best = min(tried, key=lambda exponent: scores[exponent])
        if _is_lost(scores[best]):
            # Every run was lost: only smaller steps can help.
            best = tried[-1]
        is_inside = tried[0] < best < tried[-1] and not _is_lost(scores[best])
        if is_inside or len(tried) >= most_tried:
            return StepSize(10.0**-best, scores, is_inside)
        further = tried[0] - gap if best == tried[0] else tried[-1] + gap
        scores[further] = score(10.0**-further)
        tried = sorted(scores)


def _is_lost(score: Any) -> bool:
    return not math.isfinite(score[0] if isinstance(score, tuple) else score)
