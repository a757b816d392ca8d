"""What pictures of a path show, read from a solution with `saveat`."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from .. import _checks
from .._solution import Solution
from ._style import COLORS, GRAY


if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Trajectory(NamedTuple):
    """Numbers along a path.

    Attributes:
        times: shape (k,).
        eigenvalues: of X, decreasing along the second axis, shape (k, n).
        nuclear_norms: shape (k,).
        residual_norms: of the residual, relative to the first, shape (k,).
        log10_alpha: scale of the start; nan for a flow that starts at 0.
    """

    times: Float[np.ndarray, " k"]
    eigenvalues: Float[np.ndarray, "k n"]
    nuclear_norms: Float[np.ndarray, " k"]
    residual_norms: Float[np.ndarray, " k"]
    log10_alpha: float


def trajectory_of(sol: Solution) -> Trajectory:
    """Read the numbers that a picture of a path shows.

    Args:
        sol: a solution from `simulate(..., saveat=times)`.

    Returns:
        The numbers.

    Raises:
        ValueError: a solution without a path.
    """
    _checks.instance(sol, "sol", Solution)
    if sol.ts is None or sol.Xs is None or sol.residuals is None:
        _checks.refuse(
            "sol", "have a path", "has only its end", "Pass `saveat=times` to `simulate`."
        )
    Xs = np.asarray(sol.Xs, dtype=float)
    eigenvalues = np.linalg.eigvalsh((Xs + np.swapaxes(Xs, 1, 2)) / 2)[:, ::-1]
    sizes = np.linalg.norm(np.asarray(sol.residuals, dtype=float), axis=1)
    return Trajectory(
        np.asarray(sol.ts, dtype=float),
        eigenvalues,
        np.sum(np.abs(eigenvalues), axis=1),
        sizes / (sizes[0] if sizes[0] > 0 else 1.0),
        float(sol.log10_alpha),
    )


def draw_eigenvalues(axes: "Axes", trajectory: Trajectory) -> None:
    """Draw the eigenvalues of X against time: the leading ones in color.

    Args:
        axes: the panel.
        trajectory: the numbers.
    """
    values = trajectory.eigenvalues
    # Those that ever reach a hundredth of the largest tell the story.
    leading = np.max(values, axis=0) > 1e-2 * np.max(values, initial=0.0)
    shown = min(int(np.sum(leading)), len(COLORS))
    for index in range(values.shape[1] - 1, -1, -1):
        color, width = (COLORS[index], 2.2) if index < shown else (GRAY, 1.0)
        axes.plot(trajectory.times, values[:, index], color=color, linewidth=width)
    axes.set_ylabel(r"eigenvalues of $X_t$")
