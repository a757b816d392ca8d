"""Does the flow from alpha -> 0 end at the least nuclear norm? Nearly, often, not always."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from .. import _checks
from .._limit import Limit, limit
from .._side_by_side import side_by_side
from ..convex import min_nuclear_norm
from ..problems import Problem
from ._conjecture_instances import KINDS, counterexamples, instance, padded
from ._conjecture_picture import draw
from ._conjecture_studies import recovery, starts, step_sizes
from ._double import require_float64
from ._engine import engine as named_engine
from ._finish import conclude, finish
from ._ladder import checked
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "From full rank, as alpha -> 0, gradient flow on the factorization ends at an X of least "
    "nuclear norm, if it ends at an X that fits."
)
HYPOTHESES = (
    "X0 = alpha I, U of full rank, squared loss. It is a theorem where the measurements commute; "
    "elsewhere it was a conjecture."
)
SOURCE = (
    "Gunasekar, Woodworth, Bhojanapalli, Neyshabur, Srebro, Implicit regularization in matrix "
    "factorization (2017); against it: Li, Luo, Lyu, Towards resolving the implicit bias of "
    "gradient descent for matrix factorization (2021)."
)

# dim, rank, num_measurements: of the random problems, the planted X of them; n = 4 and m = 3 are
# the sizes of a counterexample, which then compiles nothing of its own. num_instances: a kind.
# num_starts: of them from other starts.
# recovery_dim: n of the study of recovery, 0 for none; recovery_engine: its solver.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "kinds": ("Gaussian", "coherent"),
        "known": ("3 x 3",),
        "dim": 3,
        "rank": 1,
        "num_measurements": 2,
        "num_instances": 3,
        "num_starts": 2,
        "log10_alphas": (-10.0, -30.0, -100.0, -300.0),
        "num_steps": (),
        "recovery_dim": 0,
        "recovery_engine": "dopri8",
        "recovery_log10_alpha": -8.0,
    },
    "quick": {
        "kinds": KINDS,
        "known": ("3 x 3", "4 x 4"),
        "dim": 4,
        "rank": 1,
        "num_measurements": 3,
        "num_instances": 8,
        "num_starts": 4,
        "log10_alphas": (-10.0, -30.0, -100.0, -300.0),
        "num_steps": (16_000, 32_000, 64_000),
        "recovery_dim": 12,
        "recovery_engine": "radau",
        "recovery_log10_alpha": -6.0,
    },
    "full": {
        "kinds": KINDS,
        "known": ("3 x 3", "4 x 4"),
        "dim": 10,
        "rank": 2,
        "num_measurements": 20,
        "num_instances": 100,
        "num_starts": 4,
        "log10_alphas": (-10.0, -30.0, -100.0, -300.0),
        "num_steps": (64_000, 128_000, 256_000),
        "recovery_dim": 50,
        "recovery_engine": "radau",
        "recovery_log10_alpha": -12.0,
    },
}
# At these alphas the norm along the ladder of a counterexample is known, and is drawn.
_SHOWN = (-2.0, -4.0, -8.0, -12.0, -30.0, -100.0, -300.0)


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    kinds: Sequence[str] | None = None,
    dim: int | None = None,
    rank: int | None = None,
    num_measurements: int | None = None,
    num_instances: int | None = None,
    log10_alphas: Sequence[float | int] | None = None,
    recovery_dim: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> "xarray.Dataset":
    """Finds the limit of many flows, and how far its nuclear norm is above the least one.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of the problems and the starts.
        kinds: of measurements: Gaussian, completion, coherent, rank-one, commuting.
        dim: n of the random problems.
        rank: of the planted X.
        num_measurements: m.
        num_instances: of each kind.
        log10_alphas: the ladder of `limit`: three or more, decreasing.
        recovery_dim: n of the study of recovery; 0 to leave it out.
        say: called with lines of progress.

    Returns:
        Limits, excess, bounds and verdicts over kind and instance; the known counterexamples; and
        what the end depends on.

    Raises:
        ValueError: sizes that cannot be, or float32.
    """
    import xarray

    require_float64("conjecture")
    given = {"kinds": kinds, "dim": dim, "rank": rank, "num_measurements": num_measurements}
    given |= {"num_instances": num_instances, "log10_alphas": log10_alphas}
    given |= {"recovery_dim": recovery_dim}
    least = {"dim": 2, "rank": 1, "num_measurements": 1, "num_instances": 1, "recovery_dim": 0}
    chosen = sizes(SETTINGS, setting, given, least=least, seed=seed)
    n, m, r, names = (chosen[k] for k in ("dim", "num_measurements", "rank", "kinds"))
    for name in names:
        if name not in KINDS:
            _checks.refuse("kinds", f"be among {', '.join(KINDS)}", f"holds {name!r}")
    if r >= n or m >= n * (n + 1) // 2:
        _checks.refuse(
            "rank and num_measurements",
            f"be below dim = {n} and {n * (n + 1) // 2}, so that the fit is not unique",
            f"are {r} and {m}",
        )
    ladder, rng = checked(chosen["log10_alphas"]), np.random.default_rng(seed)
    problems = {name: [instance(name, n, r, m, rng) for _ in range(chosen["num_instances"])]
                for name in names}  # fmt: skip
    examples = {k: v for k, v in counterexamples().items() if k in chosen["known"]}
    dense = [p for name in names if name != "commuting" for p in problems[name][:2]]
    of_starts, of_recovery = rng.spawn(2)

    def judged(name: str) -> dict[str, Any]:
        rows = [_judged(problem, ladder) for problem in problems[name]]
        found = [row["verdict"] for row in rows]
        say(f"{name}: " + ", ".join(f"{found.count(v)} {v}" for v in sorted(set(found))))
        return {key: [row[key] for row in rows] for key in rows[0]}

    # Those that compile longest first.
    studies: list[Callable[[], Any]] = [lambda: _known(examples, ladder, n, m)]
    if chosen["recovery_dim"]:
        how = (chosen["recovery_dim"], chosen["recovery_log10_alpha"])
        solver = named_engine(chosen["recovery_engine"])
        studies.insert(0, lambda: recovery(*how, solver, of_recovery))
    if chosen["num_steps"]:
        studies.append(lambda: step_sizes(dense[0], -4.0, chosen["num_steps"]))
    studies.append(lambda: starts(dense[: chosen["num_starts"]], list(ladder), of_starts))
    found = side_by_side(lambda study: study(), [*studies, *(partial(judged, k) for k in names)])
    rows = found[len(studies) :]
    table = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    axes = ("kind", "instance", "row", "column")
    ds = xarray.Dataset(
        {key: (axes[: value.ndim], value) for key, value in table.items()}, {"kind": list(names)}
    )
    for variables in found[: len(studies)]:
        ds = ds.assign(variables)
    ds.attrs.update(dim=n, rank=r, num_measurements=m)
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _judged(problem: Problem, ladder: np.ndarray) -> dict[str, Any]:
    """The limit of one flow, with its certificate."""
    found = limit(problem, init=jnp.eye(problem.dim), log10_alphas=ladder, throw=False)
    return _facts(problem, found)


def _facts(problem: Problem, found: Limit) -> dict[str, Any]:
    least = min_nuclear_norm(problem)
    trace = float(found.certificate.primal_value)
    return {
        "nuclear_norm": trace,
        "least_nuclear_norm": least.value,
        "excess": trace / least.value - 1,
        "excess_at_least": float(found.certificate.excess_at_least) / least.value,
        "gap": float(found.certificate.gap),
        "limit_error": float(found.error_estimate),
        "misfit": float(found.certificate.feasibility),
        "verdict": found.verdict,
        "limit_rank": int(found.solutions[-1].rank(1e-6)),
        "X": np.asarray(found.solutions[-1].X),
    }


def _known(
    examples: dict[str, Problem], ladder: np.ndarray, dim: int, num_measurements: int
) -> dict[str, Any]:
    """The counterexamples: their limits, and the norm along a finer ladder.

    Those that are no larger than the random problems are made as large: one program less.
    """
    rows, norms = [], []
    for example in examples.values():
        problem, n = example, example.dim
        if n <= dim and len(example.targets) <= num_measurements:
            problem = padded(example, dim, num_measurements)
        init = jnp.eye(problem.dim)
        rows.append(_judged(problem, ladder))
        rows[-1]["X"] = rows[-1]["X"][:n, :n]
        fine = limit(problem, init=init, log10_alphas=_SHOWN, throw=False)
        norms.append([float(sol.nuclear_norm) for sol in fine.solutions])
    size = max(problem.dim for problem in examples.values())
    for row in rows:
        # Of several sizes: filled up with NaN.
        row["X"] = np.pad(row["X"], (0, size - len(row["X"])), constant_values=np.nan)
    variables: dict[str, Any] = {
        f"known_{key}": (("known", "known_row", "known_column")[: np.ndim(value)], np.array(value))
        for key in rows[0]
        for value in [[row[key] for row in rows]]
    }
    variables["known_norm"] = (("known", "log10_alpha"), np.array(norms))
    return variables | {"known": list(examples), "log10_alpha": np.array(_SHOWN)}


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    verdicts = ds.verdict.values
    words = []
    for name, row in zip(ds.kind.values, verdicts, strict=True):
        proved = int(np.sum(row == "not minimal"))
        least = int(np.sum(row == "minimal"))
        # Rounding may put a least norm below itself.
        worst = 100 * max(float(ds.excess.sel(kind=name).max()), 0.0)
        words.append(f"{name} {least} minimal, {proved} not, of {row.size} (to {worst:.2g}%)")
    known = ds.known_verdict.values
    against = bool(np.any(verdicts == "not minimal") or np.any(known == "not minimal"))
    outcome = "fails" if against else "holds" if np.all(verdicts == "minimal") else "undecided"
    shown = [
        f"{name} excess {100 * float(ds.known_excess.sel(known=name)):.3g}%, proved at least "
        f"{100 * float(ds.known_excess_at_least.sel(known=name)):.3g}%"
        for name in ds.known.values
    ]
    text = f"Counterexamples: {'; '.join(shown)}. Limits: {'; '.join(words)}."
    numbers = ds[["excess", "known_excess", "known_excess_at_least"]]
    return conclude(outcome, text, numbers)


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """What is worth reading as a table.

    Args:
        ds: what `run` returned.

    Returns:
        One row for each kind and instance.
    """
    names = ["excess", "excess_at_least", "limit_error", "misfit", "limit_rank", "verdict"]
    return ds[names]


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws the excess by kind, the counterexamples, and what the end depends on.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of up to five panels.
    """
    return draw(ds)
