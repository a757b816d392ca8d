"""How fast sweeps are, as ratios measured in one run, written to `results/sweeps.json`.

    python -m pytest benchmarks/test_sweeps.py -s        # about ten minutes
    python -m benchmarks.test_sweeps memory N | scaling N      # one part, called by the above

Nothing here asserts a time: a ratio that misses its target is recorded as missed.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.integrate import solve_ivp

import implicit_flow as imf
from implicit_flow import sweeps


RESULTS = Path(__file__).parent / "results" / "sweeps.json"
DIM, RANK, MEASUREMENTS, RESIDUAL = 10, 2, 40, 1e-6
LOG10_ALPHAS = np.linspace(-1.0, -12.0, 16)
SEEDS = range(16)
# What users set today, and what the sweep was measured against beforehand.
STOCK_STEPS, STOCK_RTOL = 20_000, 1e-8
# A cell of SciPy that takes longer is called unfinished.
SCIPY_SECONDS = 60.0


def problem_of(seed):
    return imf.problems.gaussian_sensing(DIM, RANK, MEASUREMENTS, key=jax.random.key(seed))


def flow_cell(log10_alpha, seed):
    """Gradient flow of the factorization, from 10^log10_alpha to rest."""
    solution = imf.simulate(problem_of(seed), log10_alpha=log10_alpha, throw=False)
    return {
        "residual_norm": solution.residual_norm,
        "nuclear_norm": solution.nuclear_norm,
        "num_steps": solution.stats["num_steps"],
        "result": solution.result,
    }


def stock_cell(log10_alpha, seed):
    """The loop that users write: Tsit5 on dU/dt = -A*(r) U until the residual is small."""
    problem = problem_of(seed)
    scale = jnp.linalg.norm(problem.targets)

    def field(t, factor, args):
        return -problem.measurement.adjoint(problem.residual(factor @ factor.T)) @ factor

    def fits(t, factor, args, **others):
        return jnp.linalg.norm(problem.residual(factor @ factor.T)) < RESIDUAL * scale

    start = jnp.sqrt(10.0**log10_alpha)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Tsit5(),
        t0=0.0,
        t1=jnp.inf,
        dt0=None,
        y0=start * jnp.eye(DIM),
        stepsize_controller=diffrax.PIDController(rtol=STOCK_RTOL, atol=STOCK_RTOL * start),
        event=diffrax.Event(fits),
        max_steps=STOCK_STEPS,
        throw=False,
    )
    return solution.ys[-1], solution.result == diffrax.RESULTS.event_occurred


def scipy_cell(log10_alpha, seed, method):
    """The same with SciPy: seconds, and whether it finished."""
    problem = problem_of(seed)
    stack = np.asarray(problem.measurement.as_stack()).reshape(MEASUREMENTS, -1)
    targets = np.asarray(problem.targets)
    deadline = time.perf_counter() + SCIPY_SECONDS

    def misfit(flat):
        factor = flat.reshape(DIM, DIM)
        return stack @ (factor @ factor.T).ravel() - targets

    def field(t, flat):
        if time.perf_counter() > deadline:
            raise TimeoutError
        return -((misfit(flat) @ stack).reshape(DIM, DIM) @ flat.reshape(DIM, DIM)).ravel()

    def fits(t, flat):
        return np.linalg.norm(misfit(flat)) - RESIDUAL * np.linalg.norm(targets)

    fits.terminal = True
    start = np.sqrt(10.0**log10_alpha)
    began = time.perf_counter()
    try:
        found = solve_ivp(
            field,
            (0.0, 1e6),
            start * np.eye(DIM).ravel(),
            method=method,
            rtol=STOCK_RTOL,
            atol=STOCK_RTOL * start,
            events=fits,
        )
        finished = found.status == 1
    except TimeoutError:
        finished = False
    return time.perf_counter() - began, finished


COMPILED = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, seconds, **_: COMPILED.append(seconds) if "/compile/" in name else None
)


class Clock(sweeps.AbstractProgress):
    """The progress line, and the time from the start to the end, compilation left out."""

    def __init__(self):
        self._stream = open(os.devnull, "w")  # noqa: SIM115
        self._line = sweeps.ProgressLine(self._stream)
        self.seconds = 0.0

    def start(self, total, done, failed):
        self._began = time.perf_counter()
        self._cpu = time.process_time()
        COMPILED.clear()
        self._line.start(total, done, failed)

    def update(self, done, failed):
        self._line.update(done, failed)

    def note(self, text):
        self._line.note(text)

    def close(self):
        # While the only program is compiled, all threads wait for it.
        self.seconds = time.perf_counter() - self._began - sum(COMPILED)
        self.cpu_seconds = time.process_time() - self._cpu - sum(COMPILED)
        self._line.close()
        self._stream.close()


def time_sweep(function, axes, **options):
    """Seconds without and with tracing and compilation, and the Dataset; the store included."""
    clock = Clock()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        ds = sweeps.sweep(function, axes, store=f"{folder}/s.zarr", progress=clock, **options)
        ds.load()
        return clock, time.perf_counter() - began, ds


def time_loop(function, cells):
    """Seconds of each call of a function compiled beforehand, each waited for."""
    times = []
    for cell in cells:
        began = time.perf_counter()
        jax.tree.map(np.asarray, jax.block_until_ready(function(*cell)))
        times.append(time.perf_counter() - began)
    return np.asarray(times)


def record(name, **numbers):
    """Keeps numbers, with what they were measured on."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known["command"] = "python -m pytest benchmarks/test_sweeps.py -s"
    known[name] = {
        **numbers,
        "measured_on": {
            "cores": len(os.sched_getaffinity(0)),
            "device": f"{jax.devices()[0].platform}: {jax.devices()[0].device_kind}",
            "load_average_before": round(LOAD[0], 2),
            "python": platform.python_version(),
            "jax": jax.__version__,
            "implicit_flow": imf.__version__,
        },
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(known, indent=2) + "\n")
    print(json.dumps({name: numbers}, indent=2))


