"""The picture of `conjecture`."""

from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(ds: "xarray.Dataset") -> "Figure":
    """Draws the excess by kind, the counterexamples, and what the end depends on.

    Args:
        ds: what `conjecture.run` returned.

    Returns:
        A figure of up to five panels.
    """
    from ..plotting._style import figure

    panels = [_draw_kinds, _draw_known, _draw_starts]
    panels += [_draw_steps] if "step_size" in ds.dims else []
    panels += [_draw_recovery] if "spectrum" in ds.dims else []
    with figure(width=20.0, height=5.6 * (1 + (len(panels) > 3))) as (drawn, _):
        # The panels have no axis in common.
        drawn.clear()
        axes = np.ravel(drawn.subplots(1 + (len(panels) > 3), 3))
        for axis, draw in zip(axes, panels, strict=False):
            draw(axis, ds)
        for axis in axes[len(panels) :]:
            drawn.delaxes(axis)
    return drawn


def _draw_kinds(axis: "Axes", ds: "xarray.Dataset") -> None:
    from ..plotting._style import BLACK, COLORS

    spread = np.linspace(-0.25, 0.25, ds.sizes["instance"])
    floor = 1e-8
    colors = {"minimal": COLORS[2], "not minimal": COLORS[1]}
    seen = set()
    for place, name in enumerate(ds.kind.values):
        one = ds.sel(kind=name)
        for k in range(ds.sizes["instance"]):
            verdict = str(one.verdict.values[k])
            label = None if verdict in seen else verdict
            seen.add(verdict)
            height = max(float(one.excess[k]), floor)
            color = colors.get(verdict, BLACK)
            axis.plot(place + spread[k], height, "o", color=color, alpha=0.7, label=label)
    axis.set_yscale("log")
    axis.set_ylim(floor / 2, max(2 * float(ds.excess.max()), 1e-2))
    axis.set_xticks(range(ds.sizes["kind"]), ds.kind.values.tolist(), rotation=20)
    axis.set_ylabel("relative excess of the nuclear norm")
    axis.set_title(rf"limits $\alpha \to 0$, $n$ = {ds.attrs['dim']}, $m$ = {_count(ds)}")
    axis.legend(title="verdict", loc="best")


def _count(ds: "xarray.Dataset") -> int:
    return int(ds.attrs["num_measurements"])


def _draw_known(axis: "Axes", ds: "xarray.Dataset") -> None:
    from ..plotting._style import COLORS, alpha_axis

    places = alpha_axis(axis, ds.log10_alpha.values)
    for color, name in zip(COLORS, ds.known.values, strict=False):
        one = ds.sel(known=name)
        axis.plot(places, one.known_norm / one.known_least_nuclear_norm - 1, "o-", color=color,
                  label=f"{name}, limit {100 * float(one.known_excess):.3g}% above")  # fmt: skip
    axis.set_yscale("log")
    axis.set_ylabel("relative excess of the nuclear norm")
    axis.set_title("known counterexamples")
    axis.legend(loc="best")


def _draw_starts(axis: "Axes", ds: "xarray.Dataset") -> None:
    from ..plotting._style import COLORS

    fits = ds.misfit_by_start < 1e-4
    height = ds.excess_by_start.clip(1e-8).where(fits)
    for color, k in zip(COLORS, range(ds.sizes["problem"]), strict=False):
        axis.plot(ds.num_columns[1:], height[1:, k], "o-", color=color, mfc="none", mew=2)
        axis.plot(ds.sizes["num_columns"] - 0.6, height[0, k], "s", color=color)
    axis.plot([], [], "s", color="#222222", label="identity")
    axis.plot([], [], "o-", color="#222222", mfc="none", mew=2, label="random, where it fits")
    axis.set_yscale("log")
    axis.set_xticks(ds.num_columns[1:].values)
    axis.set_xlabel(r"columns $d$ of $U$")
    axis.set_ylabel("relative excess of the nuclear norm")
    axis.set_title("one color an instance")
    axis.legend(loc="best")


def _draw_steps(axis: "Axes", ds: "xarray.Dataset") -> None:
    from ..plotting._style import BLACK, COLORS

    axis.plot(ds.step_size, ds.distance_by_step, "o-", color=COLORS[0], label="gradient descent")
    line = ds.distance_by_step[-1] * ds.step_size / ds.step_size[-1]
    axis.plot(ds.step_size, line, "--", color=BLACK, linewidth=1.6, label=r"$\propto h$")
    axis.set(xscale="log", yscale="log", xlabel=r"step size $h$")
    axis.set_ylabel("distance to the end of the flow")
    axis.legend(loc="best")


def _draw_recovery(axis: "Axes", ds: "xarray.Dataset") -> None:
    from ..plotting._style import COLORS

    places = np.arange(ds.sizes["measurements"])
    for k, (color, name) in enumerate(zip(COLORS, ds.spectrum.values, strict=False)):
        axis.bar(places + 0.36 * k - 0.18, ds.recovery_error.sel(spectrum=name), 0.34,
                 color=color, label=str(name))  # fmt: skip
    names = [f"$m$ = {k} = {int(v)}" for k, v in zip(
        ds.measurements.values, ds.num_measurements.values, strict=True)]  # fmt: skip
    axis.set_xticks(places, names)
    axis.set_yscale("log")
    axis.set_ylabel(r"$\|X - X^*\|_F / \|X^*\|_F$")
    axis.set_title("recovery of the planted matrix")
    axis.legend(title="spectrum", loc="best")
