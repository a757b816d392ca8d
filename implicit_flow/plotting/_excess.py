"""How far above the minimum a flow ends, against alpha."""

from typing import TYPE_CHECKING

import numpy as np

from .. import _checks
from .._limit import Limit
from ._ladder import ladder_of
from ._style import COLORS, alpha_axis, figure, mark_failures, power


if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def excess(found: "Limit | xarray.Dataset") -> "Figure":
    r"""The relative excess over the minimum nuclear norm along the ladder, on a log scale.

    A point is $\|X_\alpha\|_* / b - 1$ with b the certified lower bound on the minimum: the true
    excess is at most that, but for the misfit of the targets. Points at or below the error of
    their own nuclear norm are drawn hollow at that error: all that is known is that they are there
    or lower.

    Args:
        found: a limit, or the dataset `result.nc` of `implicit-flow limit`.

    Returns:
        The figure.

    Raises:
        ImportError: without the extra `plots`.
        ValueError: found is something else, or has no positive and finite lower bound.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DenseMeasurement(jnp.array([[[2.0, 0.0], [0.0, 1.0]]]))
        >>> lim = imf.limit(imf.Problem(A, jnp.array([1.0])))
        >>> imf.plotting.excess(lim).axes[0].get_yscale()
        'log'
    """
    ladder = ladder_of(found)
    bound = ladder.lower_bound
    # Infeasible targets have the bound infinity: no minimum to be above.
    if not 0 < bound < np.inf:
        _checks.refuse(
            "found", "have a positive finite lower bound on the minimum", f"has the bound {bound}"
        )
    heights = ladder.nuclear_norms / bound - 1
    # Rounding of the trace itself, where the solver claims less.
    with np.errstate(invalid="ignore"):
        errors = np.fmax(ladder.errors / bound, 1e-15)
    errors = np.where(np.isfinite(errors), errors, np.nan)
    resolved = heights > errors
    with figure() as (drawn, axes):
        places = alpha_axis(axes, ladder.log10_alphas)
        axes.set_yscale("log")
        axes.plot(
            places,
            np.where(resolved, heights, errors),
            color=COLORS[0],
            marker="o",
            markerfacecolor="none",
            markeredgewidth=2,
        )
        axes.plot(
            places[resolved],
            heights[resolved],
            "o",
            color=COLORS[0],
            label="at most this far above the minimum",
        )
        if not np.all(resolved):
            axes.plot(
                [],
                [],
                "o",
                markeredgecolor=COLORS[0],
                markerfacecolor="none",
                markeredgewidth=2,
                label="here or lower (error of the solver)",
            )
        mark_failures(axes, places, np.where(resolved, heights, errors), ladder)
        axes.set_ylabel("excess over the minimum")
        _percent_axis(axes)
        axes.legend(loc="best")
        return drawn


def _percent_axis(axes: "Axes") -> None:
    """Label the vertical axis in percent, a few labels in all."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = np.log10(axes.get_ylim())
    narrow = high - low < 2.5
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,), numticks=9))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))


def _percent(share: float, _: object) -> str:
    exponent = np.log10(100 * share)
    return f"{100 * share:g}%" if exponent > -4 else power(float(exponent)) + "%"
