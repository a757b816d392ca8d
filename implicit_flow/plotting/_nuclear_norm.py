"""The nuclear norm against alpha, beside what no fitting point can beat."""

from typing import TYPE_CHECKING

import numpy as np

from .._limit import Limit
from ._ladder import ladder_of
from ._style import BLACK, COLORS, alpha_axis, figure, mark_failures


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


def nuclear_norm(found: "Limit | xarray.Dataset") -> "Figure":
    r"""The nuclear norm $\|X_\alpha\|_*$ along the ladder, and the bounds on its minimum.

    Bars show the error estimates of the points. The shaded region is excluded by the dual bound:
    no positive semidefinite X that meets the targets lies there.

    Args:
        found: a limit, or the dataset `result.nc` of `implicit-flow limit`.

    Returns:
        The figure.

    Raises:
        ImportError: without the extra `plots`.
        ValueError: found is something else.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DenseMeasurement(jnp.array([[[2.0, 0.0], [0.0, 1.0]]]))
        >>> lim = imf.limit(imf.Problem(A, jnp.array([1.0])))
        >>> len(imf.plotting.nuclear_norm(lim).axes)
        1
    """
    ladder = ladder_of(found)
    with figure() as (drawn, axes):
        places = alpha_axis(axes, ladder.log10_alphas)
        axes.errorbar(
            places,
            ladder.nuclear_norms,
            np.where(np.isfinite(ladder.errors), ladder.errors, 0.0),
            color=COLORS[0],
            marker="o",
            capsize=4,
            label=r"end of the flow, $\|X_\alpha\|_*$",
        )
        mark_failures(axes, places, ladder.nuclear_norms, ladder)
        bounds = [ladder.lower_bound, ladder.upper_bound]
        # A bound that is far away would press the points into a line.
        far = 3 * float(np.max(ladder.nuclear_norms))
        known = np.append(ladder.nuclear_norms, [bound for bound in bounds if bound <= far])
        known = known[np.isfinite(known)]
        middle = float(np.min(known) + np.max(known)) / 2
        # Differences of the size of the solver's error are not to fill the picture.
        spread = max(float(np.max(known) - np.min(known)), 1e-4 * abs(middle)) or 1.0
        low, high = middle - 0.62 * spread, middle + 0.62 * spread
        axes.set_ylim(low, high)
        if ladder.upper_bound <= far:
            axes.axhline(
                ladder.upper_bound,
                color=COLORS[1],
                linestyle="--",
                label="best fitting point known",
            )
        if ladder.lower_bound <= far:
            axes.axhspan(low, ladder.lower_bound, color="#EDEDED", zorder=0)
            axes.axhline(
                ladder.lower_bound,
                color=BLACK,
                linestyle=":",
                label=r"lower bound: below it nothing fits",
            )
        elif np.isfinite(ladder.lower_bound):
            off = f"lower bound {ladder.lower_bound:.3g}, off the scale"
            axes.plot([], [], color=BLACK, linestyle=":", label=off)
        axes.set_ylabel(r"nuclear norm $\|X\|_*$")
        axes.legend(loc="best")
        return drawn
