"""How fast sweeps are, as ratios measured in one run, written to `results/sweeps.json`.

    python -m pytest benchmarks/test_sweeps.py -m "not long"     # every day: all of it, but tiny
    python -m pytest benchmarks/test_sweeps.py -m long -s        # the measurement
    python -m benchmarks.test_sweeps overhead                    # one part of it, printed only

Every part runs in a process of its own, without the type checks of the test suite. Nothing here
asserts a time: a ratio that misses its target is recorded as missed.
"""

import functools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy.integrate import solve_ivp

import implicit_flow as imf
from implicit_flow import sweeps
from implicit_flow.sweeps import _plan, _program


RESULTS = Path(__file__).parent / "results" / "sweeps.json"
COMMAND = "python -m pytest benchmarks/test_sweeps.py -m long -s"


@dataclass(frozen=True)
class Scale:
    """How much of everything; the small one shows that the benchmark itself works."""

    dim: int = 10
    rank: int = 2
    measurements: int = 40
    log10_alphas: tuple[float, ...] = tuple(np.linspace(-1.0, -12.0, 16).tolist())
    seeds: int = 16
    rounds: int = 3
    # Each SciPy cell is stopped after this, and called unfinished.
    scipy_seconds: float = 10.0
    overhead_chunks: tuple[int, int] = (48, 144)
    memory_cells: tuple[int, ...] = (1_000, 100_000)
    devices: tuple[int, ...] = (1, 2, 4)


FULL = Scale()
EVERYDAY = Scale(
    dim=4,
    rank=1,
    measurements=8,
    log10_alphas=(-1.0, -3.0),
    seeds=2,
    rounds=1,
    scipy_seconds=2.0,
    overhead_chunks=(2, 4),
    memory_cells=(1_000,),
    devices=(2,),
)
SCALE = FULL
# A file system in memory shows what is the sweep's own, and not the disk's.
MEMORY = Path("/dev/shm")
# The relative residual at which the baselines may stop. The sweep's own cells go on to rest, at the
# `rtol` that leaves no larger one: `largest_residual_norm` in the results says whether it did.
RESIDUAL, RTOL = 1e-6, 1e-4
# What users set today, and what the sweep was measured against beforehand.
STOCK_STEPS, STOCK_RTOL = 20_000, 1e-8


def problem_of(seed):
    return imf.problems.gaussian_sensing(
        SCALE.dim, SCALE.rank, SCALE.measurements, key=jax.random.key(seed)
    )


def flow_cell(log10_alpha, seed):
    """Gradient flow of the factorization, from 10^log10_alpha to rest."""
    solution = imf.simulate(problem_of(seed), log10_alpha=log10_alpha, rtol=RTOL, throw=False)
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
        y0=start * jnp.eye(SCALE.dim),
        stepsize_controller=diffrax.PIDController(rtol=STOCK_RTOL, atol=STOCK_RTOL * start),
        event=diffrax.Event(fits),
        max_steps=STOCK_STEPS,
        throw=False,
    )
    return solution.ys[-1], solution.result == diffrax.RESULTS.event_occurred


def scipy_cell(log10_alpha, seed, method):
    """The same with SciPy: seconds, and whether it finished."""
    problem = problem_of(seed)
    dim = SCALE.dim
    stack = np.asarray(problem.measurement.as_stack()).reshape(SCALE.measurements, -1)
    targets = np.asarray(problem.targets)

    def misfit(flat):
        factor = flat.reshape(dim, dim)
        return stack @ (factor @ factor.T).ravel() - targets

    def field(t, flat):
        if time.perf_counter() > deadline:
            raise TimeoutError
        return -((misfit(flat) @ stack).reshape(dim, dim) @ flat.reshape(dim, dim)).ravel()

    def fits(t, flat):
        return np.linalg.norm(misfit(flat)) - RESIDUAL * np.linalg.norm(targets)

    fits.terminal = True
    start = np.sqrt(10.0**log10_alpha)
    began = time.perf_counter()
    deadline = began + SCALE.scipy_seconds
    try:
        found = solve_ivp(
            field,
            (0.0, 1e6),
            start * np.eye(dim).ravel(),
            method=method,
            rtol=STOCK_RTOL,
            atol=STOCK_RTOL * start,
            events=fits,
        )
        finished = found.status == 1
    except TimeoutError:
        finished = False
    return time.perf_counter() - began, finished


