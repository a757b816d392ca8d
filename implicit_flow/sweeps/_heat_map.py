"""The median of a variable over two axes."""

from typing import TYPE_CHECKING

import numpy as np

from ._curves import axis_label, counts_in_words
from ._reduction import reduce_over_rest, spans_decades


if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_TICKS = 12


def heat_map(dataset: "xarray.Dataset", variable: str, x: str, y: str) -> "Figure":
    """Draws the median of a variable for each pair of values of two axes.

    The median is over the cells that ended in an answer. Where some cells failed there is a small
    cross, where all did a large one on gray; a place without any computed cell is hatched.

    Args:
        dataset: what `sweep` or `load` returned.
        variable: what to draw.
        x: the horizontal axis.
        y: the vertical axis; all other axes are repetitions.

    Returns:
        The figure.

    Raises:
        ValueError: if a name is unknown.
        ImportError: without Matplotlib.
    """
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.figure import Figure

    reduction = reduce_over_rest(dataset, variable, (y, x))
    medians = reduction.quantiles(0.5)[0]
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#D0D0D0")
    norm = LogNorm() if spans_decades(medians) else Normalize()
    mesh = axes.pcolormesh(np.ma.masked_invalid(medians), norm=norm, cmap="viridis")
    figure.colorbar(mesh, ax=axes, label=axis_label(dataset, variable))
    all_failed = (reduction.failed > 0) & np.isnan(medians)
    _crosses(axes, (reduction.failed > 0) & ~all_failed, 5.0)
    _crosses(axes, all_failed, 11.0)
    for row, column in zip(*np.nonzero(reduction.pending == reduction.count), strict=True):
        axes.fill_between(
            [column, column + 1], row, row + 1, facecolor="white", hatch="///", edgecolor="gray"
        )
    _ticks(axes, "x", reduction.axes[x])
    _ticks(axes, "y", reduction.axes[y])
    axes.set_xlabel(axis_label(dataset, x))
    axes.set_ylabel(axis_label(dataset, y))
    words = [f"{'× ' if marker else ''}{text}" for marker, text in counts_in_words(reduction)]
    repeated = [f"medians of {reduction.count} cells"] if reduction.count > 1 else []
    axes.set_title(", ".join([*repeated, *words]), fontsize="medium")
    return figure


def _crosses(axes: "Axes", where: np.ndarray, size: float) -> None:
    rows, columns = np.nonzero(where)
    if rows.size:
        axes.plot(columns + 0.5, rows + 0.5, "x", color="#D55E00", markersize=size)


def _ticks(axes: "Axes", which: str, values: np.ndarray) -> None:
    shown = np.unique(np.linspace(0, values.size - 1, min(values.size, _MOST_TICKS)).astype(int))
    labels = [
        f"{values[index]:.3g}" if values.dtype.kind == "f" else str(values[index])
        for index in shown
    ]
    set_ticks = axes.set_xticks if which == "x" else axes.set_yticks
    set_ticks(shown + 0.5, labels)
