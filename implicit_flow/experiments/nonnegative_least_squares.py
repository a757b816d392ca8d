"""x = u^2: the flow maximizes an entropy exactly, at every alpha; least l1 norm in the limit."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import diffrax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.optimize import nnls

from .. import _checks, closed_forms
from .._compiled import compiled
from .._side_by_side import side_by_side
from .._simulate import simulate
from ..convex import min_l1
from ..flows import HadamardFlow
from ..measurements import DiagonalMeasurement
from ..problems import Problem
from ._closed_form import RTOL, SLOPE, along, dataset, follow, leading_excess
from ._double import require_float64
from ._finish import conclude, finish
from ._ladder import checked
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "The flow of x = u^2 from x0 = alpha d ends at the minimizer of sum x log(x / (alpha d)) - x "
    "over A x = y, exactly, at every alpha; as alpha -> 0 that is the x >= 0 of least l1 norm, and "
    "among several the one of largest entropy relative to d. The excess of the norm falls like "
    "alpha^g with g of the problem; with x = u^3 like alpha, whatever the problem. Where no x >= 0 "
    "has A x = y, the flow ends at the nonnegative least squares solution."
)
HYPOTHESES = "d > 0; squared loss; some x >= 0 has A x = y, but for the last sentence."
SOURCE = (
    "Woodworth et al., Kernel and rich regimes in overparametrized models (2020); Gunasekar et "
    "al., Implicit regularization in matrix factorization (2017), for diagonal measurements."
)

# dim: n. num_measurements: m. num_instances: drawn at random; one with a tie is added.
# depths: N of x = u^N; the rates of those above 2 are measured on the first instance.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "dim": 5,
        "num_measurements": 2,
        "num_instances": 1,
        "log10_alphas": (-1.0, -4.0, -8.0, -16.0, -300.0),
        "num_times": 5,
        "depths": (2,),
    },
    "quick": {
        "dim": 12,
        "num_measurements": 4,
        "num_instances": 4,
        "log10_alphas": (-1.0, -2.0, -4.0, -8.0, -12.0, -16.0, -30.0, -100.0, -300.0),
        "num_times": 25,
        "depths": (2, 3),
    },
    "full": {
        "dim": 100,
        "num_measurements": 30,
        "num_instances": 9,
        "log10_alphas": (-1.0, -2.0, -4.0, -8.0, -12.0, -16.0, -30.0, -100.0, -300.0),
        "num_times": 25,
        "depths": (2, 3, 4),
    },
}
STARTS = ("ones", "random")
_PATH = 1e-3
# Deeper flows start at u = alpha^{1/N} and need a time of alpha^{2/N - 1}.
_DEEP_LADDER = (-2.0, -3.0, -4.0, -5.0)
# Where the flow is no longer followed, and alpha (1 - l_k)^{-N / (N - 2)} is small.
_DEEP_SMALL = (-9.0, -10.0)


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    dim: int | None = None,
    num_measurements: int | None = None,
    num_instances: int | None = None,
    log10_alphas: Sequence[float | int] | None = None,
    num_times: int | None = None,
    depths: Sequence[int] | None = None,
) -> "xarray.Dataset":
    """Integrates u for several problems and two starts, and compares with what the theory says.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of the problems and of the random start.
        dim: n.
        num_measurements: m, below n.
        num_instances: problems without a tie; one with a tie is added.
        log10_alphas: decreasing, negative.
        num_times: points of the path, at least 2.
        depths: N, the first of them 2.

    Returns:
        Ends, paths and distances over instance, start and alpha.

    Raises:
        ValueError: sizes that cannot be, or float32.
    """
    require_float64("nonnegative-least-squares")
    given = {"dim": dim, "num_measurements": num_measurements, "num_instances": num_instances}
    given |= {"log10_alphas": log10_alphas, "num_times": num_times, "depths": depths}
    least = {"dim": 2, "num_measurements": 1, "num_instances": 1, "num_times": 2, "depths": 2}
    chosen = sizes(SETTINGS, setting, given, least=least, seed=seed)
    n, m, orders = chosen["dim"], chosen["num_measurements"], chosen["depths"]
    if m >= n:
        _checks.refuse("num_measurements", f"be below dim = {n}", f"is {m}")
    if orders[0] != 2:
        _checks.refuse("depths", "begin with 2", f"is {orders}")
    ladder, rng = checked(chosen["log10_alphas"]), np.random.default_rng(seed)
    inits = (np.ones(n), np.exp(0.7 * rng.normal(size=n)))
    names = [f"random {k}" for k in range(chosen["num_instances"])] + ["tie"]
    problems = [_problem(n, m, rng, tie=name == "tie") for name in names]
    fractions = np.linspace(0, 4, chosen["num_times"])
    # Compiles in half the time of an implicit one, and is as good where there is little to follow.
    solver = diffrax.Dopri8() if setting == "tiny" else None

    def of(problem: Problem) -> tuple[list[dict[str, Any]], float]:
        g = np.nan
        cells, B = [], np.asarray(cast(DiagonalMeasurement, problem.measurement).matrix)
        for init in inits:
            limit = np.asarray(closed_forms.commuting_limit(problem, init=np.diag(init)))
            cell = along(
                problem,
                init,
                ladder,
                fractions,
                limit=limit,
                spectrum=(np.eye(n), B),
                closed_form=closed_forms.hadamard,
                flow=HadamardFlow(),
                solver=solver,
            )
            leading, g = leading_excess((np.eye(n), B), np.diag(init), limit, ladder)
            cells.append(cell | leading | {"limit": limit})
        return cells, g

    first, *others = problems
    # The first compiles the programs of all.
    rows, gaps = (list(one) for one in zip(of(first), *side_by_side(of, others), strict=True))
    coords = {"instance": names, "start": list(STARTS), "log10_alpha": ladder}
    ds = dataset(rows, coords | {"time": fractions}, gaps)
    ds["A"] = (
        ("instance", "m", "column"),
        np.array([cast(DiagonalMeasurement, p.measurement).matrix for p in problems]),
    )
    ds["targets"] = (("instance", "m"), np.array([p.targets for p in problems]))
    ds["u_start"] = (("start", "column"), np.array(inits))
    ds["l1"] = ("instance", np.array([min_l1(p, nonnegative=True).value for p in problems]))
    # With l_k near 1, alpha (1 - l_k)^{-N / (N - 2)} is not yet small: of all g the largest.
    clearest = problems[int(np.argmax(gaps[:-1]))]
    ds = ds.assign(_misfit(n, m, rng, inits, fractions, solver)).assign(_deep(clearest, orders[1:]))
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _problem(dim: int, num_measurements: int, rng: np.random.Generator, *, tie: bool) -> Problem:
    """Gaussian rows, and the targets of a planted x with half of its entries zero."""
    B = rng.normal(size=(num_measurements, dim))
    planted = np.where(np.arange(dim) < (dim + 1) // 2, rng.uniform(0.5, 1.5, dim), 0)
    problem = Problem(DiagonalMeasurement(B), B @ planted)
    if not tie:
        return problem
    # Two entries that no measurement tells apart, one of them in the solution.
    x = np.diagonal(closed_forms.commuting_limit(problem))
    B[:, int(np.argmin(x))] = B[:, int(np.argmax(x))]
    return Problem(DiagonalMeasurement(B), B @ x)


@compiled
def _end(problem: Problem, init: Array, log10_alpha: Array, depth: int) -> tuple[Array, Array]:
    sol = simulate(
        problem,
        HadamardFlow(depth),
        log10_alpha=log10_alpha,
        init=init,
        rtol=1e-7,
        adjoint=diffrax.ForwardMode(),
        throw=False,
    )
    assert sol.x is not None
    return sol.x, sol.error_estimate


def _misfit(
    dim: int,
    num_measurements: int,
    rng: np.random.Generator,
    inits: Sequence[np.ndarray],
    times: np.ndarray,
    solver: Any,
) -> dict[str, Any]:
    """Targets that no x >= 0 meets: a row of positive numbers with a negative target."""
    B = rng.normal(size=(num_measurements, dim))
    B[0] = np.abs(B[0])
    y = rng.normal(size=num_measurements)
    y[0] = -1
    problem, (solution, distance) = Problem(DiagonalMeasurement(B), y), nnls(B, y)
    # The program of the problems that can be met: hence the times, at which nothing is looked at.
    given = (jnp.asarray(-4.0, float), jnp.asarray(times), HadamardFlow(), solver)
    ends = [np.asarray(follow(problem, jnp.asarray(init), *given).x) for init in inits]
    missed = [float(np.linalg.norm(B @ x - y)) for x in ends]
    return {
        "misfit_A": (("m", "column"), B),
        "misfit_targets": ("m", y),
        "misfit_x": (("start", "column"), np.array(ends)),
        "misfit_distance": ("start", np.array(missed)),
        "misfit_least": ((), distance),
        "misfit_solution": ("column", solution),
    }


def _deep(problem: Problem, depths: Sequence[int]) -> dict[str, Any]:
    """The excess over the least l1 norm for x = u^N, N > 2, on a ladder of its own.

    The flow is held to its closed form, and that to the exponent at alphas that the flow would take
    long to leave.
    """
    if not depths:
        return {}
    least = min_l1(problem, nonnegative=True).value
    ones = jnp.ones(problem.dim)
    limit = float(jnp.trace(closed_forms.commuting_limit(problem)))
    excess, off, known, exponents = [], [], [], []
    for depth in depths:
        ends = [
            closed_forms.hadamard(problem, depth=depth, log10_alpha=log10_alpha)
            for log10_alpha in _DEEP_SMALL
        ]
        heights = [np.log10(float(jnp.trace(X)) - limit) for X in ends]
        exponents.append((heights[0] - heights[1]) / (_DEEP_SMALL[0] - _DEEP_SMALL[1]))
        for log10_alpha in _DEEP_LADDER:
            x, error = _end(problem, ones, jnp.asarray(log10_alpha), depth)
            exact = closed_forms.hadamard(problem, depth=depth, log10_alpha=log10_alpha)
            excess.append(float(jnp.sum(x)) / least - 1)
            off.append(float(jnp.linalg.norm(x - jnp.diagonal(exact)) / jnp.linalg.norm(x)))
            known.append(float(error))
    shape = (len(depths), len(_DEEP_LADDER))
    return {
        "deep_excess": (("depth", "deep_log10_alpha"), np.reshape(excess, shape)),
        "deep_distance_to_closed_form": (("depth", "deep_log10_alpha"), np.reshape(off, shape)),
        "deep_error_estimate": (("depth", "deep_log10_alpha"), np.reshape(known, shape)),
        "deep_exponent": ("depth", np.array(exponents)),
        "depth": ("depth", np.array(depths)),
        "deep_log10_alpha": ("deep_log10_alpha", np.array(_DEEP_LADDER)),
    }


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    known = float(ds.error_estimate.max())
    off = float((ds.distance_to_closed_form - ds.error_estimate).max())
    path, slope = float(np.max(ds.path_error.values)), abs(ds.exponent - ds.exponent_of_leading)
    missed = float((ds.misfit_distance / ds.misfit_least - 1).max())
    right = off < 1e-11 and path < _PATH and float(slope.max()) < SLOPE and missed < 1e-5
    deep, unseen = "", False
    if "depth" in ds.dims:
        known = max(known, float(ds.deep_error_estimate.max()))
        beyond = float((ds.deep_distance_to_closed_form - ds.deep_error_estimate).max())
        found = ds.deep_exponent.values
        right = right and beyond < 1e-11 and bool(np.all(abs(found - 1) < 0.1))
        deep = (
            f" With x = u^N, N > 2: ends within {float(ds.deep_distance_to_closed_form.max()):.1g} "
            f"of the closed form, whose exponents at alpha = 1e{_DEEP_SMALL[-1]:g} are "
            f"{np.round(found, 3).tolist()}."
        )
        # Nan where the excess is below rounding.
        unseen = not np.all(np.isfinite(found))
    undecided = known > 1e-4 or not np.any(np.isfinite(slope)) or unseen
    text = (
        f"{ds.sizes['instance']} problems, 2 starts: ends within "
        f"{float(ds.distance_to_closed_form.max()):.1g} of the entropic minimizer (error estimate "
        f"{known:.1g}), paths within {path:.1g}; exponents g from {float(ds.theory.min()):.2g} to "
        f"{float(ds.theory.max()):.2g} found within {float(slope.max()):.1g}; without a fit, "
        f"{missed:.1g} above the least misfit.{deep}"
    )
    outcome = "undecided" if undecided else "holds" if right else "fails"
    shown = ds.exponent_of_leading.notnull().values
    names = ["error_estimate", "distance_to_closed_form", "path_error"]
    names += ["misfit_distance", "misfit_least"]
    if "depth" in ds.dims:
        names += ["deep_error_estimate", "deep_distance_to_closed_form", "deep_exponent"]
    return conclude(outcome, text, {**ds[names], "exponent": ds.exponent.values[shown]})


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """What is worth reading as a table.

    Args:
        ds: what `run` returned.

    Returns:
        One number for each instance, start and alpha.
    """
    return ds[["excess", "distance_to_limit", "distance_to_closed_form", "verdict"]]


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws the entries of x against alpha, and the excess of the norm.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of two panels.
    """
    from ..plotting._style import BLACK, COLORS, GRAY, alpha_axis, figure

    with figure(1, 2, width=14.0, height=5.4) as (drawn, (left, right)):
        tie = ds.sel(instance="tie", start="random")
        places = alpha_axis(left, ds.log10_alpha.values)
        x, limit = np.diagonal(tie.X.values, axis1=1, axis2=2), np.diagonal(tie.limit.values)
        held = np.flatnonzero(limit > 1e-9 * limit.max())
        for k in set(range(len(limit))) - set(held.tolist()):
            left.plot(places, x[:, k], color=GRAY, linewidth=1)
        for color, k in zip(COLORS, held, strict=False):
            left.plot(places, x[:, k], "o-", color=color)
            left.axhline(limit[k], color=color, linestyle="--", linewidth=1.6)
        left.plot(
            [], [], "--", color=BLACK, linewidth=1.6, label=r"least $\ell_1$, largest entropy"
        )
        left.plot([], [], color=GRAY, linewidth=1, label="zero in the limit")
        left.set_ylabel(r"entries of $x_\infty$ (a tie)")
        left.legend(loc="best")
        places = alpha_axis(right, ds.log10_alpha.values)
        for color, k in zip(COLORS, range(ds.sizes["instance"]), strict=False):
            one = ds.isel(instance=k).sel(start="random")
            right.plot(places, one.leading_excess, "--", color=color, linewidth=1.6)
            seen = one.excess.values > 10 * RTOL
            label = rf"$u^2$, $g$ = {float(one.theory):.2f}"
            right.plot(places[seen], one.excess.values[seen], "o", color=color, label=label)
        if "depth" in ds.dims:
            for depth in ds.depth.values:
                deep = ds.deep_excess.sel(depth=depth)
                right.plot(-ds.deep_log10_alpha, deep, "k^:", label=rf"$u^{depth}$, $g$ = 1")
        right.plot([], [], "--", color=BLACK, linewidth=1.6, label=r"leading term $C\alpha^g$")
        right.set(yscale="log", ylim=(RTOL, 10))
        right.set_ylabel(r"excess $\|x_\infty\|_1 / \min\|x\|_1 - 1$")
        right.legend(loc="upper right")
    return drawn
