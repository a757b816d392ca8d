"""Sparse vectors: the Hadamard flow against basis pursuit and orthogonal matching pursuit."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import diffrax
import jax.numpy as jnp
import numpy as np

from .. import _checks, closed_forms
from .._compiled import compiled
from .._results import RESULTS
from .._simulate import simulate
from ..convex import min_l1
from ..flows import SignedHadamardFlow
from ..measurements import DiagonalMeasurement
from ..problems import Problem
from ..recovery import orthogonal_matching_pursuit
from ._double import require_float64
from ._finish import conclude, finish
from ._sizes import sizes
from ._statistical_dimension import statistical_dimension


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "From a small start the flow of x = u^2 - v^2 is basis pursuit: its l1 norm exceeds the least "
    "one by a share of at most log n / (log(|x|_1 / alpha) - 1 - log n), and it recovers sparse x "
    "where basis pursuit does, above the phase transition at a number of equations equal to the "
    "statistical dimension. Orthogonal matching pursuit is another method, with another transition."
)
HYPOTHESES = (
    "Gaussian columns of norm 1, exact targets, k nonzero entries, Gaussian, at random places; "
    "alpha as given; matching pursuit is told k. Where the flow ends is taken from its closed "
    "form; flows that are integrated, from a larger alpha, are held to it."
)
SOURCE = (
    "Bound: comparing hypentropies of Woodworth et al. (2020); transition: Amelunxen et al. "
    "(2014), Living on the edge."
)

# n unknowns; `ratios` are m / n, `sparsities` k / n; `instances` for each pair, of which `flows`
# are integrated, from alpha = 10^`flow_log10_alpha`.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "dim": 12,
        "ratios": (0.5,),
        "sparsities": (1 / 12, 0.5),
        "instances": 3,
        "flows": 1,
        "log10_alpha": -300.0,
        "flow_log10_alpha": -8.0,
    },
    "quick": {
        "dim": 24,
        "ratios": (1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6),
        "sparsities": (1 / 24, 1 / 8, 1 / 4, 3 / 8, 1 / 2),
        "instances": 10,
        "flows": 1,
        "log10_alpha": -300.0,
        "flow_log10_alpha": -8.0,
    },
    "full": {
        "dim": 60,
        "ratios": tuple(0.1 * j for j in range(1, 10)),
        "sparsities": tuple(0.05 * j for j in range(1, 15)),
        "instances": 40,
        "flows": 2,
        "log10_alpha": -1000.0,
        "flow_log10_alpha": -16.0,
    },
}

METHODS = ("Hadamard flow", "basis pursuit", "matching pursuit")
# Relative error below which a vector counts as recovered.
_RECOVERED = 1e-3
# Most flows take some hundred steps. One that is not at rest by then, by what it knows of itself,
# counts only where the closed form shows that it is there.
_MOST_STEPS, _THERE = 1500, 1e-5
# The relative error of the closed form; see `closed_forms.signed_hadamard`.
_ROUNDING = 1e-8


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    dim: int | None = None,
    ratios: Sequence[float | int] | None = None,
    sparsities: Sequence[float | int] | None = None,
    instances: int | None = None,
    flows: int | None = None,
    log10_alpha: float | int | None = None,
    flow_log10_alpha: float | int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> "xarray.Dataset":
    """Recovers random sparse vectors by three methods.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of the instances.
        dim: n, the number of unknowns.
        ratios: m / n, between 0 and 1.
        sparsities: k / n, between 0 and 1.
        instances: for each pair of ratio and sparsity.
        flows: how many of them are integrated.
        log10_alpha: the scale of the start of the flow, at most -3.
        flow_log10_alpha: the same where it is integrated.
        say: called with lines of progress.

    Returns:
        Errors and l1 norms over ratio, sparsity, instance and method; for integrated flows the
        distance from the closed form at their alpha.
    """
    import xarray

    require_float64("sparse")
    given = {
        "dim": dim,
        "ratios": ratios,
        "sparsities": sparsities,
        "instances": instances,
        "flows": flows,
        "log10_alpha": log10_alpha,
        "flow_log10_alpha": flow_log10_alpha,
    }
    size = sizes(SETTINGS, setting, given, least={"dim": 3, "instances": 1, "flows": 1}, seed=seed)
    for name in ("ratios", "sparsities"):
        if not all(0 < value <= 1 for value in size[name]):
            _checks.refuse(name, "lie between 0 and 1", f"is {size[name]}")
    for name in ("log10_alpha", "flow_log10_alpha"):
        if not size[name] <= -3:
            _checks.refuse(name, "be at most -3", f"is {size[name]}")
    n = size["dim"]
    shape = len(size["ratios"]), len(size["sparsities"]), size["instances"], len(METHODS)
    error, norm = np.full(shape, np.nan), np.full(shape, np.nan)
    reported, apart, least = (np.full(shape[:3], np.nan) for _ in range(3))
    rng = np.random.default_rng(seed)
    flow = compiled(
        lambda A, y: simulate(
            Problem(DiagonalMeasurement(A), y),
            SignedHadamardFlow(),
            log10_alpha=size["flow_log10_alpha"],
            max_steps=_MOST_STEPS,
            adjoint=diffrax.ForwardMode(),
            throw=False,
        )
    )
    end = compiled(
        lambda A, y, value: jnp.diagonal(
            closed_forms.signed_hadamard(Problem(DiagonalMeasurement(A), y), log10_alpha=value)
        )
    )
    pursuits: dict[int, Any] = {}
    for j, ratio in enumerate(size["ratios"]):
        m = max(1, round(ratio * n))
        for i, share in enumerate(size["sparsities"]):
            k = max(1, round(share * n))
            for trial in range(size["instances"]):
                truth = np.zeros(n)
                truth[rng.choice(n, k, replace=False)] = rng.normal(size=k)
                A = rng.normal(size=(m, n))
                A = A / np.linalg.norm(A, axis=0)
                y, place = A @ truth, (j, i, trial)
                problem = Problem(DiagonalMeasurement(A), y)
                best = min_l1(problem)
                # More coordinates than equations say nothing: k or m of them, told which.
                chosen = min(k, m)
                greedy = pursuits.setdefault(chosen, _pursuit(chosen))(*_padded(A, y, n))
                if trial < size["flows"]:
                    sol = flow(*_padded(A, y, n))
                    exact = end(*_padded(A, y, n), jnp.asarray(float(size["flow_log10_alpha"])))
                    if bool(sol.result == RESULTS.successful):
                        reported[place] = sol.error_estimate
                    apart[place] = jnp.linalg.norm(sol.x - exact) / jnp.linalg.norm(exact)
                least[place] = best.value
                limit = end(*_padded(A, y, n), jnp.asarray(float(size["log10_alpha"])))
                for method, x in enumerate((limit, best.x, greedy)):
                    error[*place, method] = np.linalg.norm(x - truth) / np.linalg.norm(truth)
                    norm[*place, method] = np.sum(np.abs(x))
        say(f"m / n = {ratio:.2f}: recovered {np.mean(error[j] < _RECOVERED, axis=(0, 1))}")
    over = ("ratio", "sparsity", "instance")
    ds = xarray.Dataset(
        {
            "error": ((*over, "algorithm"), error),
            "l1_norm": ((*over, "algorithm"), norm),
            "least_l1_norm": (over, least),
            "flow_error_estimate": (over, reported),
            "flow_distance": (over, apart),
            "transition": ("sparsity", [statistical_dimension(s) for s in size["sparsities"]]),
        },
        coords={
            "ratio": [max(1, round(ratio * n)) / n for ratio in size["ratios"]],
            "sparsity": [max(1, round(share * n)) / n for share in size["sparsities"]],
            "instance": np.arange(size["instances"]),
            "algorithm": list(METHODS),
        },
        attrs={
            "dim": n,
            "flows": size["flows"],
            "log10_alpha": float(size["log10_alpha"]),
            "flow_log10_alpha": float(size["flow_log10_alpha"]),
        },
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """The share of vectors that each method recovered.

    Args:
        ds: what `run` returned.

    Returns:
        Shares over ratio, sparsity and method.
    """
    return (ds.error < _RECOVERED).mean("instance").rename("recovered").to_dataset()


def _padded(A: np.ndarray, y: np.ndarray, n: int) -> tuple[Any, Any]:
    """With equations 0 = 0 up to n of them, so that one program serves all m."""
    missing = n - len(y)
    return jnp.asarray(np.pad(A, ((0, missing), (0, 0)))), jnp.asarray(np.pad(y, (0, missing)))


def _pursuit(sparsity: int) -> Callable[[Any, Any], Any]:
    return compiled(
        lambda A, y: orthogonal_matching_pursuit(Problem(DiagonalMeasurement(A), y), sparsity).x
    )


def bound(ds: "xarray.Dataset") -> Any:
    """The share by which the l1 norm of the flow may exceed the least one; see `CLAIM`.

    Args:
        ds: what `run` returned.

    Returns:
        The bound, over ratio, sparsity and instance.
    """
    depth = np.log(ds.least_l1_norm) - np.log(10) * ds.attrs["log10_alpha"] - 1
    return np.log(ds.attrs["dim"]) / (depth - np.log(ds.attrs["dim"]))


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    flow = ds.sel(algorithm="Hadamard flow")
    solved = ds.flow_error_estimate.notnull()
    # By design: what a flow that broke down leaves is no number.
    tried = ds.isel(instance=slice(ds.attrs["flows"])).flow_distance
    # What a flow says of itself, and what the closed form leaves.
    late = ds.flow_distance > ds.flow_error_estimate + _ROUNDING
    excess = flow.l1_norm / ds.least_l1_norm - 1
    inside = bool((excess <= bound(ds) + 1e-7).all()) and not bool((late & solved).any())
    recovered = {name: ds.error.sel(algorithm=name) < _RECOVERED for name in METHODS}
    differ = float((recovered[METHODS[0]] != recovered[METHODS[1]]).mean())
    above = ds.ratio > ds.transition + _width(ds)
    below = ds.ratio < ds.transition - _width(ds)
    share = recovered["basis pursuit"].mean("instance")
    ends = [
        f"{float(share.where(region).mean()):.0%} well {side} it"
        for region, side in ((above, "above"), (below, "below"))
        if bool(region.any())
    ]
    unlike = float((recovered[METHODS[2]] != recovered[METHODS[1]]).mean())
    text = (
        f"{tried.size} flows from alpha = 1e{ds.attrs['flow_log10_alpha']:g} ended within "
        f"{float(ds.flow_distance.max()):.1g} of the closed form ({int(solved.sum())} at rest by "
        f"what they know of themselves); at alpha = "
        f"1e{ds.attrs['log10_alpha']:g} the l1 norm is above the least by at most "
        f"{float(excess.max()):.2g} (bound {float(bound(ds).max()):.2g}); flow and "
        f"basis pursuit disagree about recovery in {differ:.1%} of the instances, matching and "
        f"basis pursuit in {unlike:.1%}"
        + (
            f"; by the prediction of its transition, basis pursuit recovers {' and '.join(ends)}."
            if ends
            else "."
        )
    )
    # A flow that did not come to rest says nothing about where it goes.
    there = solved | (ds.flow_distance <= _THERE)
    if int(there.sum()) < 0.9 * tried.size:
        outcome = "undecided"
    else:
        outcome = "holds" if inside and differ <= 0.1 else "fails"
    numbers = {"flow_distance": tried, "least_l1_norm": ds.least_l1_norm, "l1_norm": flow.l1_norm}
    return conclude(outcome, text, numbers | {"error": ds.error, "bound": bound(ds)})


def _width(ds: "xarray.Dataset") -> float:
    """Beyond four standard deviations, 1 / sqrt(n) each at most, the theorem promises 96%."""
    return 2 / np.sqrt(ds.attrs["dim"])


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws the share of recovered vectors over m / n and k / n, for each method.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of three panels.
    """
    from ..plotting._style import COLORS, figure

    shares = (ds.error < _RECOVERED).mean("instance")
    rho = np.linspace(0.001, 0.999, 60)
    curve = [statistical_dimension(value) for value in rho]
    with figure(1, 3, height=4.8, width=13.5) as (drawn, axes):
        image: Any = None
        for axis, name in zip(axes, METHODS, strict=True):
            values = shares.sel(algorithm=name).transpose("sparsity", "ratio").values
            image = axis.imshow(
                values,
                origin="lower",
                cmap="cividis",
                vmin=0,
                vmax=1,
                aspect="auto",
                extent=(-0.5, ds.sizes["ratio"] - 0.5, -0.5, ds.sizes["sparsity"] - 0.5),
            )
            places = _places(curve, ds.ratio.values), _places(rho, ds.sparsity.values)
            axis.plot(*places, color=COLORS[1], linewidth=3, label="statistical dimension")
            # Beyond the cells nothing is shown.
            axis.set(xlim=axis.get_xlim(), ylim=axis.get_ylim())
            axis.set_xticks(range(ds.sizes["ratio"]), [f"{v:.2g}" for v in ds.ratio.values])
            axis.set_yticks(range(ds.sizes["sparsity"]), [f"{v:.2g}" for v in ds.sparsity.values])
            axis.grid(visible=False)
            axis.set(title=name, xlabel="equations, $m / n$")
        axes[0].set_ylabel("nonzero entries, $k / n$")
        axes[0].legend(loc="upper left", frameon=True, framealpha=0.9, edgecolor="none")
        bar = drawn.colorbar(image, ax=axes)
        bar.set_label("share recovered")
    return drawn


def _places(values: Any, cells: np.ndarray) -> np.ndarray:
    """Where values fall between cells that are drawn at 0, 1, 2, ...; not a number beyond them."""
    inner = np.interp(values, cells, np.arange(len(cells)), left=np.nan, right=np.nan)
    return np.asarray(inner)
