"""The figure of `expressivity`: a union of polytopes, margins, random labels, convexity."""

from typing import TYPE_CHECKING

import numpy as np

from ..plotting._style import COLORS, GRAY, figure


if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(ds: "xarray.Dataset") -> "Figure":
    """Draws four panels.

    Args:
        ds: what `expressivity.run` returned.

    Returns:
        The figure.
    """
    with figure(width=14.0, height=9.6) as (fig, axis):
        # Four panels that have no axis in common.
        axis.remove()
        axes = fig.subplots(2, 2)
        _draw_union(axes[0, 0], ds)
        _draw_margins(axes[0, 1], ds)
        _draw_labels(axes[1, 0], ds)
        _draw_bends(axes[1, 1], ds)
    return fig


def _draw_union(axis: "Axes", ds: "xarray.Dataset") -> None:
    levels = [-10.0, 0.0, 10.0]
    axis.contourf(ds.x, ds.y, ds.image, levels=levels, colors=["#FFFFFF", COLORS[4]], alpha=0.6)
    steps = np.array([-2.0, 2.0])
    for normals, offsets in zip(ds.normals.values, ds.offsets.values, strict=True):
        for (a, b), offset in zip(normals, offsets, strict=True):
            axis.plot(a * offset - b * steps, b * offset + a * steps, color=GRAY, linewidth=1.2)
    axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    axis.set_title("a union of intersections, two hidden layers")
    axis.grid(visible=False)


def _draw_margins(axis: "Axes", ds: "xarray.Dataset") -> None:
    shown = (("parity", COLORS[0]), ("random table", COLORS[1]), ("two halfspaces", COLORS[2]))
    for name, color in shown:
        for kernel, style in (("Gaussian", "o-"), ("ReLU", "s--")):
            values = ds.margin_at_least.sel(function=name, kernel=kernel)
            axis.plot(ds.d, values, style, color=color, label=f"{name}, {kernel} kernel")
    axis.plot(ds.d, ds.network_margin, "x:", color=GRAY, label="parity, $d$ ReLU units")
    axis.set(yscale="log", xlabel="inputs $d$", ylabel=r"margin, $\min_i\, y_i f(x_i) / \|f\|$")
    axis.set_xticks(ds.d.values)
    axis.set_title("the margin on $\\{-1, 1\\}^d$")
    axis.legend(fontsize=10.5, loc="lower left")


def _draw_labels(axis: "Axes", ds: "xarray.Dataset") -> None:
    share = ds.parameters / ds.attrs["num_labels"]
    axis.plot(share, 100 * ds.fitted.mean("draw"), "o-", color=COLORS[0])
    low, high = 100 * ds.fitted.min("draw"), 100 * ds.fitted.max("draw")
    axis.fill_between(share, low, high, color=COLORS[0], alpha=0.2, linewidth=0)
    axis.axvline(1, color=GRAY, linestyle="--", linewidth=1.5)
    axis.set(xlabel="parameters / labels", ylabel="labels fitted, %", xscale="log")
    ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if 0.9 * share[0] < tick]
    ticks = [tick for tick in ticks if tick < 1.1 * share[-1]]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.set_title(f"{ds.attrs['num_labels']} random labels")


def _draw_bends(axis: "Axes", ds: "xarray.Dataset") -> None:
    places = np.arange(ds.sizes["predictor"])
    wide = 0.8 / ds.sizes["loss"]
    names = {"z": "loss $z$", "-z": "loss $-z$"}
    for number, loss in enumerate(ds.loss.values):
        heights = 100 * ds.share_not_convex.sel(loss=loss)
        offset = wide * (number - (ds.sizes["loss"] - 1) / 2)
        label = names.get(str(loss), f"{loss} loss")
        # A bar of height zero is a line on the axis, so that it is seen to be there.
        axis.bar(places + offset, heights + 0.6, 0.9 * wide, color=COLORS[number], label=label)
    axis.set_xticks(places, [str(name).replace(" ", "\n", 1) for name in ds.predictor.values])
    axis.tick_params(axis="x", labelsize=11)
    axis.set(ylabel="lines on which it is not convex, %", ylim=(0, 128))
    axis.set_yticks(range(0, 101, 20))
    axis.set_title("affine in $w$ (left three) and not (right three)")
    axis.legend(ncols=2, fontsize=11, loc="upper left")
