"""The figures of a report, with the words below them."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import plotting
from .._solution import Solution
from ._alphas import show_alpha
from ._walk import Answer


if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Picture(NamedTuple):
    """A figure and what is said about it.

    Attributes:
        name: of its file, without a suffix.
        title: above it.
        caption: below it.
        alternative: for those who cannot see it.
        draw: makes it.
    """

    name: str
    title: str
    caption: str
    alternative: str
    draw: Callable[[], "Figure"]


_BOUND = (
    " Nothing that meets the targets lies in the gray region: that is what the lower bound proves."
)


def pictures(answer: Answer) -> list[Picture]:
    """The figures of a report, those against alpha first.

    Args:
        answer: of the main job.

    Returns:
        The figures, not yet drawn.
    """
    found = answer.limit
    # What is above that is off the scale; see `plotting.nuclear_norm`.
    highest = 3 * max(rung.nuclear_norm for rung in answer.rungs)
    shown = [
        Picture(
            "nuclear_norm",
            "Nuclear norm against α",
            "Each point is the end of one flow, started at X₀ = α I; its bar is the error estimate "
            "of the solver (often smaller than the point)."
            + (_BOUND if answer.lower_bound <= highest else ""),
            "Nuclear norm at the end of the flow against the scale alpha of the start.",
            lambda: plotting.nuclear_norm(found),
        )
    ]
    if any(rung.converged and 0 < rung.gap < math.inf for rung in answer.rungs):
        shown.append(
            Picture(
                "excess",
                "Excess over the minimum against α",
                "How far above the lower bound each flow ends, relative to it, on a logarithmic "
                "scale. Hollow points: no more than the error of the solver.",
                "Relative excess of the nuclear norm over the lower bound against alpha.",
                lambda: plotting.excess(found),
            )
        )
    shown.append(
        Picture(
            "eigenvalues",
            "Eigenvalues against α",
            "In color: eigenvalues that survive, as many as the rank. In gray: those that vanish "
            "as α → 0, each like a power of α. The shaded part is below the error estimate of X.",
            "Eigenvalues of X at the end of the flow against the scale alpha of the start.",
            lambda: plotting.eigenvalues(found),
        )
    )
    for path in answer.paths:
        alpha = show_alpha(float(path.log10_alpha))
        shown.append(
            Picture(
                f"path_{alpha}",
                f"The flow in time, α = {alpha}",
                "From top to bottom: the residual, the nuclear norm and the eigenvalues of Xₜ. "
                "The smaller α is, the more the eigenvalues leave zero one after another. "
                "Time is that of dU/dt = −A*(r)U.",
                f"Residual, nuclear norm and eigenvalues against time for alpha = {alpha}.",
                _until_settled(path),
            )
        )
    return shown


def _until_settled(path: Solution) -> Callable[[], "Figure"]:
    """The picture of a path without its long uneventful end."""

    def draw() -> "Figure":
        drawn = plotting.path(path)
        drawn.axes[-1].set_xlim(0, settling_time(path))
        return drawn

    return draw


def settling_time(path: Solution) -> float:
    """A while after the last time at which the nuclear norm is off its end by 2%.

    Args:
        path: a solution with a path.

    Returns:
        A positive time, at most the last of the path.
    """
    ts, Xs = np.asarray(path.ts), np.asarray(path.Xs)
    norms = np.trace(Xs, axis1=1, axis2=2)
    away = np.abs(norms - norms[-1]) > 0.02 * norms[-1]
    last = ts[np.flatnonzero(away)[-1]] if np.any(away) else 0.0
    return float(min(ts[-1], 1.3 * last)) or float(ts[-1])