LOAD = os.getloadavg()


def setup_module():
    jax.config.update("jax_enable_x64", True)


def test_grid():
    """256 cells against the best loop of one's own library, Diffrax as used today, and SciPy."""
    cells = [(float(alpha), seed) for alpha in LOG10_ALPHAS for seed in SEEDS]
    axes = {"log10_alpha": LOG10_ALPHAS, "seed": SEEDS}

    def cost(log10_alpha, seed):
        return -log10_alpha

    jitted = jax.jit(flow_cell)
    began = time.perf_counter()
    jax.block_until_ready(jitted(-6.0, 0))
    compile_loop = time.perf_counter() - began
    loops, swept, totals = [], [], []
    # In turns, so that a slow minute of the machine strikes both.
    for _ in range(3):
        loops.append(float(time_loop(jitted, cells).sum()))
        clock, total, ds = time_sweep(flow_cell, axes, cost=cost)
        swept.append(clock.seconds)
        totals.append(total)
    sweep_seconds, loop_seconds = statistics.median(swept), statistics.median(loops)

    stock = jax.jit(stock_cell)
    jax.block_until_ready(stock(-6.0, 0))
    stock_times, finished = [], []
    for cell in cells:
        began = time.perf_counter()
        finished.append(bool(jax.block_until_ready(stock(*cell))[1]))
        stock_times.append(time.perf_counter() - began)
    finished = np.asarray(finished)
    stock_times = np.asarray(stock_times)
    per_cell = ds["seconds"].values.reshape(-1)

    scipy = {}
    for method in ("RK45", "LSODA"):
        runs = [scipy_cell(float(alpha), 0, method) for alpha in LOG10_ALPHAS]
        scipy[method] = {
            "seconds_for_256_scaled_from_16": 16 * sum(seconds for seconds, _ in runs),
            "finished_of_16": sum(done for _, done in runs),
        }
    best = min(scipy.values(), key=lambda found: found["seconds_for_256_scaled_from_16"])
    record(
        "grid_of_256_flows",
        cells=len(cells),
        failed=int(sweeps.failed(ds).sum()),
        largest_residual_norm=float(ds["residual_norm"].max()),
        sweep_seconds=swept,
        loop_seconds=loops,
        sweep_seconds_with_compilation=totals,
        compilation_seconds_of_the_loop=compile_loop,
        ratio_to_loop=loop_seconds / sweep_seconds,
        ratio_to_loop_target=1.7,
        diffrax_tsit5={
            "seconds": float(stock_times.sum()),
            "finished_share": float(finished.mean()),
            "ratio_unfinished_baseline": float(stock_times.sum()) / sweep_seconds,
            "ratio_target": 20.0,
            "seconds_on_finished_cells": float(stock_times[finished].sum()),
            # The sweep's share of the same cells: its threads run side by side.
            "ratio_on_finished_cells": float(
                stock_times[finished].sum()
                / (sweep_seconds * per_cell[finished].sum() / per_cell.sum())
            ),
        },
        scipy=scipy,
        ratio_to_best_scipy=best["seconds_for_256_scaled_from_16"] / sweep_seconds,
        ratio_to_scipy_target=30.0,
    )


