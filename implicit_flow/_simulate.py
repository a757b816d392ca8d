"""`simulate`: a flow in continuous time."""

import math
from collections.abc import Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike

from . import _checks
from ._alpha import log_scale
from ._compiled import compiled
from ._congruence import by_congruence
from ._no_derivative import no_derivative_unless
from ._range import in_range
from ._results import RESULTS, select
from ._solution import Solution
from ._solver_choice import CONGRUENCES, check_representable, engine_for
from ._times import possible, save_times
from ._transformed import is_transformed
from ._types import RealLike, Scalar
from .flows import AbstractFlow, FactorFlow, MirrorFlow, Path, integrate
from .problems import Problem
from .solvers import ResidualRadau, RungeKuttaChebyshev


# Of stock solvers. An implicit step costs some hundred explicit ones, and on a problem that it
# carries at all such a method has been seen to need a thousand at most.
_MAX_STEPS = 100_000
_MAX_IMPLICIT_STEPS = 10_000


def simulate(
    problem: Problem,
    flow: AbstractFlow | None = None,
    *,
    alpha: ArrayLike | None = None,
    log10_alpha: ArrayLike | None = None,
    init: Any = None,
    t1: ArrayLike | None = None,
    solver: diffrax.AbstractSolver | ResidualRadau | RungeKuttaChebyshev | None = None,
    rtol: RealLike | None = None,
    saveat: diffrax.SaveAt | ArrayLike | Sequence[float] | None = None,
    max_steps: int | None = None,
    adjoint: diffrax.AbstractAdjoint | None = None,
    progress: bool = False,
    throw: bool = True,
) -> Solution:
    r"""Gradient flow of a factorization, from a start of scale alpha, to rest or to a time.

    Works under `jit`, `vmap` and `grad` with respect to the targets, the measurement, `alpha` and
    `init`.

    Args:
        problem: what to fit.
        flow: how the unknown moves; `flows.FactorFlow()` if None.
        alpha: the scale of X0 = alpha X~; that of U0 is its square root. Exactly one of `alpha`
            and `log10_alpha` is given; neither for `flows.EuclideanFlow`, nor for
            `flows.MirrorFlow` with a potential that starts at 0.
        log10_alpha: its logarithm to base 10; -3000 is an ordinary value.
        init: the parameter at scale one: U~ (n, d) with X~ = U~ U~' for the factor flow, u~ (n,)
            with x~ = u~^N for Hadamard flows, x~ or x0 itself (n,) for `flows.MirrorFlow`,
            W~ (N, n, n) for the deep one. None for the identity.
        t1: final time, positive; None to integrate until the flow is at rest.
        solver: `solvers.ResidualRadau(...)`, `solvers.RungeKuttaChebyshev(...)`, or any Diffrax
            solver for ordinary differential equations; None for the one that measured best for
            this flow and size, which the solution names.
        rtol: the relative Frobenius error of X that is asked for, at this alpha (or `t1`); 1e-6
            in float64 and 1e-3 in float32 if None.
        saveat: increasing times at which to keep X, residual and dual, shape (k,), or
            `diffrax.SaveAt(ts=...)`. After the flow is at rest its end is kept.
        max_steps: of the solver; None for its own: 100,000 for a stock explicit one, 10,000 for a
            stock implicit one.
        adjoint: how a stock solver is differentiated: `diffrax.ForwardMode()` in forward mode or
            not at all, which compiles sooner, `diffrax.RecursiveCheckpointAdjoint()` in reverse
            mode; None for the latter where anything is traced, as under `jit` and `grad`, and the
            former elsewhere. The library's own solvers have both modes built in.
        progress: draw a bar on the way to `t1` (stock solvers).
        throw: raise where the result is a failure; otherwise it is in `.result`.

    Returns:
        The solution.

    Raises:
        ValueError: an argument that cannot be; the message says which and what to do.
        RuntimeError: (Equinox's) if `throw` and the result is a failure.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DenseMeasurement(jnp.array([[[2.0, 0.0], [0.0, 1.0]]]))
        >>> sol = imf.simulate(imf.Problem(A, jnp.array([1.0])), alpha=0.1)
        >>> bool(jnp.allclose(sol.X, jnp.diag(jnp.array([0.4, 0.2])), rtol=1e-6))
        True
    """
    # Check.
    _checks.instance(problem, "problem", Problem, "Make one with `Problem(measurement, targets)`.")
    flow = FactorFlow() if flow is None else flow
    _checks.instance(flow, "flow", AbstractFlow)
    flow.check(problem, t1=t1)
    dtype = problem.measurement.dtype
    if t1 is None and not problem.loss.has_finite_minimizer:
        _checks.refuse(
            "t1",
            f"be given with {type(problem.loss).__name__}, whose infimum is at infinity",
            "is None",
        )
    if t1 is not None:
        t1 = _checks.array(t1, "t1", dtype)
        _checks.shape(t1, "t1", ())
        _checks.finite(t1, "t1")
        _checks.positive(t1, "t1")
    rtol = tolerance(rtol, dtype)
    save_ts = save_times(saveat, t1, dtype)
    log_alpha, valid = _scale(flow, alpha, log10_alpha, dtype)
    t1, save_ts, ordered = possible(t1, save_ts)
    valid = valid & ordered & in_range(problem)
    given = problem, flow, init, log_alpha, t1, save_ts
    problem, flow, init, log_alpha, t1, save_ts = no_derivative_unless(valid, given)
    if max_steps is not None:
        _checks.at_least(max_steps, "max_steps", 1)
    engine = engine_for(flow, solver, problem, log_alpha, to_rest=t1 is None)
    check_representable(flow, engine, log_alpha, dtype)

    # Call one engine. Problems share its programs whether or not they carry what was planted.
    bare = eqx.tree_at(lambda p: p.ground_truth, problem, None, is_leaf=lambda leaf: leaf is None)
    common: dict[str, Any] = {
        "log_alpha": log_alpha,
        "init": init,
        "t1": t1,
        # An array, so that a program serves all tolerances.
        "rtol": jnp.asarray(rtol, dtype),
        "save_ts": save_ts,
        "max_steps": max_steps,
    }
    if isinstance(engine, CONGRUENCES):
        if not (adjoint is None or isinstance(adjoint, diffrax.ForwardMode)):
            _checks.refuse(
                "adjoint",
                f"be None or ForwardMode with {type(engine).__name__}, which differentiates itself",
                f"is {type(adjoint).__name__}",
            )
        path, spectrum = by_congruence(bare, flow, engine, **common)
    else:
        # Here the values of `init` are known, inside the compiled program they are not.
        flow.start(problem, log_alpha, init)
        if max_steps is None:
            implicit = isinstance(engine, diffrax.AbstractImplicitSolver)
            common["max_steps"] = _MAX_IMPLICIT_STEPS if implicit else _MAX_STEPS
        adjoint = _checked_adjoint(adjoint)
        path = integrate(bare, flow, engine, adjoint=adjoint, progress=progress, **common)
        spectrum = None

    # Wrap.
    sol = _wrap(bare, flow, path, spectrum, log_alpha, save_ts, engine, init, valid)
    return sol.raise_if_failed() if throw else sol