class Compilation:
    """The time in which programs were traced, lowered and compiled, by any thread."""

    def __init__(self):
        self._spans: list[tuple[float, float]] = []
        self._lock = threading.Lock()

    @contextmanager
    def watched(self):
        """Times the three calls by which `sweep` compiles."""
        kept = (_plan.trace_cell, _program.ChunkProgram.lower, _program.ChunkProgram.compile)

        def timed(function):
            def call(*arguments):
                began = time.perf_counter()
                try:
                    return function(*arguments)
                finally:
                    with self._lock:
                        self._spans.append((began, time.perf_counter()))

            return call

        traced, lowered, compiled = map(timed, kept)
        _plan.trace_cell = traced
        _program.ChunkProgram.lower, _program.ChunkProgram.compile = lowered, compiled
        try:
            yield
        finally:
            _plan.trace_cell = kept[0]
            _program.ChunkProgram.lower, _program.ChunkProgram.compile = kept[1:]

    @property
    def seconds(self):
        """The length of the union: threads that wait for one compilation wait once."""
        total, end = 0.0, -np.inf
        for began, ended in sorted(self._spans):
            total += max(0.0, ended - max(began, end))
            end = max(end, ended)
        return total


@dataclass(frozen=True)
class Timing:
    """Seconds of a whole call of `sweep`, from the arguments to the loaded Dataset."""

    seconds: float
    compilation: float
    cpu_seconds: float
    dataset: Any

    @property
    def running(self):
        """Without tracing, lowering and compiling; the timing of cells and the store included."""
        return self.seconds - self.compilation


@functools.cache
def on_disk():
    """A folder that is kept until the process ends.

    ext4 passes over the inodes of files that were deleted within the last minutes, so that after
    the removal of one store the files of the next cost twenty times as much to create, and no user
    is in that position.
    """
    return tempfile.TemporaryDirectory()


def time_sweep(function, axes, stores=None, **options):
    """Runs a sweep into a store on disk, with its progress line."""
    compilation = Compilation()
    folder = tempfile.mkdtemp(dir=stores or on_disk().name)
    with open(os.devnull, "w") as nowhere:
        began, began_cpu = time.perf_counter(), time.process_time()
        with compilation.watched():
            ds = sweeps.sweep(
                function,
                axes,
                store=f"{folder}/s.zarr",
                progress=sweeps.ProgressLine(nowhere),
                **options,
            ).load()
        seconds = time.perf_counter() - began
        cpu_seconds = time.process_time() - began_cpu
    return Timing(seconds, compilation.seconds, cpu_seconds, ds)


def time_loop(function, cells):
    """Seconds of each call of a function compiled beforehand, its results brought to the host."""
    times = []
    for cell in cells:
        began = time.perf_counter()
        found = jax.tree.map(np.asarray, jax.block_until_ready(function(*cell)))
        times.append(time.perf_counter() - began)
    return np.asarray(times), found


def on_accelerator():
    return jax.devices()[0].platform != "cpu"


def later_alphas_cost_more(log10_alpha, seed):
    """What a user would say: the time to rest grows with log(1 / alpha)."""
    return -log10_alpha


def grid_axes():
    return {"log10_alpha": SCALE.log10_alphas, "seed": range(SCALE.seeds)}


