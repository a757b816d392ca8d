"""Which solver integrates a flow: the one that was given, or the flow's own at this size."""

import math
from typing import Any

import diffrax
import jax.numpy as jnp

from . import _checks
from ._types import Scalar
from .flows import AbstractFlow, FactorFlow, MatrixFlow
from .problems import Problem
from .solvers import ResidualRadau, RungeKuttaChebyshev


# (n, m). Above the first the eigendecompositions of `ResidualRadau`, n x n and m x m, cost more
# than all the evaluations of an explicit method, above the second they are out of reach; see
# docs/engine.md and benchmarks/results/size.json.
_LARGE = (200, 2000)
_HUGE = (500, 5000)
# The library's own, for congruences.
CONGRUENCES = (ResidualRadau, RungeKuttaChebyshev)


def engine_for(
    flow: AbstractFlow, solver: Any, problem: Problem, log_alpha: Scalar, *, to_rest: bool
) -> diffrax.AbstractSolver | ResidualRadau | RungeKuttaChebyshev:
    """The solver to use.

    Args:
        flow: to be integrated.
        solver: as given, or None.
        problem: its size decides where none is given.
        log_alpha: natural logarithm of alpha; so does this, where it is known.
        to_rest: whether no time is given to stop at.

    Returns:
        The solver.

    Raises:
        ValueError: one that cannot integrate this flow; the message says why.
    """
    congruence = isinstance(flow, FactorFlow | MatrixFlow)
    if solver is None:
        if not congruence:
            return flow.solver_for(problem, to_rest=to_rest)
        return RungeKuttaChebyshev() if _explicit(problem, log_alpha) else ResidualRadau()
    kinds = (diffrax.AbstractSolver, *CONGRUENCES)
    _checks.instance(solver, "solver", kinds)
    if isinstance(solver, CONGRUENCES) and not congruence:
        _checks.refuse(
            "solver",
            f"be a Diffrax solver for {type(flow).__name__}",
            f"is {type(solver).__name__}, which integrates congruences (FactorFlow, MatrixFlow)",
            f"Leave it out: the default here is {type(flow.solver).__name__}.",
        )
    if not isinstance(solver, CONGRUENCES):
        _check_stock(solver)
    return solver


def _check_stock(solver: diffrax.AbstractSolver) -> None:
    """Refuse what cannot integrate one vector field with steps chosen by an error estimate."""
    structure: Any = solver.term_structure
    if not (isinstance(structure, type) and issubclass(diffrax.ODETerm, structure)):
        lacks = "takes several terms or noise"
    elif not isinstance(solver, diffrax.AbstractAdaptiveSolver):
        lacks = "does not estimate the error of its steps"
    else:
        return
    _checks.refuse(
        "solver",
        "be an adaptive solver for ordinary differential equations",
        f"is {type(solver).__name__}, which {lacks}",
        "diffrax.Tsit5() and diffrax.Kvaerno5() are such solvers.",
    )


def _explicit(problem: Problem, log_alpha: Scalar) -> bool:
    """Whether a problem is too large for `ResidualRadau`, and not too far down in alpha without."""
    size = (problem.dim, problem.num_measurements)

    def beyond(bounds: tuple[int, int]) -> bool:
        return size[0] > bounds[0] or size[1] > bounds[1]

    known = _checks.concrete(log_alpha)
    dtype = problem.measurement.dtype
    if beyond(_HUGE):
        return known is None or float(known) >= 2 * smallest_log_size(dtype)
    # Directions below rounding of X are lost to a factor that is stored plainly.
    visible = known is not None and float(known) >= math.log(float(jnp.finfo(dtype).eps))
    return beyond(_LARGE) and visible


def check_representable(
    flow: AbstractFlow,
    solver: diffrax.AbstractSolver | ResidualRadau | RungeKuttaChebyshev,
    log_alpha: Scalar,
    dtype: Any,
) -> None:
    """Refuse an alpha at which the state of a solver would underflow, or X overflow.

    Args:
        flow: to be integrated.
        solver: one that can; all but `ResidualRadau` hold their state plainly.
        log_alpha: natural logarithm of alpha.
        dtype: of the problem.

    Raises:
        ValueError: where it would, and alpha is not traced.
    """
    known = _checks.concrete(log_alpha)
    if known is None or not flow.needs_alpha:
        return
    # Of X the squares are summed.
    largest = 0.5 * math.log(float(jnp.finfo(dtype).max))
    if known > largest:
        _checks.refuse(
            "log10_alpha",
            f"be below {largest / math.log(10):.0f} in {jnp.dtype(dtype).name}",
            f"is {float(known) / math.log(10):.6g}",
        )
    if isinstance(solver, ResidualRadau):
        return
    if isinstance(solver, RungeKuttaChebyshev):
        flow = FactorFlow()
    state = flow.log_size_of_start(float(known))
    if state < smallest_log_size(dtype):
        _checks.refuse(
            "log10_alpha",
            f"leave the state of {type(flow).__name__} representable in {jnp.dtype(dtype).name} "
            f"with {type(solver).__name__}",
            f"is {float(known) / math.log(10):.6g}",
            "Use FactorFlow with ResidualRadau, which has no such limit.",
        )


def smallest_log_size(dtype: Any) -> float:
    """Log of the smallest state that still has all its digits."""
    return math.log(float(jnp.finfo(dtype).tiny)) - math.log(float(jnp.finfo(dtype).eps))
