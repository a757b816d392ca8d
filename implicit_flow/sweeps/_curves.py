"""Medians with quantile bands along one axis."""

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from ._reduction import Reduction, reduce_over_rest, spans_decades


if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BAND = (0.1, 0.9)
_MOST_ROWS = 7
_LABEL_WIDTH = 48


def curves(dataset: "xarray.Dataset", variable: str, along: str, by: str | None = None) -> "Figure":
    """Draws the median of a variable along one axis, with the band from 10% to 90%.

    Medians and bands are over the cells that ended in an answer. A failed cell is a cross at its
    value, or at the upper edge if it has none; the legend counts them.

    Args:
        dataset: what `sweep` or `load` returned.
        variable: what to draw.
        along: the horizontal axis.
        by: an axis with one curve for each of its values; all other axes are repetitions.

    Returns:
        The figure; `figure.savefig("name.png")` saves it.

    Raises:
        ValueError: if a name is unknown.
        ImportError: without Matplotlib.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    chosen = (along,) if by is None else (by, along)
    reduction = reduce_over_rest(dataset, variable, chosen)
    groups = [None] if by is None else list(range(reduction.axes[by].size))
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    colors = colormaps["viridis"](np.linspace(0, 0.85, len(groups)))
    places, labels = _places(reduction.axes[along])
    medians = reduction.quantiles(0.5)[0]
    bands = reduction.quantiles(*_BAND)
    for group, color in zip(groups, colors, strict=True):
        part = () if group is None else (group,)
        label = "median" if group is None else f"{by} = {_short(reduction.axes[str(by)][group])}"
        axes.plot(places, medians[part], "o-", color=color, label=label, markersize=4)
        low, high = (band[part] for band in bands)
        axes.fill_between(places, low, high, color=color, alpha=0.2, linewidth=0)
        _cross_out(axes, reduction, part, places, color)
    if labels is not None:
        axes.set_xticks(places, labels)
    elif spans_decades(places):
        axes.set_xscale("log")
    if places.size > 1 and np.all(np.diff(places) < 0):
        # As the axis was given, so that the map and the curves run the same way.
        axes.invert_xaxis()
    if spans_decades(np.concatenate([reduction.answers.ravel(), reduction.failures.ravel()])):
        axes.set_yscale("log")
    axes.set_xlabel(axis_label(dataset, along))
    axes.set_ylabel(axis_label(dataset, variable))
    _legend(axes, reduction)
    return figure


def _places(values: np.ndarray) -> tuple[np.ndarray, list[str] | None]:
    """Where values stand; words and truth values are counted off and labeled."""
    if values.dtype.kind in "fiu":
        return values.astype(float), None
    return np.arange(values.size, dtype=float), [str(value) for value in values]


def _cross_out(
    axes: "Axes", reduction: Reduction, part: tuple[int, ...], places: np.ndarray, color: object
) -> None:
    across = np.repeat(places[:, None], reduction.count, axis=1)
    values = reduction.failures[part]
    has_value = np.isfinite(values)
    if np.any(has_value):
        axes.plot(across[has_value], values[has_value], "x", color=color, markersize=7)
    without_value = reduction.failed[part] > has_value.sum(axis=-1)
    if np.any(without_value):
        # In data units along the axis, in units of the panel across it: the upper edge.
        axes.plot(
            places[without_value],
            np.full(int(without_value.sum()), 1.0),
            "x",
            color=color,
            markersize=9,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )


def _legend(axes: "Axes", reduction: Reduction) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles, _ = axes.get_legend_handles_labels()
    if reduction.count > 1:
        low, high = (f"{level:.0%}" for level in _BAND)
        handles.append(
            Patch(color="gray", alpha=0.3, label=f"{low} to {high} of {reduction.count} cells")
        )
    handles += [
        Line2D([], [], color="none", marker=marker, markeredgecolor="black", label=text)
        for marker, text in counts_in_words(reduction)
    ]
    # A long legend stands beside the panel, not on the curves.
    beside = (
        {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if len(handles) > _MOST_ROWS else {}
    )
    axes.legend(handles=handles, fontsize="small", frameon=False, **beside)


def counts_in_words(reduction: Reduction) -> list[tuple[str, str]]:
    """Markers and texts for cells that are no answers; none where all are.

    Args:
        reduction: what is drawn.

    Returns:
        Pairs for a legend.
    """
    total = reduction.answers.size
    counts = [("x", "failed", reduction.failed), ("", "not yet computed", reduction.pending)]
    return [
        (marker, f"{word}: {int(count.sum())} of {total} cells")
        for marker, word, count in counts
        if count.sum()
    ]


def axis_label(dataset: "xarray.Dataset", name: str) -> str:
    """The description, or else the name, with the unit, on as many lines as it needs.

    Args:
        dataset: what holds it.
        name: of an axis or a variable.

    Returns:
        The label.
    """
    attributes = dataset[name].attrs
    text = attributes.get("description", name)
    label = f"{text} ({attributes['units']})" if attributes.get("units") else text
    return textwrap.fill(label, _LABEL_WIDTH)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
