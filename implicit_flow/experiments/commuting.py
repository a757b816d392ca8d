"""Measurements that commute: the whole path in closed form, least norm, and a rate for each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .. import _checks, closed_forms
from ..measurements import CommutingMeasurement
from ..problems import Problem
from ._closed_form import RTOL, SLOPE, along, compared, dataset, leading_excess
from ._double import require_float64
from ._engine import engine as named_engine
from ._finish import conclude, finish
from ._ladder import checked
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "With measurements that commute the flow stays on X = e^{A*(s)} X0 e^{A*(s)}, s in R^m, and "
    "ends, at every alpha, at the one point of it that fits. As alpha -> 0 that is a matrix of "
    "least nuclear norm; among several of that norm, the one of largest entropy relative to X~. "
    "The excess of the norm falls like alpha^g, g = min (1 - l_k) over the eigenvalues l_k < 1 of "
    "A*(nu), nu the solution of the dual problem."
)
HYPOTHESES = (
    "Symmetric A_1, ..., A_m that commute; some X >= 0 fits; X~ positive definite; squared loss; "
    "for the rate, a unique nu. In floats matrices commute to 16 digits: from an X~ with other "
    "eigenvectors only alpha >= 1e-16 is compared, from the identity every alpha."
)
SOURCE = (
    "Gunasekar, Woodworth, Bhojanapalli, Neyshabur, Srebro, Implicit regularization in matrix "
    "factorization (2017), Theorem 1; the rate is a consequence of the closed form."
)

# With many eigenvectors exponents are seen late, between two rungs that are not far apart.
_SMALL = (-100, -125, -150, -200, -300)
# dim: n. num_measurements: m. num_instances: drawn at random, and one more with a tie.
# num_times: of the path, up to four times the time of escape from zero.
# engine: "radau", "dopri8", "kvaerno5" or "tsit5".
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "dim": 4,
        "num_measurements": 2,
        "num_instances": 1,
        "log10_alphas": (-2.0, -4.0, -6.0, -8.0),
        "num_times": 5,
        "engine": "dopri8",
    },
    "quick": {
        "dim": 10,
        "num_measurements": 3,
        "num_instances": 7,
        "log10_alphas": (-2.0, -4.0, -6.0, -8.0, -12.0, -16.0, -24.0, -48.0, -100.0, -300.0),
        "num_times": 33,
        "engine": "radau",
    },
    "full": {
        "dim": 50,
        "num_measurements": 12,
        "num_instances": 15,
        "log10_alphas": (*range(-2, -9, -2), -12, -16, -24, -32, -40, -52, -64, -80, *_SMALL),
        "num_times": 33,
        "engine": "radau",
    },
}
STARTS = ("identity", "random")
# Of X along the path, which is interpolated between the steps of the solver.
_PATH = 1e-3
# Below this alpha the end from a start with other eigenvectors than those of A_i is not counted.
_ROUNDED = -16.0


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    dim: int | None = None,
    num_measurements: int | None = None,
    num_instances: int | None = None,
    log10_alphas: Sequence[float | int] | None = None,
    num_times: int | None = None,
    engine: str | None = None,
) -> "xarray.Dataset":
    """Integrates the flow of several problems from two starts, and compares with the closed form.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of the problems and of the random start.
        dim: n.
        num_measurements: m, below n.
        num_instances: problems without a tie; one with a tie is added.
        log10_alphas: decreasing, negative.
        num_times: points of the path, at least 2.
        engine: "radau", "dopri8", "kvaerno5" or "tsit5".

    Returns:
        Ends, paths and distances over instance, start and alpha.

    Raises:
        ValueError: sizes that cannot be, or float32.
    """
    require_float64("commuting")
    given = {"dim": dim, "num_measurements": num_measurements, "num_instances": num_instances}
    given |= {"log10_alphas": log10_alphas, "num_times": num_times, "engine": engine}
    least = {"dim": 2, "num_measurements": 1, "num_instances": 1, "num_times": 2}
    chosen = sizes(SETTINGS, setting, given, least=least, seed=seed)
    n, m = chosen["dim"], chosen["num_measurements"]
    if m >= n:
        _checks.refuse("num_measurements", f"be below dim = {n}", f"is {m}")
    ladder, solver = checked(chosen["log10_alphas"]), named_engine(chosen["engine"])
    rng = np.random.default_rng(seed)
    inits = (np.eye(n), rng.normal(size=(n, n)) / np.sqrt(n))
    names = [f"random {k}" for k in range(chosen["num_instances"])] + ["tie"]
    found = [_problem(n, m, rng, tie=name == "tie") for name in names]
    fractions = np.linspace(0, 4, chosen["num_times"])
    rows, gaps = [], []
    for problem in found:
        g = np.nan
        cells, measured = [], cast(CommutingMeasurement, problem.measurement)
        spectrum = (np.asarray(measured.basis), np.asarray(measured.spectra))
        for init in inits:
            limit = np.asarray(closed_forms.commuting_limit(problem, init=init))
            cell = along(
                problem,
                init,
                ladder,
                fractions,
                limit=limit,
                spectrum=spectrum,
                solver=solver,
                closed_form=closed_forms.commuting,
            )
            leading, g = leading_excess(spectrum, init, limit, ladder)
            if init is not inits[0]:
                _leave_out(cell, ladder)
            cells.append(cell | leading | {"limit": limit})
        rows.append(cells)
        gaps.append(g)
    coords = {"instance": names, "start": list(STARTS), "log10_alpha": ladder}
    ds = dataset(rows, coords | {"time": fractions}, gaps)
    ds["basis"] = (
        ("instance", "row", "k"),
        np.array([cast(CommutingMeasurement, p.measurement).basis for p in found]),
    )
    ds["spectra"] = (
        ("instance", "m", "k"),
        np.array([cast(CommutingMeasurement, p.measurement).spectra for p in found]),
    )
    ds["targets"] = (("instance", "m"), np.array([p.targets for p in found]))
    ds["U_start"] = (("start", "row", "column"), np.array(inits))
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _leave_out(cell: dict[str, np.ndarray], ladder: np.ndarray) -> None:
    """Take out what rounding decides."""
    for name, values in cell.items():
        lost = (ladder[compared(ladder)] if len(values) < len(ladder) else ladder) < _ROUNDED
        values[lost] = "left out" if name == "verdict" else np.nan


def _problem(dim: int, num_measurements: int, rng: np.random.Generator, *, tie: bool) -> Problem:
    """Gaussian spectra in a random basis, and the targets of a planted X with the same basis."""
    basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    spectra = rng.normal(size=(num_measurements, dim))
    planted = np.where(np.arange(dim) < (dim + 1) // 2, rng.uniform(0.5, 1.5, dim), 0)
    problem = Problem(CommutingMeasurement(basis, spectra), spectra @ planted)
    if not tie:
        return problem
    # Two eigenvectors that no measurement tells apart, one of them in the solution.
    x = _diagonal(np.asarray(closed_forms.commuting_limit(problem)), basis)
    spectra[:, int(np.argmin(x))] = spectra[:, int(np.argmax(x))]
    return Problem(CommutingMeasurement(basis, spectra), spectra @ x)


def _diagonal(X: np.ndarray, basis: np.ndarray) -> np.ndarray:
    return np.einsum("ik,ij,jk->k", basis, X, basis)


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    known = float(ds.error_estimate.max())
    off = float((ds.distance_to_closed_form - ds.error_estimate).max())
    path = float(ds.path_error.max())
    slope = abs(ds.exponent - ds.exponent_of_leading)
    last = ds.isel(log10_alpha=-1)
    if known > 1e-4 or not np.any(np.isfinite(slope)):
        outcome = "undecided"
    else:
        right = off < 1e-11 and path < _PATH and float(slope.max()) < SLOPE
        outcome = "holds" if right else "fails"
    text = (
        f"{ds.sizes['instance']} problems, 2 starts: ends within "
        f"{float(ds.distance_to_closed_form.max()):.1g} of the closed form (error estimate "
        f"{known:.1g}), paths within {path:.1g}; {int(np.sum(np.isfinite(slope)))} exponents g "
        f"from {float(ds.theory.min()):.2g} to {float(ds.theory.max()):.2g} found within "
        f"{float(slope.max()):.1g}. Nuclear norm at alpha = 1e{float(last.log10_alpha):g}: at most "
        f"{float(last.excess.max()):.2g} above the least one."
    )
    # Exponents are taken where two rungs show the excess: those of its leading term know where.
    shown = ds.exponent_of_leading.notnull().values
    numbers = {"exponent": ds.exponent.values[shown]}
    for names, ladder in (
        (("error_estimate", "distance_to_closed_form"), ds.log10_alpha),
        (("path_error",), ds.path),
    ):
        kept = (ds.start == STARTS[0]) | (ladder >= _ROUNDED)
        numbers |= {name: ds[name].values[:, kept.values] for name in names}
    return conclude(outcome, text, numbers)


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
    """Draws the excess against alpha, and the exponents found against those of the theory.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of two panels.
    """
    from ..plotting._style import BLACK, COLORS, alpha_axis, figure

    with figure(1, 2, width=14.0, height=5.4) as (drawn, (left, right)):
        places = alpha_axis(left, ds.log10_alpha.values)
        order = np.argsort(ds.theory.values)
        shown = order[np.unique(np.linspace(0, len(order) - 1, 5).astype(int))]
        for color, k in zip(COLORS, shown, strict=False):
            one = ds.isel(instance=k).sel(start="identity")
            left.plot(places, one.leading_excess, "--", color=color, linewidth=1.6)
            seen = one.excess.values > 10 * RTOL
            label = rf"$g$ = {float(one.theory):.2f}"
            label += " (a tie)" if str(one.instance.values) == "tie" else ""
            left.plot(places[seen], one.excess.values[seen], "o", color=color, label=label)
        left.plot([], [], "--", color=BLACK, linewidth=1.6, label=r"leading term $C\alpha^g$")
        left.set_yscale("log")
        left.set_ylim(RTOL, 10)
        left.set_ylabel(r"excess $\mathrm{tr}X_\infty / \min\mathrm{tr}X - 1$")
        left.legend(loc="upper right")
        ends = [0, 1.05 * float(ds.theory.max())]
        right.plot(ends, ends, "--", color=BLACK, linewidth=1.6, label="equal")
        for start, marker, color in zip(STARTS, "os", COLORS, strict=False):
            found = ds.exponent.sel(start=start)
            right.plot(ds.theory, found, marker, color=color, mfc="none", mew=2, label=start)
        right.set_xlabel(r"theory: $g = \min_{\lambda_k < 1}\, 1 - \lambda_k(A^*(\nu))$")
        right.set_ylabel(r"exponent of the excess, as found")
        right.legend(loc="upper left", title="start")
    return drawn
