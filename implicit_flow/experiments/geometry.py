"""Each geometry has a limit of its own: mirror flows, and steepest descent in three norms."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import diffrax
import numpy as np
import optax

from .. import _checks
from .._compiled import compiled
from .._descend import descend
from .._side_by_side import side_by_side
from .._simulate import simulate
from ..convex import min_l2
from ._divergences import Geometry, geometries, nearest
from ._double import require_float64
from ._engine import engine as named_engine
from ._factor_and_mirror import ALPHA, TIMES, distances, factor_path, times_of, vector_problem
from ._finish import conclude, finish
from ._sizes import sizes
from ._steepest import NORMS, ends_of_descent


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "Mirror flow, and mirror descent with finite steps, end at the solution of A x = y of least "
    "Bregman divergence from the start, whatever the potential. Steepest descent in a norm ends "
    "at the solution of least norm for l2 only: coordinate descent (l1) and sign descent "
    "(l-infinity) in general do not, not even with small steps. With commuting measurements the "
    "factor flow is the mirror flow of the entropy on the eigenvalues, on half its clock."
)
HYPOTHESES = (
    "Squared loss, consistent underdetermined targets, steps small enough to converge; norms: "
    "start at 0."
)
SOURCE = "Gunasekar et al. (2018), Characterizing implicit bias in terms of optimization geometry."

# `integrated`: the potentials whose flow is integrated; mirror descent is run for all of them.
# `steps`: the steps of steepest descent, as shares of the longest that must descend.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "dim": 8,
        "num_measurements": 3,
        "instances": 2,
        "powers": (1.5,),
        "integrated": ("entropy",),
        "engine": "tsit5",
        "steps": (1.0, 0.2),
        "num_steps": 3000,
    },
    "quick": {
        "dim": 20,
        "num_measurements": 6,
        "instances": 8,
        "powers": (1.3, 1.5),
        "integrated": ("entropy", "hypentropy", "1.5-norm"),
        "engine": "kvaerno5",
        "steps": (1.0, 0.3, 0.1),
        "num_steps": 10_000,
    },
    "full": {
        "dim": 50,
        "num_measurements": 15,
        "instances": 30,
        "powers": (1.1, 1.2, 1.5, 1.8),
        "integrated": ("quadratic", "entropy", "hypentropy", "1.1-norm", "1.5-norm", "1.8-norm"),
        "engine": "kvaerno5",
        "steps": (1.0, 0.1, 0.01, 0.001),
        "num_steps": 200_000,
    },
}

# The scale at which the hypentropy starts; the misfit at which an iteration has arrived,
# and the distance below which two points are one.
_BETA = 0.1
_ARRIVED, _SAME = 1e-7, 1e-5


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    dim: int | None = None,
    num_measurements: int | None = None,
    instances: int | None = None,
    powers: Sequence[float | int] | None = None,
    integrated: Sequence[str] | None = None,
    engine: str | None = None,
    steps: Sequence[float | int] | None = None,
    num_steps: int | None = None,
) -> "xarray.Dataset":
    """Runs mirror flows, mirror descent and steepest descent on the same random problems.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of the instances.
        dim: n, the number of unknowns.
        num_measurements: m, below n.
        instances: how many problems.
        powers: p of the p-norm potentials, between 1 and 2.
        integrated: names of the potentials whose flow is integrated.
        engine: of these flows, "kvaerno5", "dopri8" or "tsit5".
        steps: of steepest descent, as shares of the longest that must descend.
        num_steps: of each iteration at the longest step; shorter steps take more of them.

    Returns:
        Distances to the argmin of the divergence over instance and potential, excess of the norm
        over instance, norm and step, and distances between factor and mirror flow over time.
    """
    import xarray

    require_float64("geometry")
    given = {
        "dim": dim,
        "num_measurements": num_measurements,
        "instances": instances,
        "powers": powers,
        "integrated": integrated,
        "engine": engine,
        "steps": steps,
        "num_steps": num_steps,
    }
    # With one equation coordinate and sign descent end at the least norm.
    least = {"dim": 3, "num_measurements": 2, "instances": 1, "powers": 1.02, "num_steps": 1}
    size = sizes(SETTINGS, setting, given, least=least, seed=seed)
    n, m, count = size["dim"], size["num_measurements"], size["instances"]
    if m >= n:
        _checks.refuse("num_measurements", f"be below dim = {n}", f"is {m}")
    if max(size["powers"]) > 2:
        _checks.refuse("powers", "lie between 1.02 and 2", f"is {size['powers']}")
    if not all(0 < step <= 1 for step in size["steps"]):
        _checks.refuse("steps", "lie between 0 and 1", f"is {size['steps']}")
    kinds = geometries(ALPHA, _BETA, size["powers"])
    for name in size["integrated"]:
        if name not in kinds:
            _checks.refuse("integrated", f"name some of {', '.join(kinds)}", f"has {name!r}")
    if "entropy" not in size["integrated"]:
        _checks.refuse("integrated", "name entropy, to compare the factor flow", "does not")
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, m, n)) / np.sqrt(n)
    targets = np.einsum("kij,kj->ki", rows, _planted(count, n, rng))
    # The factor flow beside the mirror flows: its program compiles for as long as theirs.
    parts: list[Callable[[], Any]] = [
        *(partial(_mirror, size, name, kind, rows, targets) for name, kind in kinds.items()),
        partial(factor_path, rows[0], targets[0], seed),
    ]
    results: list[Any] = side_by_side(lambda part: part(), parts)
    *mirrors, factor = results
    mirror = dict(zip(kinds, mirrors, strict=True))
    over = {name: ("instance", "potential") for name in mirrors[0] if name != "path"}
    over |= dict.fromkeys(("x", "flow_x"), ("instance", "potential", "coordinate"))
    ds = xarray.Dataset(
        {
            **{
                name: (axes, np.stack([one[name] for one in mirrors], axis=1))
                for name, axes in over.items()
            },
            "rows": (("instance", "measurement", "coordinate"), rows),
            "targets": (("instance", "measurement"), targets),
            **ends_of_descent(rows, targets, size["steps"], size["num_steps"]),
            "factor_distance": ("time_unit", distances(factor, mirror["entropy"]["path"], seed)),
            "is_integrated": ("potential", [int(name in size["integrated"]) for name in kinds]),
        },
        coords={
            "potential": list(kinds),
            "norm": list(NORMS),
            "step": list(size["steps"]),
            "instance": np.arange(count),
            "time_unit": list(TIMES),
        },
        attrs={"dim": n, "num_measurements": m, "num_steps": size["num_steps"]},
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _planted(count: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Vectors of which half of the entries or so are positive, at least one, and the rest zero."""
    sizes = np.abs(rng.normal(size=(count, dim)))
    kept = rng.random((count, dim)) < 0.5
    # The targets of zero are met at the start: no flow, and nothing to be relative to.
    kept[~kept.any(axis=1), 0] = True
    return sizes * kept


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """The worst instance of each potential.

    Args:
        ds: what `run` returned.

    Returns:
        Distances and misfits over potential.
    """
    names = ["flow_distance", "flow_error_estimate", "descent_distance", "descent_misfit"]
    return ds[names].max("instance")


