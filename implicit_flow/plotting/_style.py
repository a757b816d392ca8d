"""One style for all figures: color-blind safe, legible from the last row, never set globally."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float, Shaped


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ._ladder import Ladder

# Okabe and Ito (2008), without yellow, which is faint on white; the gray is for the many.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
GRAY = "#8A8A8A"
BLACK = "#222222"

_SETTINGS = {
    "font.size": 14,
    "axes.titlesize": 15,
    "axes.labelsize": 15,
    "xtick.labelsize": 13,
    "ytick.labelsize": 13,
    "legend.fontsize": 12,
    "legend.frameon": False,
    "lines.linewidth": 2.2,
    "lines.markersize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.edgecolor": BLACK,
    "axes.labelcolor": BLACK,
    "text.color": BLACK,
    "xtick.color": BLACK,
    "ytick.color": BLACK,
    "axes.formatter.useoffset": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "mathtext.fontset": "dejavusans",
}


@contextmanager
def figure(
    rows: int = 1, columns: int = 1, *, height: float | int = 4.6, width: float | int = 8.0
) -> Iterator[tuple["Figure", Any]]:
    """A figure in the style of the library.

    Args:
        rows: of panels; those of one column share their horizontal axis.
        columns: of panels.
        height: of the figure, in inches.
        width: of the figure, in inches.

    Yields:
        The figure, and its panel or array of panels.

    Raises:
        ImportError: without Matplotlib.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ImportError(
            "Plotting needs Matplotlib, which is not installed: "
            "`pip install 'implicit_flow[plots]'`."
        ) from error
    # The settings are read while artists are made, and are restored afterwards.
    with matplotlib.rc_context(cast(Any, _SETTINGS)):
        drawn = Figure(figsize=(width, height), layout="constrained")
        yield drawn, drawn.subplots(rows, columns, sharex="col")


def alpha_axis(axes: "Axes", log10_alphas: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Prepare the horizontal axis for a ladder of alphas, smaller ones to the right.

    A ladder from 1e-2 to 1e-300 would press its first rungs into one: there the axis shows
    log(1/alpha) on a logarithmic scale. Alphas are labeled either way.

    Args:
        axes: the panel.
        log10_alphas: decreasing, shape (k,).

    Returns:
        Where each alpha stands on the axis.
    """
    places = -log10_alphas
    if is_wide(places):
        axes.set_xscale("log")
        axes.set_xlim(places[0] / 1.3, places[-1] * 1.3)
        apart = np.log(places) / np.log(places[-1] * 1.69 / places[0])
    else:
        margin = 0.05 * (places[-1] - places[0]) or 1.0
        axes.set_xlim(places[0] - margin, places[-1] + margin)
        apart = places / (places[-1] - places[0] + 2 * margin)
    shown = _spaced(places, apart)
    axes.set_xticks(places[shown], [power(-place) for place in places[shown]], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlabel(r"scale of the initialization, $\alpha \to 0$")
    return places


def mark_failures(
    axes: "Axes",
    places: Float[np.ndarray, " k"],
    heights: Float[np.ndarray, " k"],
    ladder: "Ladder",
) -> None:
    """Cross out the points of flows that did not come to rest with the error asked for.

    Args:
        axes: the panel.
        places: where each alpha stands.
        heights: of the points.
        ladder: whose `converged` decides.
    """
    lost = ~ladder.converged
    if np.any(lost):
        axes.plot(
            places[lost], heights[lost], "x", color=BLACK, markersize=13, label="not converged"
        )


def is_wide(places: Float[np.ndarray, " k"]) -> bool:
    """Whether exponents span so much that they are better drawn on a logarithmic scale.

    Args:
        places: increasing exponents, shape (k,).

    Returns:
        True if all are positive and the last is 20 times the first or more.
    """
    return bool(places[0] > 0 and places[-1] >= 20 * places[0])


# Widths of labels as shares of the axis, of a power of ten and of a multiple of one.
_NARROW, _BROAD = 0.09, 0.15


def _spaced(
    places: Float[np.ndarray, " k"], apart: Float[np.ndarray, " k"]
) -> Shaped[np.ndarray, " j"]:
    """Indices of labels that do not touch: whole powers, the last and the first before others."""
    whole = np.isclose(places, np.round(places))
    candidates = np.flatnonzero(whole if np.sum(whole) >= 3 else np.ones_like(whole))
    widths = np.where(whole, _NARROW, _BROAD)
    kept: list[int] = []
    for index in [candidates[-1], candidates[0], *candidates[-2:0:-1]]:
        if all(abs(apart[k] - apart[index]) >= (widths[k] + widths[index]) / 2 for k in kept):
            kept.append(int(index))
    return np.array(sorted(kept))


def power(exponent: float) -> str:
    r"""A power of ten as mathematics, for labels.

    Args:
        exponent: any real number.

    Returns:
        Such as `$10^{-12}$`, or `$2{\times}10^{-5}$` where the exponent is no integer.
    """
    if math.isclose(exponent, round(exponent), abs_tol=1e-9):
        return rf"$10^{{{round(exponent)}}}$"
    whole = math.floor(exponent)
    return rf"${10 ** (exponent - whole):.2g}{{\times}}10^{{{whole}}}$"
