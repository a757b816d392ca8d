"""Saddle to saddle: small starts learn one rank at a time, at times that are known."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .. import _checks
from .._side_by_side import side_by_side
from ..landscape import greedy_low_rank
from ..problems import gaussian_sensing
from ._engine import engine as named_engine
from ._finish import conclude, finish
from ._saddle_visits import DEEP_LEVEL, LEVEL, deep_products, diagonal_networks, factor_flows
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "As alpha -> 0 the factor flow goes from saddle to saddle, one rank at a time, along the "
    "greedy low-rank path: the k-th eigenvalue appears at tau_k log(1/alpha), tau_1 = 1/(2 mu_1) "
    "with mu_1 the top eigenvalue of A*(y). Depth N > 2 visits the saddles too, the first escape "
    "at alpha^(2/N - 1) / ((N - 2) mu_1). Diagonal networks jump at exactly known times."
)
HYPOTHESES = (
    "Start alpha I; squared loss; matrices in general position (Gaussian), where the later times "
    "follow from sorted exponents; for diagonal networks x = u^2 - v^2 the published instance. "
    "Deeper products start at larger alphas: their escape takes a power of 1/alpha."
)
SOURCE = (
    "Li, Luo and Lyu (2021), greedy low-rank learning; Pesme and Flammarion (2023), saddle-to-"
    "saddle dynamics in diagonal linear networks; the later times tau_k are derived here."
)

# "tsit5" compiles in a third of the time of "radau", and rounding spoils the times that it finds
# below the alphas of "tiny" (at 1e-50 the roots of X are below it); see `_engine`.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "dim": 4,
        "num_measurements": 8,
        "log10_alphas": (-25.0, -40.0),
        "depths": (3,),
        "deep_log10_alphas": (-5.0, -7.0),
        "num_times": 60,
        "engine": "tsit5",
    },
    "quick": {
        "dim": 6,
        "num_measurements": 15,
        "log10_alphas": (-12, -25, -50, -100, -200),
        "depths": (3, 4),
        "deep_log10_alphas": (-4, -5, -6),
        "num_times": 200,
        "engine": "radau",
    },
    "full": {
        "dim": 20,
        "num_measurements": 120,
        "log10_alphas": (-12, -25, -50, -100, -200, -400),
        "depths": (3, 4),
        "deep_log10_alphas": (-4, -5, -6),
        "num_times": 400,
        "engine": "radau",
    },
}
_RANK = 2
# Relative distance within which a saddle counts as visited, if it falls with alpha; and within
# which it need not fall any more, and the factor flow comes to the first one.
_NEAR, _THERE = 0.05, 1e-3


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    dim: int | None = None,
    num_measurements: int | None = None,
    log10_alphas: Sequence[float | int] | None = None,
    depths: Sequence[int] | None = None,
    deep_log10_alphas: Sequence[float | int] | None = None,
    num_times: int | None = None,
    engine: str | None = None,
) -> "xarray.Dataset":
    """Follows flows from smaller and smaller starts, and compares them with the greedy path.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of the measurements and of the planted matrix of rank 2.
        dim: n, at least 3.
        num_measurements: m.
        log10_alphas: decreasing, two at least; for the factor flow and diagonal networks.
        depths: of the deeper products, each above 2.
        deep_log10_alphas: decreasing, two at least; for the deeper products.
        num_times: at which X is kept, for each jump.
        engine: of the factor flow, "radau", "dopri8", "kvaerno5" or "tsit5".

    Returns:
        Jump times, distances from the saddles, and eigenvalues along the smallest start.
    """
    import xarray

    given = {
        "dim": dim,
        "num_measurements": num_measurements,
        "log10_alphas": log10_alphas,
        "depths": depths,
        "deep_log10_alphas": deep_log10_alphas,
        "num_times": num_times,
        "engine": engine,
    }
    chosen = sizes(SETTINGS, setting, given, seed=seed)
    _check(chosen)
    problem = gaussian_sensing(
        chosen["dim"], _RANK, chosen["num_measurements"], key=jax.random.key(seed)
    )
    path = greedy_low_rank(problem, max_rank=_RANK)
    if len(path.jump_times) < _RANK or not np.all(np.isfinite(path.jump_times)):
        _checks.refuse(
            "seed", "give a greedy path that gains rank twice", f"is {seed}", "Try another."
        )
    alphas, times = chosen["log10_alphas"], chosen["num_times"]
    deep = (chosen["depths"], chosen["deep_log10_alphas"], times)
    found = side_by_side(
        lambda flows: flows(),
        [
            lambda: deep_products(problem, path, *deep),
            lambda: factor_flows(problem, path, alphas, times, named_engine(chosen["engine"])),
            lambda: diagonal_networks(alphas, times),
        ],
    )
    variables = {name: value for one in found for name, value in one.items()}
    variables |= {
        "tau": ("jump", path.jump_times),
        "saddle": (("jump", "row", "col"), path.points[1:]),
        "measurement_matrices": (
            ("measurement", "row", "col"),
            np.asarray(problem.measurement.as_stack()),
        ),
        "targets": ("measurement", np.asarray(problem.targets)),
    }
    ds = xarray.Dataset(
        variables,
        coords={
            "log10_alpha": np.array(chosen["log10_alphas"], float),
            "deep_log10_alpha": np.array(chosen["deep_log10_alphas"], float),
            "depth": list(chosen["depths"]),
            "jump": np.arange(1, _RANK + 1),
            "network_jump": np.arange(1, 5),
        },
        attrs={
            "dim": chosen["dim"],
            "num_measurements": chosen["num_measurements"],
            "mu_1": float(path.growth_rates[0]),
            "level": LEVEL,
            "deep_level": DEEP_LEVEL,
            "imbalance_of_saddles": path.residual,
        },
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _check(chosen: dict[str, Any]) -> None:
    _checks.at_least(chosen["dim"], "dim", _RANK + 1)
    _checks.at_least(chosen["num_measurements"], "num_measurements", 1)
    _checks.at_least(chosen["num_times"], "num_times", 20)
    for depth in np.atleast_1d(chosen["depths"]).tolist():
        _checks.at_least(depth, "depths", 3)
    for name, most, least in (("log10_alphas", -5, -1000), ("deep_log10_alphas", -2, -8)):
        values = np.atleast_1d(np.asarray(chosen[name], float))
        falls = values.size >= 2 and bool(np.all(np.diff(values) < 0))
        if not falls or values[0] > most or values[-1] < least:
            _checks.refuse(
                name,
                f"hold two or more values that fall from {most} to {least}",
                f"is {chosen[name]}",
            )


def slopes(ds: "xarray.Dataset", name: str) -> np.ndarray:
    """How jump times grow with log(1/alpha), between the two smallest alphas.

    Args:
        ds: what `run` returned.
        name: of the times, over `log10_alpha` and the jump.

    Returns:
        The slopes, one for each jump.
    """
    scale = -ds.log10_alpha.values * np.log(10)
    return np.diff(ds[name].values[-2:], axis=0)[0] / (scale[-1] - scale[-2])


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    ratios = slopes(ds, "jump_time") / ds.tau.values
    networks = slopes(ds, "network_jump_time") / ds.network_tau.values
    escape = (ds.jump_time[:, 0] / ds.predicted_first_jump).values
    deep = (ds.deep_escape_time / ds.deep_predicted).values[:, -1]
    saddles, shallow = ds.deep_distance_of_saddle.values, ds.distance_of_saddle.values
    # From the largest to the smallest alpha, for every flow and saddle.
    visits = [*shallow.T, *ds.network_distance.values.T, *np.concatenate(saddles.swapaxes(1, 2))]
    near = all(v[-1] < _NEAR and (v[-1] < v[0] or v[-1] < _THERE) for v in visits)
    near &= bool(np.all(saddles[:, -1, 0] < saddles[:, 0, 0]) and shallow[-1, 0] < _THERE)
    # Growth is measured between two alphas, and the law has to govern both.
    near &= bool(np.all(shallow[-2] < _NEAR) and np.all(ds.network_distance[-2] < _NEAR))
    everything = np.concatenate([ratios, networks, escape, deep])
    ended = ds.reached.all() and ds.network_reached.all() and ds.deep_reached.all()
    # The saddles are unstable for products that are not symmetric; these are, but for rounding.
    skew = float(ds.deep_asymmetry.max())
    lost = not (bool(ended) and np.all(np.isfinite(everything)) and skew < 1e-3)
    # Eigenvalues that are small but not infinitesimal move the times by powers of alpha.
    right = bool(
        np.all(np.abs(np.concatenate([ratios, networks]) - 1) < 0.01)
        and np.all(np.abs(escape - 1) < 0.01)
        and np.all(np.abs(deep - 1) < 0.03)
    )
    # Before every saddle is near, the law of the limit says nothing about the times between them;
    # and however far one is, a smaller alpha may come near.
    outcome = "undecided" if lost or not near else "holds" if right else "fails"
    listed = lambda values: ", ".join(f"{value:.4f}" for value in values)
    text = (
        f"First escape over log(eps/alpha)/(2 mu_1): {listed(escape)} along alpha; growth of the "
        f"jump times with log(1/alpha) over tau_k: {listed(ratios)}; diagonal network, four jumps: "
        f"{listed(networks)}; depth {', '.join(map(str, ds.depth.values))}: first escape over "
        f"its law {listed(deep)}. Closest to the saddles at the smallest alpha: "
        f"{listed(shallow[-1])} (factor flow), "
        f"{'; '.join(listed(row) for row in saddles[:, -1])} (deeper), relative; asymmetry of "
        f"deeper products at most {skew:.0e}."
    )
    if not ended:
        text += " Not every flow came to the end of its time."
    if not near:
        text += " A saddle is not near yet: this takes smaller alphas, or another seed."
    numbers = {"times over their laws": everything, "distance of saddles": np.concatenate(visits)}
    return conclude(outcome, text, numbers | {"asymmetry": ds.deep_asymmetry})


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """What is worth reading: jump times of the factor flow over alpha.

    Args:
        ds: what `run` returned.

    Returns:
        Jump times and distances from the saddles.
    """
    return ds[["jump_time", "predicted_first_jump", "tau", "distance_of_saddle"]]


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws eigenvalues along the smallest start, jump times, and escapes of deeper products.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of three panels.
    """
    from ..plotting._style import COLORS, GRAY, figure

    with figure(1, 3, width=19.0, height=5.0) as (drawn, (left, right, deeper)):
        for k in range(ds.sizes["eigenvalue"]):
            left.plot(
                ds.scaled_time, ds.eigenvalues[:, k], color=COLORS[k], label=rf"$\lambda_{k + 1}$"
            )
        for tau in ds.tau.values:
            left.axvline(tau, linestyle="--", color=GRAY, linewidth=1.4)
        left.set(
            xlabel=r"time over $\log(1/\alpha)$",
            ylabel=r"eigenvalues of $X_t$",
            xlim=(0, 1.6 * float(ds.tau[-1])),
        )
        left.set_title(rf"$\alpha = 10^{{{float(ds.log10_alpha[-1]):g}}}$; dashed: $\tau_k$")
        left.legend(loc="upper left", bbox_to_anchor=(0.0, 0.97), framealpha=0.9, frameon=True)
        scale = -ds.log10_alpha.values * np.log(10)
        groups = (
            ("jump", "jump_time", "tau", "o", r"$\lambda_{}$"),
            ("network_jump", "network_jump_time", "network_tau", "s", "network, jump {}"),
        )
        color = 0
        for axis, times, tau, marker, words in groups:
            for k in range(ds.sizes[axis]):
                right.plot(
                    scale,
                    ds[times][:, k],
                    marker,
                    color=COLORS[color],
                    label=words.replace("{}", str(k + 1)),
                )
                line = np.linspace(0.9 * scale[0], 1.05 * scale[-1], 200)
                right.plot(line, line * float(ds[tau][k]), "-", color=COLORS[color], linewidth=1.4)
                color += 1
        right.set(yscale="log", xlabel=r"$\log(1/\alpha)$", ylabel="jump time")
        right.set_title(r"marks: flow; lines: $\tau_k \log(1/\alpha)$")
        right.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        small = -ds.deep_log10_alpha
        for k, depth in enumerate(ds.depth.values):
            row = ds.sel(depth=depth)
            deeper.plot(small, row.deep_escape_time, "o", color=COLORS[k], label=f"$N$ = {depth}")
            deeper.plot(small, row.deep_predicted, "-", color=COLORS[k], linewidth=1.4)
        deeper.set(yscale="log", xlabel=r"$\log_{10}(1/\alpha)$", ylabel="time of the first escape")
        deeper.set_xticks(small.values)
        deeper.set_title(r"depth $N$; lines: the law $\alpha^{2/N-1} / ((N-2)\mu_1)$")
        deeper.legend()
    return drawn