def tolerance(rtol: Any, dtype: Any) -> float:
    """The relative tolerance to use, refused where it cannot be reached.

    Args:
        rtol: as given, or None for the default of the type.
        dtype: of the problem.

    Returns:
        The tolerance.

    Raises:
        ValueError: not a number between the reach of the type and 1.
    """
    epsilon = float(jnp.finfo(dtype).eps)
    if rtol is None:
        return 1e-6 if epsilon < 1e-12 else 1e-3
    if isinstance(rtol, Tracer):
        _checks.refuse("rtol", "be a Python number", "is traced", "Mark it static under `jit`.")
    value = _checks.number(rtol, "rtol")
    least = 1e3 * epsilon
    if not least <= value < 1:
        cure = "" if epsilon < 1e-12 else "Turn on float64 for more accuracy."
        _checks.refuse(
            "rtol",
            f"lie between {least:.1e}, the reach of {jnp.dtype(dtype).name}, and 1",
            f"is {value:g}",
            cure,
        )
    return value


def _scale(flow: AbstractFlow, alpha: Any, log10_alpha: Any, dtype: Any) -> tuple[Scalar, Array]:
    if flow.needs_alpha:
        return log_scale(alpha, log10_alpha, dtype)
    for name, value in (("alpha", alpha), ("log10_alpha", log10_alpha)):
        if value is not None:
            _checks.refuse(
                name, f"be left out for {type(flow).__name__}, which starts at 0", "is given"
            )
    return jnp.zeros((), dtype), jnp.array(True)


