"""Size: what a large problem costs, and how cost grows with n and m.

    python -m benchmarks.size                    # everything; writes results/size.json
    python -m benchmarks.size --only growth      # one part, merged into the file

Two large problems are solved, each in a process of its own so that its peak memory is its own:
completion of a 1000 x 1000 matrix of rank 5 from a tenth of its entries, with 20 columns in U, and
dense sensing with n = 100, m = 1500. The first is followed to a residual of 1e-6, which it
approaches like 1 / t, and also to rest within an error of 1e-3 of X. Then the parts whose cost
grows with n and m are timed over ranges of sizes, the exponents are fitted, and stand beside those
of the operation count. Times are processor seconds (user and system, of all threads) and wall-clock
seconds; on a machine that does nothing else the latter are at most the former.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import implicit_flow as imf
from implicit_flow._congruence_term import congruence_term
from implicit_flow.solvers._chebyshev import velocity
from implicit_flow.solvers._newton_matrix import NewtonMatrix
from implicit_flow.solvers._stages import stage_factors


RESULTS_FILE = Path(__file__).parent / "results" / "size.json"
COLUMNS = 20


def completion(n: int) -> imf.Problem:
    """A tenth of the entries on and above the diagonal of a matrix of rank 5."""
    return imf.problems.matrix_completion(n, 5, n * (n + 1) // 20, key=jax.random.key(0))


def sensing(n: int, m: int) -> imf.Problem:
    """Dense Gaussian measurements of a matrix of rank 5."""
    return imf.problems.gaussian_sensing(n, 5, m, key=jax.random.key(0))


LARGE: dict[str, Callable[[], tuple[imf.Problem, dict[str, Any]]]] = {
    "completion": lambda: (
        completion(1000),
        {"flow": imf.flows.FactorFlow(rank=COLUMNS), "alpha": 1e-6, "rtol": 1e-4, "t1": 4e7},
    ),
    "completion_at_rest": lambda: (
        completion(1000),
        {"flow": imf.flows.FactorFlow(rank=COLUMNS), "alpha": 1e-6, "rtol": 1e-3},
    ),
    "sensing": lambda: (sensing(100, 1500), {"alpha": 1e-4}),
}


def solve(name: str) -> dict[str, Any]:
    """Solve a large problem in this process, compilation included."""
    problem, options = LARGE[name]()
    flow = options.pop("flow", None)
    wall, processor = time.perf_counter(), time.process_time()
    sol = imf.simulate(problem, flow, throw=False, **options)
    jax.block_until_ready(sol.X)
    assert problem.ground_truth is not None
    return {
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - processor,
        "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "dim": problem.dim,
        "num_measurements": problem.num_measurements,
        "solver": sol.solver,
        "result": imf.RESULTS[sol.result],
        "residual": float(sol.residual_norm),
        "error_estimate": float(sol.error_estimate),
        "time": float(sol.time),
        "distance_from_truth": float(
            jnp.linalg.norm(sol.X - problem.ground_truth) / jnp.linalg.norm(sol.X)
        ),
        "stats": {k: int(v) for k, v in sol.stats.items()},
        **{k: v for k, v in options.items() if isinstance(v, float)},
    }


def alone(name: str) -> dict[str, Any]:
    """`solve` in a process of its own."""
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.size", "--child", name],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(out.stdout.splitlines()[-1])


def seconds(function: Callable, *args: Any) -> float:
    """Least processor time of one compiled call."""
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*args))
    best = np.inf
    spent, calls = 0.0, 1
    while spent < 0.5:
        begin = time.process_time()
        for _ in range(calls):
            jax.block_until_ready(compiled(*args))
        took = time.process_time() - begin
        spent, best = spent + took, min(best, took / calls)
        calls = max(calls, int(0.05 / max(best, 1e-6)))
    return best


def exponent(sizes: list[int], times: list[float]) -> float:
    """Slope of log time against log size, from the larger half of the sizes."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half - 1 :]), np.log(times[half - 1 :]), 1)[0])