def busy_cell(x, seed):
    """Work in proportion to `ITERATIONS`, and a few results."""
    end = lax.fori_loop(0, ITERATIONS, lambda _, v: jnp.sin(v) + x, seed.astype(float))
    return {"end": end, "double": 2 * x, "pair": jnp.stack([x, end])}


ITERATIONS = 1_000_000


def test_overhead():
    """Store, progress and bookkeeping against threads that do nothing but compute."""
    global ITERATIONS
    seeds, rounds, chunks = jnp.arange(4), 5, 48

    def chunk():
        return jax.jit(lambda x: lax.map(lambda seed: busy_cell(x, seed), seeds))

    # Chunks of a tenth of a second, on this machine now.
    trial = chunk()
    jax.block_until_ready(trial(0.5))
    began = time.perf_counter()
    jax.block_until_ready(trial(0.5))
    ITERATIONS = int(ITERATIONS * 0.1 / (time.perf_counter() - began))
    bare = chunk()
    jax.block_until_ready(bare(0.5))
    xs = np.linspace(0.0, 1.0, chunks)
    threads = len(os.sched_getaffinity(0))
    wall, cpu, chunk_seconds = [], [], []
    for _ in range(rounds):
        began, began_cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda x: jax.block_until_ready(bare(x)), xs))
        bare_wall = time.perf_counter() - began
        bare_cpu = time.process_time() - began_cpu
        clock, _, ds = time_sweep(busy_cell, {"x": xs, "seed": range(4)}, chunk_size=4)
        wall.append(clock.seconds / bare_wall)
        cpu.append(clock.cpu_seconds / bare_cpu)
        chunk_seconds.append(4 * float(ds["seconds"].mean()))
    record(
        "overhead",
        threads=threads,
        chunk_seconds=statistics.median(chunk_seconds),
        wall_ratio=wall,
        cpu_ratio=cpu,
        median_wall_overhead=statistics.median(wall) - 1,
        median_cpu_overhead=statistics.median(cpu) - 1,
        target=0.05,
    )


def run_part(*arguments, environment=None):
    """One measurement in a process of its own."""
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.test_sweeps", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **(environment or {})},
    )
    return json.loads(out.stdout.splitlines()[-1])


def memory_part(cells):
    """Peak memory of a process that sweeps a cheap function into a store."""
    with tempfile.TemporaryDirectory() as folder:
        sweeps.sweep(
            lambda a, seed, key: {"x": a + jax.random.normal(key), "v": jnp.ones(8) * a},
            {"a": np.linspace(0.0, 1.0, cells // 100), "seed": range(100)},
            store=f"{folder}/s.zarr",
            progress=False,
        )
    return {
        "cells": cells,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def test_memory():
    parts = [run_part("memory", cells) for cells in (1_000, 100_000)]
    record("memory", runs=parts, target_mib_at_100000_cells=1024)


def scaling_part(devices):
    """A fixed grid over forced CPU devices, each of which loops alone."""
    axes = {"log10_alpha": LOG10_ALPHAS[::2], "seed": range(8)}
    clock = time_sweep(flow_cell, axes, chunk_size=16)[0]
    return {"devices": devices, "seconds": clock.seconds}


def test_scaling():
    parts = [run_part("scaling", devices) for devices in (1, 2, 4)]
    first = parts[0]["seconds"]
    record(
        "strong_scaling_on_cpu_devices",
        cells=64,
        runs=[{**part, "speedup": first / part["seconds"]} for part in parts],
    )


if __name__ == "__main__":
    kind, number = sys.argv[1], int(sys.argv[2])
    jax.config.update("jax_enable_x64", True)
    if kind == "scaling":
        jax.config.update("jax_num_cpu_devices", number)
    print(json.dumps({"memory": memory_part, "scaling": scaling_part}[kind](number)))