def grid_part():
    """256 cells against the best loop of one's own library, Diffrax as used today, and SciPy."""
    cells = [(alpha, seed) for alpha in SCALE.log10_alphas for seed in range(SCALE.seeds)]
    jitted = jax.jit(flow_cell)
    began = time.perf_counter()
    jax.block_until_ready(jitted(-6.0, 0))
    loop_compilation = time.perf_counter() - began
    loops, swept = [], []
    # In turns, so that a slow minute of the machine strikes both.
    for _ in range(SCALE.rounds):
        loops.append(float(time_loop(jitted, cells)[0].sum()))
        swept.append(time_sweep(flow_cell, grid_axes(), cost=later_alphas_cost_more))
    ds = swept[-1].dataset
    loop = statistics.median(loops)
    sweep = statistics.median(timing.running for timing in swept)
    whole = statistics.median(timing.seconds for timing in swept)
    return {
        "cells": len(cells),
        "failed": int(sweeps.failed(ds).sum()),
        "largest_residual_norm": float(ds["residual_norm"].max()),
        "largest_residual_norm_target": RESIDUAL,
        "sweep_seconds": [timing.running for timing in swept],
        "sweep_seconds_with_compilation": [timing.seconds for timing in swept],
        "loop_seconds": loops,
        "loop_compilation_seconds": loop_compilation,
        "ratio_to_loop": loop / sweep,
        "ratio_to_loop_with_compilation": (loop + loop_compilation) / whole,
        "ratio_to_loop_target": 50.0 if on_accelerator() else 1.7,
        "diffrax_tsit5": stock_comparison(cells, sweep, ds["seconds"].values.reshape(-1)),
        "scipy": scipy_comparison(sweep),
    }


def stock_comparison(cells, sweep_seconds, cell_seconds):
    stock = jax.jit(stock_cell)
    jax.block_until_ready(stock(-1.0, 0))
    times, finished = [], []
    for cell in cells:
        seconds, (_, done) = time_loop(stock, [cell])
        times.append(seconds[0])
        finished.append(bool(done))
    times, finished = np.asarray(times), np.asarray(finished)
    # The sweep's share of the same cells: its threads run side by side.
    same = sweep_seconds * cell_seconds[finished].sum() / cell_seconds.sum()
    return {
        "baseline": f"unfinished where {STOCK_STEPS:,} steps do not reach the residual",
        "seconds": float(times.sum()),
        "finished_share": float(finished.mean()),
        "ratio": float(times.sum()) / sweep_seconds,
        "ratio_target": 20.0,
        "seconds_on_finished_cells": float(times[finished].sum()),
        "ratio_on_finished_cells": float(times[finished].sum() / same) if finished.any() else None,
    }


def scipy_comparison(sweep_seconds):
    """One seed, in proportion: SciPy is too slow to wait for all of them."""
    found = {}
    for method in ("RK45", "LSODA"):
        runs = [scipy_cell(alpha, 0, method) for alpha in SCALE.log10_alphas]
        seconds = SCALE.seeds * sum(seconds for seconds, _ in runs)
        found[method] = {
            "seconds_of_one_seed_times_seeds": seconds,
            "finished_share": sum(done for _, done in runs) / len(runs),
            "ratio": seconds / sweep_seconds,
        }
    return {
        **found,
        "seconds_at_most_per_cell": SCALE.scipy_seconds,
        "ratio_to_best": min(method["ratio"] for method in found.values()),
        "ratio_target": 30.0,
    }


