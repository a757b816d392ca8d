"""Time to the limit: the library's engine against stock solvers, on the public suite.

    python -m benchmarks.solvers                 # everyday: 20,000 steps at most, no SciPy
    python -m benchmarks.solvers --full          # the committed run: 100,000 steps, SciPy too
    python -m benchmarks.solvers --report        # only the summary, the table and the profile

Every solver starts from the same U0 = sqrt(alpha) I and has the same goal: relative residual 1e-8,
or rest where the targets cannot be met. Stock solvers are set up as one who knows them would: the
field compiled, the absolute tolerance in units of sqrt(alpha), an event at the goal, no machinery
for derivatives. The engine runs at its defaults, and its time includes that of its error estimate.
A case is solved when the goal is met and X is within 1e-5 of the reference; it is silently wrong
when the goal is met and X is not. A run that ends at its cap is not wrong, only unfinished.

Times are processor seconds of this process after compilation, on one thread, the least of several
where a run is short: other work on the machine hardly moves them. Every number is written when it
is known, and a run that was interrupted goes on where it was (`--fresh` starts anew, `--again NAME`
measures one solver again).
"""

import argparse
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import implicit_flow as imf

from . import references, report
from .runs import OURS, SCIPY, STOCK, Programs, run
from .suite import INSTANCES, SCALES, Instance, relative_distance


RESULTS_FILE = Path(__file__).parent / "results" / "solvers.json"
X_ERROR = 1e-5
# Of timing what a tiny alpha costs.
_ROUNDS = 5
# SciPy calls the compiled field step by step: it is given less where that says nothing new.
LARGEST_FOR_SCIPY, SCIPY_SECONDS = 20, 30.0


def reference_of(instance: Instance, known: tuple[dict, dict]) -> tuple[Any, str]:
    """Where the flow ends, and who says so."""
    if instance.reference is not None:
        return instance.reference(instance.problem(), instance.log10_alpha), "closed form"
    ends, facts = known
    if instance.name in ends:
        return jnp.asarray(ends[instance.name]), facts[instance.name]["method"]
    sol = imf.simulate(instance.problem(), log10_alpha=instance.log10_alpha, rtol=1e-9, throw=False)
    return sol.X, "the library at rtol 1e-9"


def judge(X: Any, goal: bool, reference: Any) -> dict:
    finite = bool(np.all(np.isfinite(X)))
    error = relative_distance(jnp.asarray(X), reference) if finite else float("inf")
    return {
        "goal": goal,
        "error": error if finite else None,
        "solved": bool(goal and error <= X_ERROR),
        "silently_wrong": bool(goal and not error <= X_ERROR),
    }


def tasks(options: argparse.Namespace) -> list[tuple[Instance, str]]:
    """What to run, in an order in which the alphas of a problem share a program."""
    chosen = [i for i in INSTANCES if options.only in i.name]
    small = [i for i in chosen if i.dim <= LARGEST_FOR_SCIPY]
    large = [i for i in chosen if i.dim > LARGEST_FOR_SCIPY]

    def of(instances: list[Instance], solvers: Any) -> list[tuple[Instance, str]]:
        names = dict.fromkeys(i.problem_name for i in instances)
        return [
            (i, solver)
            for name in names
            for solver in solvers
            for i in instances
            if i.problem_name == name
        ]

    scipy = of(small, SCIPY) if options.full else []
    return of(small + large, [OURS]) + of(small, STOCK) + of(large, STOCK) + scipy


def measure(options: argparse.Namespace) -> None:
    caps = {"max_steps": 100_000 if options.full else 20_000, "scipy_seconds": SCIPY_SECONDS}
    out = _begin(options, caps)
    programs, known = Programs(), references.load()
    ends: dict[str, Any] = {}
    for instance, solver in tasks(options):
        case = out["cases"].setdefault(instance.name, _case(instance))
        if solver in case["rows"]:
            continue
        if instance.name not in ends:
            ends[instance.name] = reference_of(instance, known)
        reference, origin = ends[instance.name]
        if solver == OURS:
            case["reference"] = origin
        row, X, goal = run(programs, instance, solver, caps)
        row = {**row, **judge(X, goal, reference)}
        case["rows"][solver] = row
        _write(options.out, out)
        word = "solved" if row["solved"] else "WRONG" if row["silently_wrong"] else "unfinished"
        print(
            f"{instance.name:22s} {solver:18s} {row['seconds']:9.4f} s {row['steps']:7d} steps "
            f"{word}, error {row['error'] or np.nan:.1e}",
            flush=True,
        )
    if not options.only and not out["scales"]:
        out["scales"] = scales(programs, caps)
        _write(options.out, out)


def scales(programs: Programs, caps: dict) -> dict[str, dict[str, float]]:
    """Seconds of the engine at a large and at tiny alphas, in turns: the machine has moods."""
    least: dict[str, dict[str, float]] = {}
    for _ in range(_ROUNDS):
        for instance in SCALES:
            times = least.setdefault(instance.problem_name, {})
            label = f"1e{instance.log10_alpha:g}"
            seconds = run(programs, instance, OURS, caps)[0]["seconds"]
            times[label] = min(seconds, times.get(label, np.inf))
    return least


def _case(instance: Instance) -> dict:
    problem = instance.problem()
    return {
        "family": instance.family,
        "dim": problem.dim,
        "num_measurements": problem.num_measurements,
        "log10_alpha": instance.log10_alpha,
        "feasible": instance.feasible,
        "rows": {},
    }


def _begin(options: argparse.Namespace, caps: dict) -> dict:
    """What an earlier run with the same caps has left, or an empty record."""
    if options.out.exists() and not options.fresh:
        out = json.loads(options.out.read_text())
        if out["caps"] == caps:
            for case in out["cases"].values():
                case["rows"].pop(options.again, None)
            if options.again == OURS:
                out["scales"] = {}
            return out
    return {
        "command": "python -m benchmarks.solvers" + (" --full" if options.full else ""),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "note": "shared with other work; one thread is used, and times are processor seconds",
            "device": str(jax.devices()[0]),
            "versions": {p: version(p) for p in ("jax", "diffrax", "scipy", "numpy")},
        },
        "caps": caps,
        "scales": {},
        "cases": {},
    }


def _write(path: Path, out: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".part")
    new.write_text(json.dumps({**out, "summary": report.summary(out)}, indent=1) + "\n")
    new.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="100,000 steps, and SciPy's solvers")
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--again", default="", help="measure this solver again")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run left")
    parser.add_argument("--out", type=Path, default=RESULTS_FILE)
    parser.add_argument("--report", action="store_true", help="only what can be read off --out")
    options = parser.parse_args()
    # One thread for everyone: read when JAX first asks for its devices. Without it XLA hands small
    # operations to a second thread, whose waiting counts as processor time.
    os.environ["NPROC"] = "1"
    jax.config.update("jax_enable_x64", True)
    if not options.report:
        measure(options)
    report.write(options.out)


if __name__ == "__main__":
    main()
