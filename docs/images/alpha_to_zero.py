"""Draws alpha_to_zero.png: `python docs/images/alpha_to_zero.py`."""

import math
import pathlib
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.figure import Figure

import implicit_flow as imf


LEFT = (-1, -2, -3, -4, -5, -6, -7, -8, -9, -10)
RIGHT = (-2, -3, -4, -6, -8, -10, -12, -16, -20, -30, -60, -100, -200, -300)
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"  # Okabe and Ito (2008)
STYLE = {
    "font.size": 14,
    "axes.titlesize": 15,
    "legend.fontsize": 13,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "axes.axisbelow": True,
}


class Ends(NamedTuple):
    """Ends of flows along a ladder of alphas."""

    places: np.ndarray
    norms: np.ndarray
    errors: np.ndarray
    minimum: float


@eqx.filter_jit
def end(problem: imf.Problem, log10_alpha: jax.Array) -> imf.Solution:
    """The end of the flow from X0 = 10**log10_alpha I."""
    return imf.simulate(problem, log10_alpha=log10_alpha)


def ends(problem: imf.Problem, ladder: tuple[int, ...]) -> Ends:
    """Nuclear norms along a ladder, with bounds on their errors that follow from those of X."""
    solutions = [end(problem, jnp.asarray(float(value))) for value in ladder]
    norms = np.array([float(sol.nuclear_norm) for sol in solutions])
    # |tr X - tr Y| <= sqrt(n) |X - Y|.
    errors = np.array(
        [
            math.sqrt(problem.dim) * float(sol.error_estimate * jnp.linalg.norm(sol.X))
            for sol in solutions
        ]
    )
    minimum = imf.convex.min_nuclear_norm(problem).value
    return Ends(-np.array(ladder, dtype=float), norms, errors, minimum)


def alpha_axis(axes: matplotlib.axes.Axes, exponents: tuple[int, ...]) -> None:
    """Smaller alphas to the right, labeled as powers of ten."""
    axes.set_xticks(
        [-exponent for exponent in exponents],
        [rf"$10^{{{exponent}}}$" for exponent in exponents],
    )
    axes.set_xticks([], minor=True)
    axes.set_xlabel(r"scale of the start, $X_0 = \alpha I$")


def draw_sensing(axes: matplotlib.axes.Axes, found: Ends) -> None:
    """The excess over the minimum, which falls with alpha."""
    axes.errorbar(
        found.places,
        found.norms / found.minimum - 1,
        found.errors / found.minimum,
        fmt="o-",
        color=BLUE,
        capsize=4,
    )
    axes.set_yscale("log")
    axes.set_ylim(1e-7, 2)
    axes.set_yticks(
        [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1],
        ["0.0001%", "0.001%", "0.01%", "0.1%", "1%", "10%", "100%"],
    )
    axes.set_yticks([], minor=True)
    alpha_axis(axes, LEFT[1::2])
    axes.set_ylabel("nuclear norm above the minimum")
    axes.set_title(r"Gaussian sensing, $n = 20$, rank 2, $m = 120$")


def draw_completion(axes: matplotlib.axes.Axes, found: Ends) -> None:
    """The nuclear norm, which leaves the minimum as alpha falls."""
    axes.errorbar(found.places, found.norms, found.errors, fmt="o-", color=BLUE, capsize=4)
    axes.axhline(10, color=ORANGE, linestyle="--")
    axes.text(2, 10.07, r"limit $\alpha \to 0$, of rank 1: 10", color=ORANGE)
    axes.axhline(found.minimum, color=GREEN, linestyle=":", linewidth=2.5)
    axes.text(300, found.minimum + 0.07, f"minimum: {found.minimum:.6g}", color=GREEN, ha="right")
    axes.set_xscale("log")
    axes.set_ylim(7.8, 10.4)
    alpha_axis(axes, (-2, -4, -8, -16, -30, -100, -300))
    axes.set_xlabel(axes.get_xlabel() + r"  (axis: $\log\,\log\,1/\alpha$)")
    axes.set_ylabel("nuclear norm")
    axes.set_title("Three entries of a 4 × 4 matrix")


def main() -> None:
    """Compute both panels and draw them."""
    jax.config.update("jax_enable_x64", True)  # before the first array is made
    key = jax.random.key(0)
    sensing = ends(imf.problems.gaussian_sensing(20, 2, 120, key=key), LEFT)
    entries = imf.measurements.EntryMeasurement(rows=[0, 0, 1], cols=[2, 3, 2], dim=4)
    completion = ends(imf.Problem(entries, [1.0, 2.0, 2.0]), RIGHT)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13, 4.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        draw_sensing(left, sensing)
        draw_completion(right, completion)
        figure.savefig(pathlib.Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