def strategies_part():
    """One cell after the other, or side by side: what `default_strategy` rests on."""
    axes = {"log10_alpha": SCALE.log10_alphas[::4], "seed": range(max(1, SCALE.seeds // 4))}
    ways: dict[str, dict[str, Any]] = {
        "loop": {"strategy": sweeps.Loop()},
        "lanes": {"strategy": sweeps.Lanes()},
        "lanes_of_8_by_cost": {"strategy": sweeps.Lanes(8), "cost": later_alphas_cost_more},
    }
    seconds = {name: time_sweep(flow_cell, axes, **way).running for name, way in ways.items()}
    return {
        "cells": len(axes["log10_alpha"]) * len(axes["seed"]),
        "seconds": seconds,
        "ratio_lanes_to_loop": seconds["lanes"] / seconds["loop"],
    }


def cost_part():
    """How the time of a cell depends on alpha: what `flow_cost` of the command line rests on."""
    axes = {"log10_alpha": SCALE.log10_alphas[::3], "seed": range(SCALE.seeds // 2)}
    ds = time_sweep(flow_cell, axes, chunk_size=1, threads=1).dataset
    return {
        "log10_alphas": list(axes["log10_alpha"]),
        "median_seconds": ds["seconds"].median("seed").values.tolist(),
        "median_steps": ds["num_steps"].median("seed").values.tolist(),
    }


CHUNK_SECONDS, CHUNK_CELLS = 0.1, 4


def idle_cell(x, seed):
    """A cell that takes its time from the clock and not from the processor."""

    def wait(x, seed):
        time.sleep(CHUNK_SECONDS / CHUNK_CELLS)
        return np.float64(x + seed)

    shape = jax.ShapeDtypeStruct((), jnp.float64)
    end = jax.pure_callback(wait, shape, x, seed, vmap_method="sequential")
    return {"end": end, "double": 2 * x, "pair": jnp.stack([x, end])}


def busy_cell(x, seed):
    """The same results from work in proportion to `ITERATIONS`."""
    end = lax.fori_loop(0, ITERATIONS, lambda _, v: jnp.sin(v) + x, seed.astype(float))
    return {"end": end, "double": 2 * x, "pair": jnp.stack([x, end])}


ITERATIONS = 250_000


def overhead_part():
    """Store, progress and bookkeeping against threads that only call the same chunks.

    Idle chunks sleep, so the processor time of the process is that of the bookkeeping alone, and
    neither idle threads nor other processes can blur it. Both it and the wall time that the
    sweep takes longer are given as shares of the chunks' time. Busy chunks compute; of them the
    processor time is compared, in turns.
    """
    global ITERATIONS
    # Chunks of a tenth of a second, on this machine now.
    trial = bare_chunk(busy_cell)
    ITERATIONS = int(ITERATIONS * CHUNK_SECONDS / time_loop(trial, [(0.5,)])[0][0])
    found = {"disk": overheads(on_disk().name)}
    if MEMORY.is_dir():
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            found["memory"] = overheads(folder)
    return {
        "threads": len(os.sched_getaffinity(0)),
        "chunks": SCALE.overhead_chunks,
        "chunk_seconds": CHUNK_SECONDS,
        **found,
        "target": 0.05,
    }


def overheads(stores):
    """Of chunks that wait and of chunks that compute, with stores in one folder."""
    idle, busy = compare(idle_cell, stores), compare(busy_cell, stores)
    return {
        "idle_chunks": {
            **idle,
            "median_cpu_overhead": statistics.median(idle["cpu_overhead"]),
            "median_wall_overhead": statistics.median(idle["wall_overhead"]),
        },
        "busy_chunks": {**busy, "median_cpu_overhead": statistics.median(busy["cpu_overhead"])},
    }


def bare_chunk(cell):
    """A compiled chunk, called once."""
    seeds = jnp.arange(CHUNK_CELLS)
    chunk = jax.jit(lambda x: lax.map(lambda seed: cell(x, seed), seeds))
    jax.block_until_ready(chunk(0.5))
    return chunk


def compare(cell, stores):
    """What a sweep takes beyond its chunks, as shares of the chunks' time.

    Two sweeps that differ in nothing but the number of chunks are subtracted, so that what a call
    pays once (tracing, compiling, laying out the store) drops out; the grid's figures have it.
    """
    chunk = bare_chunk(cell)
    few, many = SCALE.overhead_chunks
    threads = len(os.sched_getaffinity(0))
    work = CHUNK_SECONDS * (many - few)
    wall, cpu = [], []
    for _ in range(SCALE.rounds):
        began, began_cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(threads) as pool:
            values = np.linspace(0.0, 1.0, many - few)
            list(pool.map(lambda x: jax.block_until_ready(chunk(x)), values))
        bare_wall = time.perf_counter() - began
        bare_cpu = time.process_time() - began_cpu
        short, long = (
            time_sweep(
                cell,
                {"x": np.linspace(0.0, 1.0, chunks), "seed": range(CHUNK_CELLS)},
                chunk_size=CHUNK_CELLS,
                stores=stores,
            )
            for chunks in (few, many)
        )
        wall.append((long.seconds - short.seconds - bare_wall) / (work / threads))
        cpu.append((long.cpu_seconds - short.cpu_seconds - bare_cpu) / work)
    return {"wall_overhead": wall, "cpu_overhead": cpu}


def memory_part():
    """Peak memory of a process that sweeps a cheap function into a store, by number of cells."""
    runs = []
    # From few to many: the peak of a process never falls.
    for cells in SCALE.memory_cells:
        with tempfile.TemporaryDirectory() as folder:
            sweeps.sweep(
                lambda a, seed, key: {"x": a + jax.random.normal(key), "v": jnp.ones(8) * a},
                {"a": np.linspace(0.0, 1.0, cells // 100), "seed": range(100)},
                store=f"{folder}/s.zarr",
                progress=False,
            )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        runs.append({"cells": cells, "peak_mib": peak})
    return {"runs": runs, "target_mib_at_100000_cells": 1024}


def scaling_part():
    """A fixed grid over forced CPU devices, each of which loops alone."""
    runs = [run_part("devices", devices) for devices in SCALE.devices]
    first = runs[0]["seconds"]
    return {
        "cells": runs[0]["cells"],
        "cores": len(os.sched_getaffinity(0)),
        "runs": [{**run, "speedup": first / run["seconds"]} for run in runs],
    }


def devices_part(devices):
    axes = {"log10_alpha": SCALE.log10_alphas[::2], "seed": range(max(1, SCALE.seeds // 2))}
    chunk_size = min(16, len(axes["log10_alpha"]) * len(axes["seed"]))
    timings = [
        time_sweep(flow_cell, axes, chunk_size=chunk_size, cost=later_alphas_cost_more)
        for _ in range(SCALE.rounds)
    ]
    return {
        "devices": devices,
        "cells": timings[0].dataset["result"].size,
        "seconds": statistics.median(timing.running for timing in timings),
    }


PARTS = {
    "grid": grid_part,
    "strategies": strategies_part,
    "cost": cost_part,
    "overhead": overhead_part,
    "memory": memory_part,
    "scaling": scaling_part,
}


def run_part(name, devices=1):
    """One measurement in a process of its own."""
    scale = "full" if SCALE is FULL else "everyday"
    command = [sys.executable, "-m", "benchmarks.test_sweeps", name, scale, str(devices)]
    root = Path(__file__).parents[1]
    out = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert out.returncode == 0, out.stderr
    return json.loads(out.stdout.splitlines()[-1])


def record(name, numbers, load):
    """Keeps numbers, with what they were measured on."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known = {key: known[key] for key in PARTS if key in known}
    known[name] = {
        **numbers,
        "measured_on": {
            "cores": len(os.sched_getaffinity(0)),
            "device": f"{jax.devices()[0].platform}: {jax.devices()[0].device_kind}",
            "load_average_before": round(load, 2),
            "python": platform.python_version(),
            "jax": jax.__version__,
            "implicit_flow": imf.__version__,
        },
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"command": COMMAND, **known}, indent=2) + "\n")
    print(json.dumps({name: numbers}, indent=2))


@pytest.mark.parametrize("name", PARTS)
def test_everyday(name, monkeypatch):
    """Every part runs through, and its cells end in answers; nothing is kept."""
    monkeypatch.setitem(globals(), "SCALE", EVERYDAY)
    numbers = run_part(name)
    assert numbers.get("failed", 0) == 0


@pytest.mark.long
@pytest.mark.parametrize("name", PARTS)
def test_full(name):
    """The measurement."""
    load = os.getloadavg()[0]
    record(name, run_part(name), load)


if __name__ == "__main__":
    part, scale, devices = [*sys.argv[1:], *("full", "1")[len(sys.argv) - 2 :]]
    SCALE = {"full": FULL, "everyday": EVERYDAY}[scale]
    jax.config.update("jax_enable_x64", True)
    if part == "devices":
        jax.config.update("jax_num_cpu_devices", int(devices))
    # xarray and Zarr are imported on first use, which takes a second and is not their speed.
    time_sweep(lambda x: {"y": x}, {"x": [0.0, 1.0]})
    if part == "devices":
        print(json.dumps(devices_part(int(devices))))
    else:
        print(json.dumps(PARTS[part]()))
