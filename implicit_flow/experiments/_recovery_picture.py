"""The picture of the phase transitions of recovery."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..plotting._style import BLACK, COLORS, GRAY, figure


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_MARKS = "osD^vX"


def draw(ds: "xarray.Dataset") -> "Figure":
    """Draws success rates, thresholds, and the bounds of delta_2r.

    Args:
        ds: what the experiment returned.

    Returns:
        A figure of four panels.
    """
    with figure(2, 2, height=9.5, width=13) as (fig, axes):
        for axis in axes.flat:
            axis.remove()
        # Each panel has a horizontal axis of its own.
        axes = [fig.add_subplot(2, 2, number) for number in (1, 2, 3, 4)]
        middle = ds.sizes["rank"] // 2
        # The last ratio is far beyond the transition, for the proof on the isometry constant only.
        asked = ds.isel(ratio=slice(None, -1), rank=middle)
        _success(axes[0], asked.ratio, asked.success, ds)
        rank, n = int(ds["rank"][middle]), ds.attrs["dim"]
        axes[0].set(
            title=f"sensing, n = {n}, r = {rank}", xlabel=r"$m / (nr)$", ylabel="share recovered"
        )
        axes[0].axvline(float(asked.dimension_count) / (n * rank), color=BLACK, ls=":")
        _success(axes[1], ds.rate, ds.completion_success.isel(rank=middle), ds)
        axes[1].set(
            title=f"completion, n = {n}, r = {rank}",
            xlabel=r"$m$ / (number of entries on and above the diagonal)",
            ylabel="share recovered",
        )
        _isometry(axes[2], ds, middle)
        _thresholds(axes[3], ds)
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=2)
    return fig


def _success(axis: Any, places: Any, levels: "xarray.DataArray", ds: "xarray.Dataset") -> None:
    for k, name in enumerate(ds.algorithm.values):
        # Curves that coincide are told apart by marks of different sizes, the largest behind.
        axis.plot(
            places,
            levels.sel(algorithm=name),
            marker=_MARKS[k],
            markersize=13 - 1.6 * k,
            color=COLORS[k],
            label=name,
        )
    axis.set_ylim(-0.08, 1.08)


def _isometry(axis: Any, ds: "xarray.Dataset", middle: int) -> None:
    low, high = (ds[name].isel(rank=middle) for name in ("delta_lower", "delta_upper"))
    # What is known of the constant itself: the search for the lower bound may have missed it.
    axis.fill_between(
        ds.ratio,
        low.min("trial"),
        high.max("trial"),
        color=GRAY,
        alpha=0.25,
        label="where all of them lie",
    )
    for name, color, label in (
        ("delta_upper", COLORS[0], "upper bound"),
        ("delta_lower", COLORS[1], "lower bound"),
    ):
        values = ds[name].isel(rank=middle)
        error = values.std("trial", ddof=1) / np.sqrt(values.sizes["trial"])
        axis.errorbar(
            ds.ratio,
            values.mean("trial"),
            2 * error,
            marker="o",
            color=color,
            label=label,
            capsize=4,
        )
    for level, text in ((0.2, "1/5: no spurious minima"), (1.0, "1: unique")):
        axis.axhline(level, color=GRAY, ls="--", lw=1.5)
        axis.text(float(ds.ratio[0]), level * 0.94, text, ha="left", va="top", fontsize=12)
    axis.set(
        xscale="log",
        yscale="log",
        xlabel=r"$m / (nr)$",
        ylabel=r"$\delta_{2r}$",
        title=r"isometry constant (mean $\pm$ 2 std. errors)",
    )
    axis.legend(loc="upper right")


def _thresholds(axis: Any, ds: "xarray.Dataset") -> None:
    ranks, n = ds["rank"].values, ds.attrs["dim"]
    for k, name in enumerate(ds.algorithm.values):
        axis.plot(
            ranks, ds.threshold.sel(algorithm=name), marker=_MARKS[k], color=COLORS[k], ls="-"
        )
    axis.plot(ranks, ds.dimension_count / (n * ranks), ":", color=BLACK)
    last = float(ds.dimension_count[-1]) / (n * ranks[-1])
    axis.text(ranks[-1], last - 0.04, "dimension count", va="top", ha="right")
    axis.set(
        xlabel="rank r",
        ylabel=r"$m / (nr)$",
        title="at least half recovered from here on",
        xticks=ranks,
    )
    axis.set_ylim(0, None)
