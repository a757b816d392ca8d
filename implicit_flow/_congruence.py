"""From a problem to the congruence flow that `solvers` integrates, and back."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._compiled import compiled
from ._congruence_term import congruence_term
from ._transformed import is_transformed
from ._types import Scalar
from ._uncoupled import exact_components, uncoupled
from .flows import AbstractFlow, MatrixFlow, Path, settled, targets_met
from .linalg import GradedFactor, log_row_lengths, row_lengths
from .measurements import CommutingMeasurement, DiagonalMeasurement
from .parametrizations import Factor
from .problems import Problem
from .solvers import (
    CongruenceSolution,
    ResidualRadau,
    RungeKuttaChebyshev,
    integrate,
    integrate_explicitly,
)


def by_congruence(
    problem: Problem,
    flow: AbstractFlow,
    solver: ResidualRadau | RungeKuttaChebyshev,
    *,
    log_alpha: Scalar,
    init: Any,
    t1: Scalar | None,
    rtol: Scalar,
    save_ts: Float[Array, " k"] | None,
    max_steps: int | None,
) -> tuple[Path, Array | None]:
    """Integrate the factor flow with one of the solvers for congruences.

    Args:
        problem: to fit.
        flow: `FactorFlow`, or `MatrixFlow`, whose X moves along the same path.
        solver: its options.
        log_alpha: natural logarithm of alpha.
        init: U~ (n, d), or None.
        t1: the final time; None to integrate to rest.
        rtol: the relative error of X that is asked for.
        save_ts: increasing times at which to save, or None.
        max_steps: of the solver; None for its own limit.

    Returns:
        The path, and the logarithms of the eigenvalues of X.
    """
    parametrization = flow.parametrization
    start = parametrization if isinstance(parametrization, Factor) else Factor()
    dtype = problem.measurement.dtype
    frame = start.frame(problem.dim, init, dtype)
    path, spectrum = _from_frame(
        problem,
        solver,
        frame,
        log_alpha=log_alpha,
        t1=jnp.asarray(np.inf, dtype) if t1 is None else t1,
        rtol=rtol,
        save_ts=save_ts,
        max_steps=max_steps,
    )
    if t1 is not None or not is_transformed():
        return path, spectrum
    return _settled(path, problem, rtol, save_ts), spectrum


def _settled(
    path: Path, problem: Problem, rtol: Scalar, save_ts: Float[Array, " k"] | None
) -> Path:
    """A path to rest with the derivatives of its limit, at the end and where it is continued."""
    met = targets_met(problem, path.unknown, path.result, rtol)
    ended = (path.unknown, path.residual, path.dual)
    ended = settled(MatrixFlow(), problem, path.unknown, ended, met)
    path = eqx.tree_at(lambda p: (p.unknown, p.residual, p.dual), path, ended)
    if save_ts is None:
        return path
    late = met & (save_ts > path.time)

    def continued(kept: Array, end: Array) -> Array:
        moved = jax.lax.stop_gradient(kept) + (end - jax.lax.stop_gradient(end))[None]
        return jnp.where(late.reshape((-1,) + (1,) * end.ndim), moved, kept)

    saved = jax.tree.map(continued, path.saved, ended)
    return eqx.tree_at(lambda p: p.saved, path, saved)


# Compiled as a whole: outside `jit` every operation of it would be a program of its own.
@compiled
def _from_frame(
    problem: Problem,
    solver: ResidualRadau | RungeKuttaChebyshev,
    frame: Array,
    *,
    log_alpha: Scalar,
    t1: Scalar,
    rtol: Scalar,
    save_ts: Float[Array, " k"] | None,
    max_steps: int | None,
) -> tuple[Path, Array | None]:
    basis = rows = together = None
    if isinstance(problem.measurement, CommutingMeasurement):
        # In the common eigenvectors nothing is coupled, and rounding cannot couple it.
        basis = problem.measurement.basis
        diagonal = DiagonalMeasurement(problem.measurement.spectra)
        problem = eqx.tree_at(lambda p: p.measurement, problem, diagonal)
        frame = basis.T @ frame
    if isinstance(problem.measurement, DiagonalMeasurement) and isinstance(solver, ResidualRadau):
        frame, rows = _lengths(frame)
    elif isinstance(solver, ResidualRadau):
        together = exact_components(problem.measurement)
    common: dict[str, Any] = {
        "frame": frame,
        "log_alpha": log_alpha,
        "t1": t1,
        "rtol": rtol,
        "save_ts": save_ts,
        **({} if max_steps is None else {"max_steps": max_steps}),
    }
    term = congruence_term(problem, rows, together)
    if isinstance(solver, RungeKuttaChebyshev):
        end = integrate_explicitly(term, solver, **common)
    else:
        apart = None if together is None else uncoupled(problem, frame, together)
        end = integrate(term, solver, uncoupled=apart, **common)

    def outside(factor: Array) -> Array:
        U = term.whole(factor)
        U = U if basis is None else basis @ U
        return U @ U.T

    saved = None
    if save_ts is not None:
        saved = (jax.vmap(outside)(end.factors), end.residuals, end.duals)
    path = Path(
        unknown=outside(end.factor),
        residual=end.residual,
        dual=end.dual,
        time=end.time,
        saved=saved,
        error_estimate=end.error_estimate,
        error_estimates=None if save_ts is None else end.error_estimates,
        result=end.result,
        stats=end.stats,
    )
    if isinstance(end, CongruenceSolution) and rows is not None:
        identity = jnp.eye(problem.dim, dtype=rows.dtype)
        whole = GradedFactor(identity, log_row_lengths(end.graded), rows)
        end = eqx.tree_at(lambda e: e.graded, end, whole)
    return path, getattr(end, "log_eigenvalues", None)


def _lengths(frame: Array) -> tuple[Array, Array]:
    """The diagonal matrix of the lengths of the rows, and the rows at length one."""
    lengths = row_lengths(frame)
    return jnp.diag(lengths), frame / jnp.where(lengths == 0, 1.0, lengths)[:, None]
