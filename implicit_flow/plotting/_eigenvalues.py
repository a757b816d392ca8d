"""Eigenvalues against alpha, or against time."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from .._limit import Limit
from .._solution import Solution
from ._ladder import Ladder, ladder_of
from ._style import COLORS, GRAY, alpha_axis, figure, is_wide, power
from ._trajectory import draw_eigenvalues, trajectory_of


if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def eigenvalues(found: "Limit | Solution | xarray.Dataset") -> "Figure":
    r"""The eigenvalues of X: against alpha for a limit, against time for one solution.

    Against alpha both axes are logarithmic: an eigenvalue that survives becomes flat, one that
    vanishes like $\alpha^g$ a falling line. Where alpha spans many hundreds of orders of magnitude,
    exponents themselves are on a logarithmic scale.

    Args:
        found: a limit, or the dataset `result.nc` of `implicit-flow limit`; or a solution with a
            path, from `simulate(..., saveat=times)`.

    Returns:
        The figure.

    Raises:
        ImportError: without the extra `plots`.
        ValueError: found is something else, or a solution without a path.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DenseMeasurement(jnp.array([[[2.0, 0.0], [0.0, 1.0]]]))
        >>> sol = imf.simulate(imf.Problem(A, jnp.array([1.0])), alpha=0.1, saveat=[0.0, 1.0])
        >>> imf.plotting.eigenvalues(sol).axes[0].get_xlabel()
        'time $t$'
    """
    if isinstance(found, Solution):
        trajectory = trajectory_of(found)
        with figure() as (drawn, axes):
            draw_eigenvalues(axes, trajectory)
            axes.set_xlabel("time $t$")
            return drawn
    ladder = ladder_of(found)
    with figure(height=5.2) as (drawn, axes):
        places = alpha_axis(axes, ladder.log10_alphas)
        _exponent_axis(axes, ladder, is_wide(places))
        colors = _colors(ladder)
        for index in range(ladder.log10_eigenvalues.shape[1]):
            axes.plot(
                places,
                ladder.log10_eigenvalues[:, index],
                marker="o",
                markersize=5,
                color=colors[index],
                zorder=3 if colors[index] != GRAY else 2,
            )
        _shade(axes, places, ladder)
        axes.set_ylabel(r"eigenvalues $\lambda_k(X_\alpha)$")
        return drawn


def _shade(axes: "Axes", places: Float[np.ndarray, " k"], ladder: Ladder) -> None:
    """Shade what lies below the error estimate of X: lines there are the solver's, unproved."""
    known = np.isfinite(ladder.floors) & (ladder.floors > 0)
    if not np.any(known):
        return
    low, high = axes.get_ylim()
    tops = np.clip(np.log10(np.where(known, ladder.floors, 1.0)), low, high)
    tops = np.where(known, tops, np.nan)
    axes.fill_between(places, low, tops, color="#EDEDED", zorder=0, label="below the error of X")
    axes.set_ylim(low, high)
    axes.legend(loc="lower left")


def survivors(ladder: Ladder) -> int:
    """How many eigenvalues of the last rung are above 1e-6 of the largest.

    Args:
        ladder: the numbers of a limit.

    Returns:
        The number.
    """
    last = ladder.log10_eigenvalues[-1]
    if np.all(np.isnan(last)):
        return 0
    return int(np.sum(last > np.nanmax(last) - 6))


def _colors(ladder: Ladder) -> list[str]:
    n = ladder.log10_eigenvalues.shape[1]
    kept = min(survivors(ladder), len(COLORS))
    return [GRAY] * (n - kept) + list(COLORS[:kept][::-1])


def _exponent_axis(axes: "Axes", ladder: Ladder, wide: Any) -> None:
    """A vertical axis in exponents of ten, labeled as powers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    exponents = ladder.log10_eigenvalues[np.isfinite(ladder.log10_eigenvalues)]
    low, high = (-1.0, 1.0) if exponents.size == 0 else (np.min(exponents), np.max(exponents))
    if wide:
        axes.set_yscale("symlog", linthresh=1.0, linscale=0.5)
        axes.yaxis.set_major_locator(FixedLocator(list(_decades(low, high))))
        axes.set_ylim(low * 1.3 if low < 0 else low, max(1.0, float(high) + 0.5))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axes.yaxis.set_minor_locator(FixedLocator([]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))


def _decades(low: float, high: float) -> Float[np.ndarray, " j"]:
    """Exponents at about equal distances on the symmetric logarithmic axis."""
    steps = np.array([1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0, 30000.0])
    below = -steps[steps <= max(-low, 1.0)]
    above = steps[steps <= max(high, 1.0)]
    return np.concatenate([below[::-1], [0.0], above])