def row(what: str, variable: str, sizes: list[int], times: list[float], count: str, power: float):
    fitted = exponent(sizes, times)
    print(f"{what}: {variable}^{fitted:.2f}, counted {variable}^{power:g} ({count})", flush=True)
    return {
        "what": what,
        "variable": variable,
        "sizes": sizes,
        "processor_seconds": times,
        "fitted_exponent": fitted,
        "operations": count,
        "counted_exponent": power,
    }


def growth() -> list[dict[str, Any]]:
    """Times of the parts over ranges of sizes."""
    key = jax.random.key(1)
    rows = []

    def times(make: Callable[[int], tuple]) -> Callable[[list[int]], list[float]]:
        return lambda sizes: [seconds(*make(size)) for size in sizes]

    def velocity_of(problem: imf.Problem, columns: int) -> tuple:
        U = jax.random.normal(key, (problem.dim, columns))
        return lambda p, u: velocity(congruence_term(p), u), problem, U

    sizes = [250, 500, 1000, 2000]
    rows.append(
        row(
            "evaluation, a tenth of the entries, 20 columns",
            "n",
            sizes,
            times(lambda n: velocity_of(completion(n), COLUMNS))(sizes),
            "4 n^2 d + 2 m, m = n^2 / 20",
            2.0,
        )
    )

    def sparse(n: int) -> imf.Problem:
        rng = np.random.default_rng(0)
        flat = np.unique(rng.integers(0, n * n, 20 * n))
        A = imf.measurements.EntryMeasurement(flat // n, flat % n, n)
        return imf.Problem(A, jnp.ones(flat.size))

    sizes = [4000, 8000, 16000, 32000]
    rows.append(
        row(
            "evaluation, 20 entries a row, 20 columns",
            "n",
            sizes,
            times(lambda n: velocity_of(sparse(n), COLUMNS))(sizes),
            "6 m d, m = 20 n",
            1.0,
        )
    )
    sizes = [20, 40, 80, 120]
    rows.append(
        row(
            "evaluation, dense, m = 300, square U",
            "n",
            sizes,
            times(lambda n: velocity_of(sensing(n, 300), n))(sizes),
            "4 m n^2 + 4 n^3",
            2.0,
        )
    )
    sizes = [100, 200, 400, 800]
    rows.append(
        row(
            "evaluation, dense, n = 60, square U",
            "m",
            sizes,
            times(lambda m: velocity_of(sensing(60, m), 60))(sizes),
            "4 m n^2 + 4 n^3",
            1.0,
        )
    )

    def stages(n: int) -> tuple:
        problem = sensing(n, 20)
        U, r = jax.random.normal(key, (n, n)), jax.random.normal(key, (3, 20))
        return (
            lambda p, u, r: stage_factors(congruence_term(p), r, jnp.asarray(0.1), u)[0],
            problem,
            U,
            r,
        )

    sizes = [40, 80, 160, 320]
    rows.append(
        row(
            "ResidualRadau, stages of a Newton iteration, m = 20",
            "n",
            sizes,
            times(stages)(sizes),
            "six exponentials, some 10 n^3 each",
            3.0,
        )
    )

    def newton(m: int) -> tuple:
        problem = sensing(30, m)
        U = jax.random.normal(key, (30, 30))
        return lambda p, u: NewtonMatrix.build(congruence_term(p), u), problem, U

    sizes = [100, 200, 400, 800]
    rows.append(
        row(
            "ResidualRadau, Newton matrix, n = 30",
            "m",
            sizes,
            times(newton)(sizes),
            "10 m^3 + 2 m^2 n d",
            3.0,
        )
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=[*LARGE, "growth"], help="one part")
    parser.add_argument("--child", choices=list(LARGE), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS_FILE)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    if options.child:
        print(json.dumps(solve(options.child)))
        return
    out = json.loads(options.out.read_text()) if options.out.exists() else {}
    out["command"] = "python -m benchmarks.size"
    out["machine"] = {
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "device": str(jax.devices()[0]),
        "versions": {p: version(p) for p in ("jax", "numpy")},
    }
    for part in [options.only] if options.only else [*LARGE, "growth"]:
        out[part] = growth() if part == "growth" else alone(part)
        if part != "growth":
            print(part, json.dumps(out[part]), flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