def _checked_adjoint(adjoint: Any) -> diffrax.AbstractAdjoint:
    if adjoint is None:
        # What is not differentiated needs no checkpoints: measured, that is 0.5 to 0.9 of the 3.1
        # to 4.2 s that the program of a first call takes.
        if is_transformed():
            return diffrax.RecursiveCheckpointAdjoint()
        return diffrax.ForwardMode()
    _checks.instance(adjoint, "adjoint", diffrax.AbstractAdjoint)
    reasons = {
        diffrax.ImplicitAdjoint: "its derivative with respect to alpha is silently 0, because "
        "minima of an over-parametrized model are not isolated",
        diffrax.BacksolveAdjoint: "the flow is unstable backwards in time",
    }
    for kind, reason in reasons.items():
        if isinstance(adjoint, kind):
            _checks.refuse(
                "adjoint",
                "be RecursiveCheckpointAdjoint, DirectAdjoint or ForwardMode",
                f"is {kind.__name__}: {reason}",
            )
    return adjoint


def _wrap(
    problem: Problem,
    flow: AbstractFlow,
    path: Path,
    spectrum: Array | None,
    log_alpha: Scalar,
    save_ts: Array | None,
    engine: Any,
    init: Any,
    valid: Array,
) -> Solution:
    vector = flow.is_vector
    X, x, Xs, errors, residual_norm, result = _judged(problem, path, valid, vector=vector)
    saved = (None, None, None) if path.saved is None else path.saved
    log10_alpha = log_alpha / np.asarray(math.log(10), log_alpha.dtype)
    return Solution(
        X=X,
        residual=path.residual,
        residual_norm=residual_norm,
        dual=path.dual,
        x=x,
        time=path.time,
        log10_alpha=log10_alpha if flow.needs_alpha else jnp.full_like(log10_alpha, jnp.nan),
        ts=save_ts,
        Xs=Xs,
        residuals=saved[1],
        duals=saved[2],
        log_eigenvalues=spectrum,
        error_estimate=errors[0],
        error_estimates=errors[1],
        result=result,
        stats=path.stats,
        flow=repr_of(flow),
        solver=type(engine).__name__,
        notes=notes(flow, problem, init),
        semidefinite=flow.is_semidefinite,
        block=getattr(problem.measurement, "block", None),
    )


def notes(flow: AbstractFlow, problem: Problem, init: Any) -> tuple[str, ...]:
    """What a reader of a solution should know about how it was started.

    Args:
        flow: that was run.
        problem: that it was run on.
        init: as given.

    Returns:
        Sentences.
    """
    if not isinstance(flow, FactorFlow):
        return ()
    d = flow.rank if init is None else np.shape(init)[1]
    if d is None or d >= problem.dim:
        return ()
    return (f"U has {d} < n = {problem.dim} columns: theorems about full rank do not apply.",)


def repr_of(flow: AbstractFlow) -> str:
    """A short name of a flow: its class, and its depth, rank or potential."""
    facts = [
        f"{name}={value}"
        for name in ("rank", "depth")
        if (value := getattr(flow, name, None)) is not None
    ]
    if isinstance(flow, MirrorFlow):
        facts.append(type(flow.potential).__name__)
    return f"{type(flow).__name__}({', '.join(facts)})"


@compiled
def _judged(
    problem: Problem, path: Path, valid: Array, *, vector: bool
) -> tuple[Array, Array | None, Array | None, tuple[Array, Array | None], Scalar, RESULTS]:
    """X, its diagonal, X at the save times, errors of the end and of these, misfit and result."""
    X = jnp.diag(path.unknown) if vector else path.unknown
    # The engine would run, to no end, on inputs that are not numbers: say so instead.
    finite = jnp.all(jnp.isfinite(X)) | (path.result != RESULTS.successful)
    result = select(finite, path.result, RESULTS.nonfinite)
    result = select(valid, result, RESULTS.invalid_input)
    X = jnp.where(valid, X, jnp.nan)
    Xs = None if path.saved is None else path.saved[0]
    if Xs is not None:
        Xs = jnp.where(valid, jax.vmap(jnp.diag)(Xs) if vector else Xs, jnp.nan)
    x = jnp.where(valid, path.unknown, jnp.nan) if vector else None
    errors = path.error_estimate, path.error_estimates
    errors = jax.tree.map(lambda error: jnp.where(valid, error, jnp.inf), errors)
    return X, x, Xs, errors, problem.misfit((X + X.T) / 2), result
