"""One measurement: the whole path in closed form, and a limit that may be slow to come."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import closed_forms
from ..measurements import DenseMeasurement
from ..problems import Problem
from ._closed_form import RTOL, SLOPE, along, dataset, leading_excess
from ._double import require_float64
from ._engine import engine as named_engine
from ._finish import conclude, finish
from ._ladder import checked
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "With one measurement <A, X> = y the flow stays on X = e^{sA} X0 e^{sA} at every time and "
    "every alpha. As alpha -> 0 it ends at (y / l1) P X~ P / tr(P X~ P), P the projector on the "
    "top eigenvectors of A: the least nuclear norm, and among several of that norm the one that "
    "X~ favors. The excess of the nuclear norm falls like alpha^g, g = 1 - l2 / l1, and the "
    "distance to the limit like alpha^{g/2} where X~ and A do not share eigenvectors."
)
HYPOTHESES = (
    "A symmetric with eigenvalues l1 >= ... >= ln, l1 > 0, l2 the first below l1; y > 0; X~ "
    "positive definite; squared loss."
)
SOURCE = (
    "Gunasekar, Woodworth, Bhojanapalli, Neyshabur, Srebro, Implicit regularization in matrix "
    "factorization (2017); the rate is a consequence of the closed form."
)

# dim: n. num_times: of the path, up to twice the time log(1/alpha) / (2 l1 y) of escape from zero.
# engine: "radau" is the library's own, "dopri8" compiles faster and is good down to about 1e-14.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "dim": 3,
        "log10_alphas": (-1.0, -2.0, -4.0, -6.0, -8.0, -10.0, -12.0),
        "num_times": 7,
        "engine": "dopri8",
    },
    "quick": {
        "dim": 8,
        "log10_alphas": (-1.0, -2.0, -4.0, -6.0, -8.0, -12.0, -16.0, -30.0, -100.0, -300.0),
        "num_times": 41,
        "engine": "radau",
    },
    "full": {
        "dim": 50,
        "log10_alphas": (-1.0, -2.0, -4.0, -6.0, -8.0, -12.0, -16.0, -30.0, -100.0, -300.0),
        "num_times": 41,
        "engine": "radau",
    },
}
INSTANCES = ("diagonal", "half", "close", "tie")
STARTS = ("identity", "random")
_LEADING = {
    "diagonal": (2.0, 1.0, 0.0),
    "half": (1.0, 0.5, 0.25),
    "close": (1.0, 0.98, 0.5),
    "tie": (1.0, 1.0, 0.75),
}
# Of X along the path, which is interpolated between the steps of the solver.
_PATH = 1e-3


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    dim: int | None = None,
    log10_alphas: Sequence[float | int] | None = None,
    num_times: int | None = None,
    engine: str | None = None,
) -> "xarray.Dataset":
    """Integrates the flow of four matrices from two starts, and compares with the closed form.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of eigenvectors, small eigenvalues and starts.
        dim: n, at least 3.
        log10_alphas: decreasing, negative.
        num_times: points of the path, at least 2.
        engine: "radau", "dopri8", "kvaerno5" or "tsit5".

    Returns:
        Ends, paths and distances over instance, start and alpha.

    Raises:
        ValueError: sizes that cannot be, or float32.
    """
    import xarray

    require_float64("single-measurement")
    given = {"log10_alphas": log10_alphas, "num_times": num_times, "engine": engine, "dim": dim}
    chosen = sizes(SETTINGS, setting, given, least={"dim": 3, "num_times": 2}, seed=seed)
    ladder, solver = checked(chosen["log10_alphas"]), named_engine(chosen["engine"])
    n, rng = chosen["dim"], np.random.default_rng(seed)
    inits = (np.eye(n), rng.normal(size=(n, n)) / np.sqrt(n))
    problems = [_problem(name, n, rng) for name in INSTANCES]
    fractions = np.linspace(0, 2, chosen["num_times"])
    rows, gaps = [], []
    for problem in problems:
        A = np.asarray(problem.measurement.as_stack()[0])
        values, vectors = np.linalg.eigh(A)
        g = np.nan
        cells = []
        for init in inits:
            limit = _limit(values, vectors, init)
            cell = along(
                problem,
                init,
                ladder,
                fractions,
                limit=limit,
                spectrum=(vectors, values[None]),
                solver=solver,
                closed_form=closed_forms.single_measurement,
            )
            leading, g = leading_excess((vectors, values[None]), init, limit, ladder)
            cells.append(cell | leading | {"limit": limit})
        rows.append(cells)
        gaps.append(g)
    coords = {"instance": list(INSTANCES), "start": list(STARTS), "log10_alpha": ladder}
    ds = dataset(rows, coords | {"time": fractions}, gaps)
    stack = np.array([problem.measurement.as_stack()[0] for problem in problems])
    ds["A"] = (("instance", "row", "column"), stack)
    ds["U_start"] = (("start", "row", "column"), np.array(inits))
    # The identity shares its eigenvectors with every A: no entry off the diagonal is in the way.
    ds["theory_of_distance"] = ds.theory * xarray.DataArray([1.0, 0.5], dims="start")
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _problem(name: str, dim: int, rng: np.random.Generator) -> Problem:
    """A matrix with the leading eigenvalues of an instance, and y = 1."""
    leading = np.array(_LEADING[name])
    values = np.concatenate([leading, rng.uniform(-1, leading[2], dim - 3)])
    basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    if name == "diagonal":
        # That of the theory's example: diag(2, 1), beside coordinates that are not measured.
        values[3:], basis = 0, np.eye(dim)
    A = (basis * values) @ basis.T
    return Problem(DenseMeasurement(((A + A.T) / 2)[None]), np.ones(1))


def _limit(values: np.ndarray, vectors: np.ndarray, init: np.ndarray) -> np.ndarray:
    """(y / l1) P X~ P / tr(P X~ P) with y = 1."""
    top = vectors[:, values > values[-1] * (1 - 1e-9)]
    seen = top @ (top.T @ init)
    return (seen @ seen.T) / np.sum(seen**2) / values[-1]


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    # An end may be off by what the solver says, and the closed form by rounding.
    known = float(ds.error_estimate.max())
    off = float((ds.distance_to_closed_form - ds.error_estimate).max())
    path = float(np.max(ds.path_error.values))
    slopes = (
        abs(ds.exponent - ds.exponent_of_leading),
        abs(ds.exponent_of_distance - ds.theory_of_distance),
    )
    # Not a number where one of them is seen nowhere.
    slope = float(np.max([slope.max() for slope in slopes]))
    last = ds.isel(log10_alpha=-1)
    slow = float(last.excess.max())
    if known > 1e-4 or not np.isfinite(slope):
        outcome = "undecided"
    else:
        right = off < 1e-11 and path < _PATH and slope < SLOPE
        outcome = "holds" if right else "fails"
    text = (
        f"Ends within {float(ds.distance_to_closed_form.max()):.1g} of the closed form (error "
        f"estimate {known:.1g}), paths within {path:.1g}; exponents within {slope:.1g} of those of "
        f"the leading term C alpha^g. At alpha = 1e{float(last.log10_alpha):g} the nuclear norm is "
        f"still {slow:.2g} above the least one where l2 / l1 = 0.98."
    )
    # Exponents are taken where two rungs show them: of the excess its leading term knows where.
    shown = ds.exponent_of_leading.notnull().values
    names = ["error_estimate", "distance_to_closed_form", "path_error", "theory_of_distance"]
    numbers = {"exponent": ds.exponent.values[shown], "slopes": slope}
    return conclude(outcome, text, {**ds[names], **numbers})


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """What is worth reading as a table.

    Args:
        ds: what `run` returned.

    Returns:
        One number for each instance, start and alpha.
    """
    names = ["excess", "distance_to_limit", "distance_to_closed_form", "verdict"]
    return ds[names]


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws paths, and the excess against alpha.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of two panels.
    """
    from ..plotting._style import BLACK, COLORS, alpha_axis, figure, power

    with figure(1, 2, width=14.0, height=5.4) as (drawn, (left, right)):
        paths = ds.sel(instance="half", start="random")
        for color, log10_alpha in zip(COLORS, ds.path.values, strict=False):
            one = paths.sel(path=log10_alpha)
            left.plot(ds.time, one.trace_closed_form, color=color)
            label = rf"$\alpha$ = {power(float(log10_alpha))}"
            left.plot(ds.time, one.trace, "o", color=color, mfc="white", label=label)
        left.plot([], [], color=BLACK, label="closed form (lines)")
        left.set_xlabel(r"time $t\,/\,\frac{\log(1/\alpha)}{2\lambda_1 y}$")
        left.set_ylabel(r"tr $X(t)\,/\,(y/\lambda_1)$")
        left.set_title(r"the path, $\lambda_2/\lambda_1 = 1/2$")
        left.legend(loc="upper left")
        places = alpha_axis(right, ds.log10_alpha.values)
        for color, name in zip(COLORS, ds.instance.values.tolist(), strict=False):
            one = ds.sel(instance=name, start="random")
            right.plot(places, one.leading_excess, "--", color=color, linewidth=1.6)
            label = f"{_NAMES[name]}, $g$ = {float(one.theory):.2g}"
            seen = one.excess.values > 10 * RTOL
            right.plot(places[seen], one.excess.values[seen], "o", color=color, label=label)
        right.plot([], [], "--", color=BLACK, linewidth=1.6, label=r"leading term $C\alpha^g$")
        right.set_yscale("log")
        right.set_ylim(RTOL, 3)
        right.set_ylabel(r"excess $\mathrm{tr}X_\infty / (y/\lambda_1) - 1$")
        right.set_title("random start")
        right.legend(loc="lower left")
    return drawn


_NAMES = {"diagonal": "diag(2, 1, 0)", "half": "generic", "close": "close", "tie": "tie"}
