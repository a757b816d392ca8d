"""How each solver is set up and timed: one compiled program for each problem, for every alpha."""

import time
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

import implicit_flow as imf
from implicit_flow._compiled import quick_options
from implicit_flow._results import name_of

from .suite import Instance


RESIDUAL = 1e-8
OURS = "implicit_flow"
STOCK = {
    f"{kind.__name__} rtol {rtol:g}": (kind, rtol)
    for kind in (diffrax.Tsit5, diffrax.Dopri8)
    for rtol in (1e-9, 1e-6)
}
SCIPY = {f"SciPy {method}": method for method in ("DOP853", "LSODA")}
# A quick run is repeated, and its least time taken.
QUICK, REPEATED_FOR, MOST_REPEATS = 0.5, 1.5, 15


def _at_goal(problem: imf.Problem, feasible: bool, t: Any, U: Any) -> Any:
    r = problem.measurement.apply_product(U, U) - problem.targets
    if feasible:
        return jnp.linalg.norm(r) <= RESIDUAL * problem.scale
    force = problem.measurement.adjoint(r) @ U
    return (t > 0) & (t * jnp.linalg.norm(force) <= RESIDUAL * jnp.linalg.norm(U))


def _field(t: Any, U: Any, problem: imf.Problem) -> Any:
    r = problem.measurement.apply_product(U, U) - problem.targets
    return -problem.measurement.adjoint(r) @ U


def _ours(problem: imf.Problem, log10_alpha: Any) -> imf.Solution:
    return imf.simulate(problem, log10_alpha=log10_alpha, throw=False)


def _stock(kind: Any, rtol: float, max_steps: int, feasible: bool) -> Callable:
    def run(problem: imf.Problem, log10_alpha: Any) -> tuple[Any, Any, Any]:
        scale = 10.0 ** (log10_alpha / 2)
        sol = diffrax.diffeqsolve(
            diffrax.ODETerm(_field),
            kind(),
            t0=0.0,
            t1=jnp.inf,
            dt0=None,
            y0=scale * jnp.eye(problem.dim),
            args=problem,
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol * scale),
            event=diffrax.Event(lambda t, y, args, **kwargs: _at_goal(args, feasible, t, y)),
            max_steps=max_steps,
            adjoint=diffrax.ForwardMode(),
            throw=False,
        )
        U = sol.ys[-1]
        return U @ U.T, sol.stats["num_steps"], _at_goal(problem, feasible, sol.ts[-1], U)

    return run


class Programs:
    """Compiled programs; those of the last problem and solver are kept."""

    def __init__(self) -> None:
        self.key: Any = None

    def get(
        self, key: Any, function: Callable, *arguments: Any, options: dict[str, Any] | None = None
    ) -> tuple[Callable, float]:
        """The program and the processor seconds that it took to trace and compile it."""
        if key != self.key:
            jax.clear_caches()
            began = time.process_time()
            jitted = eqx.filter_jit(compiler_options=options)(function)
            self.program = jitted.lower(*arguments).compile()
            self.seconds, self.key = time.process_time() - began, key
        return self.program, self.seconds


def _timed(program: Callable, *arguments: Any) -> tuple[dict, Any]:
    """Processor and wall seconds, the least of several where the run is short, and the value."""
    best, wall, spent, count = float("inf"), float("inf"), 0.0, 0
    while True:
        began, began_wall = time.process_time(), time.perf_counter()
        value = jax.block_until_ready(program(*arguments))
        seconds = time.process_time() - began
        best, wall = min(best, seconds), min(wall, time.perf_counter() - began_wall)
        spent, count = spent + seconds, count + 1
        if best > QUICK or spent > REPEATED_FOR or count >= MOST_REPEATS:
            return {"seconds": best, "wall_seconds": wall, "repeats": count}, value


def run(programs: Programs, instance: Instance, solver: str, caps: dict) -> tuple[dict, Any, bool]:
    """One solver on one instance: (a row of numbers, X, whether it says that it is done)."""
    problem = instance.problem()
    alpha = jnp.asarray(instance.log10_alpha)
    if solver in SCIPY:
        return _scipy(instance, problem, SCIPY[solver], caps)
    if solver == OURS:
        # As `simulate` compiles itself, outside the user's own `jit`.
        key, options = (instance.problem_name, solver), quick_options()
        program, compilation = programs.get(key, _ours, problem, alpha, options=options)
        times, sol = _timed(program, problem, alpha)
        # An answer that says that it is less accurate than 1e-6 may still be within 1e-5.
        answers = ("successful", "stationary", "tolerance_not_met")
        met = float(sol.residual_norm) <= 1.01 * RESIDUAL or not instance.feasible
        row = {
            **times,
            "compile_seconds": compilation,
            "steps": int(sol.stats["num_total_steps"]),
            "runs": int(sol.stats["num_runs"]),
            "error_estimate": float(sol.error_estimate),
            "result": name_of(sol.result),
        }
        return row, sol.X, bool(row["result"] in answers and met)
    kind, rtol = STOCK[solver]
    function = _stock(kind, rtol, caps["max_steps"], instance.feasible)
    key = (instance.problem_name, solver, caps["max_steps"])
    program, compilation = programs.get(key, function, problem, alpha)
    times, (X, steps, goal) = _timed(program, problem, alpha)
    return {**times, "compile_seconds": compilation, "steps": int(steps)}, X, bool(goal)


def _scipy(
    instance: Instance, problem: imf.Problem, method: str, caps: dict
) -> tuple[dict, Any, bool]:
    """The same field and goal, compiled, stepped by SciPy."""
    n = problem.dim
    field = jax.jit(lambda t, u: _field(t, u.reshape(n, n), problem).ravel())
    goal = jax.jit(lambda t, u: _at_goal(problem, instance.feasible, t, u.reshape(n, n)))
    scale = 10.0 ** (instance.log10_alpha / 2)
    field(0.0, np.zeros(n * n)), goal(0.0, np.zeros(n * n))
    began, steps = time.process_time(), 0

    def reached(t: float, u: np.ndarray) -> float:
        nonlocal steps
        steps += 1
        over = time.process_time() - began > caps["scipy_seconds"] or steps > caps["max_steps"]
        return 0.0 if over or goal(t, u) else 1.0

    reached.terminal = True
    sol = solve_ivp(
        lambda t, u: np.asarray(field(t, u)),
        (0.0, 1e12),
        scale * np.eye(n).ravel(),
        method,
        rtol=1e-9,
        atol=1e-9 * scale,
        events=reached,
    )
    U = sol.y[:, -1].reshape(n, n)
    row = {"seconds": time.process_time() - began, "repeats": 1, "steps": len(sol.t) - 1}
    return row, U @ U.T, bool(goal(sol.t[-1], sol.y[:, -1]))
