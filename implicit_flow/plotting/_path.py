"""A flow in time: residual, nuclear norm, eigenvalues."""

from typing import TYPE_CHECKING

import numpy as np

from .._solution import Solution
from ._style import COLORS, figure, power
from ._trajectory import draw_eigenvalues, trajectory_of


if TYPE_CHECKING:
    from matplotlib.figure import Figure


def path(sol: Solution) -> "Figure":
    r"""Residual, nuclear norm and eigenvalues of $X_t$ against time, one above the other.

    Args:
        sol: a solution with a path, from `simulate(..., saveat=times)`.

    Returns:
        The figure.

    Raises:
        ImportError: without the extra `plots`.
        ValueError: a solution without a path.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DenseMeasurement(jnp.array([[[2.0, 0.0], [0.0, 1.0]]]))
        >>> sol = imf.simulate(imf.Problem(A, jnp.array([1.0])), alpha=0.1, saveat=[0.0, 1.0])
        >>> len(imf.plotting.path(sol).axes)
        3
    """
    trajectory = trajectory_of(sol)
    with figure(3, height=8.0) as (drawn, (top, middle, bottom)):
        # Below this the residual is rounding, and the axis would be all noise.
        sizes = np.where(trajectory.residual_norms > 1e-12, trajectory.residual_norms, np.nan)
        top.semilogy(trajectory.times, sizes, color=COLORS[0])
        top.set_ylabel(r"$\|r_t\| \,/\, \|r_0\|$")
        if np.isfinite(trajectory.log10_alpha):
            top.set_title(rf"$\alpha = $ {power(trajectory.log10_alpha)}")
        middle.plot(trajectory.times, trajectory.nuclear_norms, color=COLORS[0])
        middle.set_ylabel(r"$\|X_t\|_*$")
        middle.set_ylim(bottom=0)
        draw_eigenvalues(bottom, trajectory)
        bottom.set_xlabel("time $t$")
        drawn.align_ylabels()
        return drawn
