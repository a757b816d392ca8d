"""Another loss, other weights, sampled measurements: the same end if and only if A_i commute."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import diffrax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.linalg import expm

from .. import _checks, closed_forms
from .._compiled import compiled
from .._side_by_side import side_by_side
from .._simulate import simulate
from .._solution import Solution
from ..convex import min_nuclear_norm
from ..measurements import DenseMeasurement
from ..problems import Problem
from ._double import require_float64
from ._engine import engine as named_engine
from ._finish import conclude, finish
from ._ladder import checked, escape_time
from ._sizes import sizes
from ._steerings import STEERINGS, Steered


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "Where measurements commute, the end of the flow depends on X0, A and y alone: other losses, "
    "weights, and sampling one measurement after the other lead to the same X, at every alpha. "
    "Where they do not commute, each of these leads elsewhere, and the difference does not vanish "
    "as alpha -> 0."
)
HYPOTHESES = (
    "Some X >= 0 fits; every steering brings X to the targets; X0 = alpha I. The matrices are a "
    "commuting pair, one of which is rotated by an angle: 0 leaves it as it is. Measurements are "
    "sampled one at a time for twice the time of escape from zero, then all are used."
)
SOURCE = (
    "Gunasekar, Woodworth, Bhojanapalli, Neyshabur, Srebro, Implicit regularization in matrix "
    "factorization (2017), section 4."
)

# dim: n. angles: of the rotation, in radians, the first of them 0. num_instances: of problems.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "dim": 3,
        "angles": (0.0, 0.3),
        "num_instances": 1,
        "log10_alphas": (-2.0, -4.0),
        "engine": "tsit5",
    },
    "quick": {
        "dim": 4,
        "angles": (0.0, 0.01, 0.1, 1.0),
        "num_instances": 3,
        "log10_alphas": (-2.0, -5.0, -8.0),
        "engine": "kvaerno5",
    },
    "full": {
        "dim": 10,
        "angles": (0.0, 0.01, 0.03, 0.1, 0.3, 1.0),
        "num_instances": 20,
        "log10_alphas": (-2.0, -4.0, -6.0, -8.0, -10.0, -12.0),
        "engine": "kvaerno5",
    },
}
_RTOL = 1e-7
# Of the targets, and of the error estimate, which includes what X still moves.
_ENDED = 1e-6
# How often a measurement is drawn, half of the draws each.
_DRAWS = 8


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    dim: int | None = None,
    angles: Sequence[float | int] | None = None,
    num_instances: int | None = None,
    log10_alphas: Sequence[float | int] | None = None,
    engine: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> "xarray.Dataset":
    """Drives X0 to the targets in five ways, for pairs of matrices that commute less and less.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of the matrices and of what is sampled.
        dim: n.
        angles: of the rotation, in radians; the first is 0.
        num_instances: of problems for each angle.
        log10_alphas: decreasing, negative, not below -12.
        engine: "kvaerno5", "dopri8" or "tsit5".
        say: called with lines of progress.

    Returns:
        Ends and distances over angle, instance, alpha and steering.

    Raises:
        ValueError: sizes that cannot be, or float32.
    """
    import xarray

    require_float64("steering-independence")
    given = {"dim": dim, "angles": angles, "num_instances": num_instances}
    given |= {"log10_alphas": log10_alphas, "engine": engine}
    chosen = sizes(
        SETTINGS, setting, given, least={"dim": 2, "num_instances": 1, "angles": 0}, seed=seed
    )
    solver = named_engine(chosen["engine"])
    turns, ladder = chosen["angles"], checked(chosen["log10_alphas"])
    if turns[0] != 0 or len(turns) < 2:
        _checks.refuse("angles", "begin with 0 and go on", f"is {turns}")
    if ladder[-1] < -12:
        _checks.refuse(
            "log10_alphas",
            "stay above -12, below which rounding decides",
            f"is {ladder.tolist()}",
        )
    rng = np.random.default_rng(seed)
    families = [_family(chosen["dim"], turns, rng) for _ in range(chosen["num_instances"])]
    # Without replacement: in every order, each of the two half of the time.
    drawn = [rng.permutation(np.arange(_DRAWS) % 2) for _ in families]
    shape = (len(turns), len(families), len(ladder), len(STEERINGS))
    X = np.empty((*shape, chosen["dim"], chosen["dim"]))
    errors, missed, least = np.empty(shape), np.empty(shape), np.empty(shape[:2])
    exact, commutators = np.empty((*shape[1:3], *X.shape[-2:])), np.empty(shape[:2])

    def fill(place: tuple[int, ...]) -> None:
        i, k, a = place
        problem, commutators[i, k] = families[k][i]
        for s, flow in enumerate(_steerings(problem, drawn[k], ladder[a])):
            sol = _flow(problem, flow, jnp.asarray(ladder[a]), solver)
            # A flow that has not met its targets has no end to compare.
            X[i, k, a, s] = sol.X if _at_its_end(sol) else np.nan
            errors[i, k, a, s] = sol.error_estimate
            missed[i, k, a, s] = sol.residual_norm
        if turns[i] == 0:
            exact[k, a] = closed_forms.commuting(problem, log10_alpha=ladder[a])

    # The smallest starts take longest.
    for a in reversed(range(len(ladder))):
        places = [(*place, a) for place in np.ndindex(shape[:2])]
        if a == len(ladder) - 1:
            # One program for all, compiled by the first.
            fill(places.pop(0))
        side_by_side(fill, places)
        say(f"alpha = 1e{ladder[a]:g}: largest misfit {missed[:, :, a].max():.1g}")
    for i in range(len(turns)):
        least[i] = [min_nuclear_norm(family[i][0]).value for family in families]
    lanes, places = ("angle", "instance", "log10_alpha", "steering"), range(len(turns))
    ds = xarray.Dataset(
        {
            "X": ((*lanes, "row", "column"), X),
            "error_estimate": (lanes, errors),
            "residual_norm": (lanes, missed),
            "nuclear_norm": (lanes, np.trace(X, axis1=-2, axis2=-1)),
            "least_nuclear_norm": (lanes[:2], least),
            "commutator": (lanes[:2], commutators),
            "closed_form": ((*lanes[1:3], "row", "column"), exact),
            "A": (
                (*lanes[:2], "m", "row", "column"),
                np.array(
                    [
                        [f[i][0].measurement.as_stack() for f in families]
                        for i, _ in enumerate(turns)
                    ]
                ),
            ),
            "targets": (
                (*lanes[:2], "m"),
                np.array([[f[i][0].targets for f in families] for i in places]),
            ),
        },
        {"angle": list(turns), "log10_alpha": ladder, "steering": list(STEERINGS)},
    )
    apart = np.linalg.norm(X[:, :, :, :, None] - X[:, :, :, None], axis=(-2, -1)).max((-2, -1))
    ds["spread"] = (lanes[:3], apart / np.linalg.norm(X[:, :, :, 0], axis=(-2, -1)))
    # To the flow of the squared loss.
    away = np.linalg.norm(X - X[:, :, :, :1], axis=(-2, -1))
    ds["distance_to_squared"] = (lanes, away / np.linalg.norm(X, axis=(-2, -1)))
    off = np.linalg.norm(X[0] - exact[:, :, None], axis=(-2, -1)) / np.linalg.norm(
        exact[:, :, None], axis=(-2, -1)
    )
    ds["distance_to_closed_form"] = (lanes[1:], off)
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


@compiled
def _flow(problem: Problem, flow: Steered, log10_alpha: Array, solver: Any) -> Solution:
    return simulate(
        problem,
        flow,
        log10_alpha=log10_alpha,
        solver=solver,
        rtol=_RTOL,
        max_steps=40_000,
        adjoint=diffrax.ForwardMode(),
        throw=False,
    )


def _at_its_end(sol: Solution) -> bool:
    return bool((sol.residual_norm < _ENDED) & (sol.error_estimate < _ENDED))


def _family(
    dim: int, angles: Sequence[float], rng: np.random.Generator
) -> list[tuple[Problem, float]]:
    """One pair of matrices, one of them turned by each angle, and the norm of the commutator."""
    basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    spectra = rng.uniform(-0.5, 1, (2, dim))
    # Each matrix has an eigenvector of its own that the other one has less of.
    spectra[0, 0], spectra[1, 1] = 1.5, 1.2
    G = rng.normal(size=(dim, dim))
    skew = (G - G.T) / np.linalg.norm(G - G.T)
    factor = rng.normal(size=(dim, dim)) / np.sqrt(dim)
    found = []
    for angle in angles:
        turned = expm(angle * skew) @ basis
        A = np.stack(
            [(V * values) @ V.T for V, values in zip((basis, turned), spectra, strict=True)]
        )
        A = (A + np.swapaxes(A, 1, 2)) / 2
        # The targets of a positive definite matrix, both positive.
        planted = factor @ factor.T + 0.2 * np.eye(dim)
        y = np.abs(np.einsum("kij,ij->k", A, planted)) + 0.5
        commutator = np.linalg.norm(A[0] @ A[1] - A[1] @ A[0])
        size = np.linalg.norm(A[0]) * np.linalg.norm(A[1])
        found.append((Problem(DenseMeasurement(A), y), float(commutator / size)))
    return found


def _steerings(problem: Problem, drawn: np.ndarray, log10_alpha: float) -> list[Steered]:
    y, A = np.asarray(problem.targets), np.asarray(problem.measurement.as_stack())
    scale = jnp.asarray(np.max(np.abs(y)))
    rate = float(np.linalg.eigvalsh(np.einsum("k,kij->ij", y, A))[-1])
    # Sampling sees X through its growth from zero.
    period = jnp.asarray(2 * escape_time(log10_alpha, rate) / _DRAWS)
    weights = jnp.asarray([1.0, 5.0])
    return [
        Steered(jnp.asarray(kind), weights, scale, jnp.asarray(drawn), period)
        for kind in range(len(STEERINGS))
    ]


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    known = ds.error_estimate.max("steering")
    lost = int(np.sum(np.isnan(ds.nuclear_norm)))
    same = ds.spread.isel(angle=0, drop=True)
    off = float((ds.distance_to_closed_form - ds.error_estimate.isel(angle=0)).max())
    last, general = ds.log10_alpha.values[-1], ds.spread.isel(angle=slice(1, None))
    most = general.isel(angle=-1)
    # Evidence that every other end differs: fifty times what both may be off.
    least = ds.distance_to_squared.isel(angle=slice(1, None), steering=slice(1, None)).min(
        "steering"
    )
    differ = least > 100 * known.isel(angle=slice(1, None)) + 1e-6
    agree = same <= 2 * known.isel(angle=0, drop=True) + 1e-9
    if lost:
        outcome = "undecided"
    elif bool(agree.all()) and off < 1e-9:
        outcome = "holds" if bool(differ.all()) else "undecided"
    else:
        outcome = "fails"
    text = (
        f"{lost} of {ds.nuclear_norm.size} runs, not at their targets, left out. " if lost else ""
    )
    text += (
        f"Commuting: {len(STEERINGS)} steerings end within {float(same.max()):.1g} of each other "
        f"and {float(ds.distance_to_closed_form.max()):.1g} of the closed form (error estimate "
        f"{float(known.max()):.1g}). One matrix turned by {float(ds.angle[-1]):g}: "
        f"{float(most.min()):.2g} to {float(most.max()):.2g} apart, at alpha = 1e{last:g} still "
        f"{float(most.sel(log10_alpha=last).min()):.2g} and more; by {float(ds.angle[1]):g}: "
        f"{float(general.isel(angle=0).min()):.1g} and more."
    )
    names = ["nuclear_norm", "error_estimate", "spread", "distance_to_squared"]
    return conclude(outcome, text, ds[[*names, "distance_to_closed_form"]])


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """What is worth reading as a table.

    Args:
        ds: what `run` returned.

    Returns:
        How far apart the ends are, over angle, instance and alpha.
    """
    excess = ds.nuclear_norm / ds.least_nuclear_norm - 1
    return ds[["spread"]].assign(
        error_estimate=ds.error_estimate.max("steering"),
        commutator=ds.commutator,
        least_excess=excess.min("steering"),
        largest_excess=excess.max("steering"),
    )


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws how far apart the ends are against the commutator, and their nuclear norms.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of two panels.
    """
    from ..plotting._style import COLORS, figure, power

    with figure(1, 2, width=14.0, height=5.4) as (drawn, (left, right)):
        # On a logarithmic axis 0 has a place of its own, a decade or more to the left.
        least = float(ds.commutator.isel(angle=1).min())
        most = float(ds.commutator.max())
        zero = 10 ** (np.floor(np.log10(least)) - 1)
        for color, alpha in zip(COLORS, ds.log10_alpha.values, strict=False):
            one = ds.sel(log10_alpha=alpha)
            x = ds.commutator.values.clip(zero).ravel()
            label = rf"$\alpha$ = {power(alpha)}"
            left.plot(x, one.spread.values.ravel(), "o", color=color, alpha=0.7, label=label)
        left.axvline(3 * zero, color="#8A8A8A", linestyle=":", linewidth=1.6)
        left.set(xscale="log", yscale="log", xlim=(zero / 1.6, 2 * most))
        decades = np.arange(np.log10(zero) + 1, np.log10(most) + 0.3)
        left.set_xticks([zero, *10**decades], ["0", *(power(k) for k in decades)])
        left.set_xticks([], minor=True)
        left.set_xlabel(r"$\|[A_1, A_2]\|\,/\,\|A_1\|\|A_2\|$")
        left.set_ylabel("distance between ends (relative)")
        left.legend(loc="lower right")
        last = ds.isel(log10_alpha=-1, instance=0)
        for color, marker, name in zip(COLORS, "osv^D", ds.steering.values.tolist(), strict=False):
            excess = last.nuclear_norm.sel(steering=name) / last.least_nuclear_norm - 1
            right.plot(
                range(ds.sizes["angle"]), 100 * excess, marker + "-", color=color, label=name
            )
        right.set_xticks(range(ds.sizes["angle"]), [f"{angle:g}" for angle in ds.angle.values])
        right.set_xlabel("angle by which one matrix is turned (rad)")
        right.set_ylabel("excess nuclear norm (%)")
        right.set_title(rf"$\alpha$ = {power(float(last.log10_alpha))}, one instance")
        right.legend(loc="best")
    return drawn