def _mirror(
    size: dict[str, Any], name: str, kind: Geometry, rows: Any, targets: Any
) -> dict[str, Any]:
    """Mirror descent, and the flow if it is integrated, with one potential on every instance."""
    options: dict[str, Any] = {"alpha": ALPHA} if kind.flow.needs_alpha else {}

    @compiled
    def solve(A: Any, y: Any) -> Any:
        given = {"saveat": 2 * times_of(A, y), "solver": named_engine(size["engine"])}
        given |= {"adjoint": diffrax.ForwardMode(), "throw": False}
        return simulate(vector_problem(A, y), kind.flow, **given, **options)

    @compiled
    def step(A: Any, y: Any, rate: Any) -> Any:
        given = {"num_steps": size["num_steps"], "throw": False}
        return descend(vector_problem(A, y), kind.flow, optax.sgd(rate), **given, **options)

    found, path = [], None
    for A, y in zip(rows, targets, strict=True):
        best = nearest(A, y, kind)
        norm = np.linalg.norm(best)
        least = np.asarray(min_l2(vector_problem(A, y)).x)
        curvature = kind.curvature(2 * float(np.max(np.abs(best))))
        end = step(A, y, np.asarray(1 / (np.linalg.norm(A, 2) ** 2 * curvature)))
        one = {
            "x": np.asarray(end.x),
            "flow_x": np.full(len(best), np.nan),
            "descent_distance": np.linalg.norm(end.x - best) / norm,
            "descent_misfit": float(end.residual_norm),
            # How far apart the limits of different geometries are.
            "spread": np.linalg.norm(least - best) / norm,
            "flow_distance": np.nan,
            "flow_error_estimate": np.nan,
        }
        if name in size["integrated"]:
            sol = solve(A, y)
            one["flow_x"] = np.asarray(sol.x)
            one["flow_distance"] = np.linalg.norm(sol.x - best) / norm
            one["flow_error_estimate"] = float(sol.error_estimate)
            path = np.asarray(sol.Xs) if path is None else path
        found.append(one)
    return {key: np.array([one[key] for one in found]) for key in found[0]} | {"path": path}


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    flow, descent = float(ds.flow_distance.max()), float(ds.descent_distance.max())
    late = float(ds.descent_misfit.max())
    factor = float(ds.factor_distance.max())
    arrived = ds.excess.where(ds.steepest_misfit <= _ARRIVED)
    least = {norm: float(arrived.sel(norm=norm).min("step").max()) for norm in NORMS}
    gradient = arrived.sel(norm="l2")
    l2 = float(np.abs(gradient).max())
    integrated = ds.isel(potential=np.flatnonzero(ds.is_integrated))
    unsure = float(integrated.flow_error_estimate.max())
    text = (
        f"Over {ds.sizes['potential']} potentials and {ds.sizes['instance']} instances the "
        f"distance to the argmin of the divergence is at most {flow:.1g} for flows and "
        f"{descent:.1g} for descent (misfit {late:.1g}); norm above the least one at the best "
        f"step, worst instance: {least['l1']:.2g} for coordinate descent, {least['linf']:.2g} "
        f"for sign descent, {l2:.1g} for gradient descent; factor and mirror flow differ by "
        f"{factor:.1g}."
    )
    agree = max(flow, descent, factor) <= _SAME and l2 <= _SAME
    others = min(least["l1"], least["linf"]) > 100 * _SAME
    short = late > _ARRIVED or unsure > _SAME or not gradient.notnull().any("step").all()
    if short or not np.isfinite(least["l1"] + least["linf"]):
        outcome = "undecided"
    elif agree and not others:
        # Some instances have the least norm at the end of such a descent: these may all be.
        outcome, text = "undecided", f"{text} No counterexample among these instances for one norm."
    else:
        outcome = "holds" if agree else "fails"
    numbers = {**ds[["descent_distance", "descent_misfit", "factor_distance", "excess"]]}
    numbers |= {**integrated[["flow_distance", "flow_error_estimate"]]}
    return conclude(outcome, text, numbers | {"steepest_misfit": ds.steepest_misfit})


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws distances to the argmin of the divergence, and the excess of norms.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of two panels.
    """
    from ..plotting._style import COLORS, GRAY, figure

    with figure(1, 2, height=5.0, width=13.0) as (drawn, (left, right)):
        names = [str(name) for name in ds.potential.values]
        for place, name in enumerate(names):
            here = ds.sel(potential=name)
            for values, shift, color, label in (
                (here.spread, 0.2, GRAY, r"$x$ of least l2 norm"),
                (here.descent_distance, 0.0, COLORS[0], "mirror descent"),
                (here.flow_distance, -0.2, COLORS[1], "mirror flow"),
            ):
                values = values.values[np.isfinite(values)]
                left.plot(
                    np.maximum(values, 1e-16),
                    np.full(len(values), place + shift),
                    "o",
                    color=color,
                    alpha=0.6,
                    label=label if place == 1 else None,
                )
        left.set_yticks(range(len(names)), names)
        left.set_xscale("log")
        left.set_xlim(1e-16, 10)
        left.set_xlabel(
            r"$\|x - x_\psi\|\;/\;\|x_\psi\|$,  "
            r"$x_\psi = \mathrm{argmin}_{Ax=y}\,D_\psi(x, x_0)$"
        )
        left.legend(loc="upper center", bbox_to_anchor=(0.42, 1.14), ncols=3, handletextpad=0.1)
        labels = {
            "l1": r"coordinate descent, $\ell_1$",
            "l2": r"gradient descent, $\ell_2$",
            "linf": r"sign descent, $\ell_\infty$",
        }
        steps = ds.step.values
        arrived = ds.excess.where(ds.steepest_misfit <= _ARRIVED)
        for norm, color, marker in zip(NORMS, (*COLORS[1:3], COLORS[3]), "osD", strict=True):
            values = np.maximum(arrived.sel(norm=norm), 1e-16)
            right.plot(steps, values.max("instance"), f"{marker}-", color=color, label=labels[norm])
            right.plot(steps, values.T, marker, color=color, alpha=0.3, markersize=4)
        right.set(xscale="log", yscale="log", ylim=(1e-17, 10))
        right.invert_xaxis()
        right.set_xlabel(r"step $\eta L \to 0$")
        right.set_ylabel(r"$\|x\|\;/\;\min_{Ax=y}\|x\| - 1$")
        right.legend(loc="center left", bbox_to_anchor=(0.0, 0.45))
    return drawn
