"""The picture of the landscapes."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..plotting._style import BLACK, COLORS, GRAY, figure


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


def draw(ds: "xarray.Dataset") -> "Figure":
    """Draws the census, the curvature, the disturbances, the family and the iterations.

    Args:
        ds: what the experiment returned.

    Returns:
        A figure of six panels.
    """
    with figure(3, 2, height=15, width=14) as (fig, axes):
        for axis in axes.flat:
            axis.remove()
        # Each panel has a horizontal axis of its own.
        panels = [fig.add_subplot(3, 2, number) for number in range(1, 7)]
        _family(panels[0], ds)
        _saddles(panels[1], ds)
        _census(panels[2], ds)
        _trapped(panels[3], ds)
        _moved(panels[4], ds)
        _steps(panels[5], ds)
    return fig


def _family(axis: Any, ds: "xarray.Dataset") -> None:
    fine = np.linspace(0, 1, 201)
    axis.plot(fine, -4 + 4 * fine + 8 * fine**2, color=GRAY, label=r"$-4 + 4\delta + 8\delta^2$")
    axis.plot(ds.delta, ds.family_curvature, "o", color=COLORS[0], label="curvature found")
    axis.axhline(0, color=BLACK, lw=1)
    axis.axvline(ds.attrs["threshold"], color=BLACK, ls=":")
    axis.set(
        xlabel=r"isometry constant $\delta$ of the family",
        ylabel=r"curvature at $(0, \sqrt{\delta})$",
        title=rf"threshold found at $\delta$ = {ds.attrs['threshold']:.6f}",
    )
    axis.set_ylim(-8, 8)
    axis.legend(loc="upper left")
    other = axis.twinx()
    other.plot(ds.delta, 100 * ds.family_trapped, "s-", color=COLORS[1])
    other.set_ylabel("trapped starts, percent", color=COLORS[1])
    # Zero stands where the curvature is zero.
    highest = 1.2 * max(10.0, 100 * float(ds.family_trapped.max()))
    other.set_ylim(-highest, highest)
    other.set_yticks(range(0, int(highest), 10))
    other.grid(visible=False)
    other.spines["right"].set_visible(True)


def _saddles(axis: Any, ds: "xarray.Dataset") -> None:
    flat = ds.saddle_flattest.values.ravel()
    axis.plot(ds.saddle_upper.values.ravel(), flat, "o", color=COLORS[0], label="sensing")
    axis.plot([0, 0.1], [-0.2, -0.2], color=COLORS[1], label=r"theorem, $\delta_{2r} \leq 1/10$")
    axis.set(
        xlabel=r"$\delta_{2r}$ (upper bound)",
        ylabel=r"$\lambda_{\min} / \sigma_r$",
        title="flattest strict saddle",
    )
    axis.set_xscale("symlog", linthresh=0.01)
    axis.set_xlim(0, None)
    axis.set_ylim(None, 0)
    axis.legend(loc="center left")


_OF_KIND = {
    "global minimum": COLORS[2],
    "strict saddle": COLORS[4],
    "degenerate": COLORS[5],
    "minimum": COLORS[3],
    "spurious minimum": COLORS[1],
}


def _census(axis: Any, ds: "xarray.Dataset") -> None:
    left = np.zeros(ds.sizes["model"])
    places = np.arange(len(left))
    whole = ds.points.sum("kind").values
    for kind, color in _OF_KIND.items():
        share = ds.points.sel(kind=kind).values / np.where(whole > 0, whole, 1)
        if np.any(share):
            axis.barh(places, share, left=left, color=color, label=kind)
        left = left + share
    axis.set_yticks(places, [str(name) for name in ds.model.values], fontsize=11)
    axis.invert_yaxis()
    axis.set(xlabel="share of the critical points found")
    axis.legend(loc="lower center", bbox_to_anchor=(0.3, 1.0), ncols=2, fontsize=11)


def _trapped(axis: Any, ds: "xarray.Dataset") -> None:
    places = np.arange(ds.sizes["model"])
    axis.barh(places, ds.trapped, color=COLORS[1])
    for place, value in zip(places, ds.trapped.values, strict=True):
        axis.text(value + 0.01, place, f"{value:.1%}", va="center", fontsize=11)
    axis.set_yticks(places, [""] * len(places))
    axis.invert_yaxis()
    axis.set_xlim(0, max(0.3, 1.25 * float(ds.trapped.max())))
    axis.set(xlabel="share of random starts", title="ends of descent above the minimum")


def _moved(axis: Any, ds: "xarray.Dataset") -> None:
    for k, name in enumerate(ds.disturbance.values):
        one = ds.sel(disturbance=name)
        distance, bound = one.moved_distance.max("instance"), one.moved_bound.max("instance")
        axis.plot(ds.level, distance, "os"[k] + "-", color=COLORS[k], label=f"{name}: farthest end")
        axis.plot(ds.level, bound, "--", color=COLORS[k], label=f"{name}: bound")
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="size of the disturbance",
        ylabel=r"$\|UU^\top - X_r\|_F$",
        title=r"noisy and approximately low-rank targets",
    )
    low, high = axis.get_ylim()
    # Room for the legend above the lines.
    axis.set_ylim(low, high * (high / low) ** 0.45)
    axis.legend(loc="upper left")


def _steps(axis: Any, ds: "xarray.Dataset") -> None:
    mean, spread = ds.steps.mean("start"), ds.steps.std("start")
    for k, n in enumerate(ds.dim.values):
        axis.errorbar(
            ds.condition,
            mean.sel(dim=n),
            spread.sel(dim=n),
            marker="o",
            capsize=4,
            color=COLORS[k % len(COLORS)],
            label=f"n = {n}",
        )
    guide = ds.condition / float(ds.condition[-1]) * float(mean.isel(condition=-1).max()) * 1.5
    axis.plot(ds.condition, guide, ":", color=BLACK, label=r"$\propto\kappa$")
    axis.set(
        xscale="log",
        yscale="log",
        xlabel=r"condition number $\kappa = \sigma_1 / \sigma_r$",
        ylabel="steps",
        title="noisy gradient descent, random starts",
    )
    axis.legend()
