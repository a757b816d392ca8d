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
from ._conjecture_instances import KINDS, counterexamples, instance
from ._conjecture_studies import recovery, starts, step_sizes
from ._double import require_float64
from ._engine import engine as named_engine
from ._finish import finish
from ._ladder import checked
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
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
    studies: list[Callable[[], Any]] = [lambda: _known(examples, ladder)]
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


def _known(examples: dict[str, Problem], ladder: np.ndarray) -> dict[str, Any]:
    """The counterexamples: their limits, and the norm along a finer ladder."""
    rows, norms = [], []
    for problem in examples.values():
        init = jnp.eye(problem.dim)
        rows.append(_judged(problem, ladder))
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
    return {"outcome": outcome, "outcome_text": text}


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
