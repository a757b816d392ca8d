"""The door of the engine."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._compiled import compiled
from .._errors_along import errors_along
from .._results import RESULTS
from ._congruence_term import CongruenceTerm
from ._differentiable import differentiable_path, path_of
from ._goal import Goal, relative_residual
from ._path import Inputs, Path, without_derivatives
from ._radau import ResidualRadau
from ._refinement import Refined, refine
from ._solution import CongruenceSolution
from ._start import Start, start
from ._stationarity import remaining_drift
from ._uncoupled import Uncoupled


# Of one run, where the caller sets no limit.
_MAX_STEPS, _STEPS_PER_EXPONENT = 4096, 4
# Share of `rtol` that may be left to the drift after the end.
_DRIFT_SHARE = 0.03
# Residual at which targets count as met, as a share of `rtol`.
_RESIDUAL_SHARE = 1e-2
# Power of rounding below which alpha lets the rounding of one component decide where another ends.
_COUPLED = 0.5
# Size of A(X) relative to the targets at which X counts as zero.
_VANISHED = 1e-8


def _goal(
    term: CongruenceTerm,
    begin: Start,
    t1: Float[Array, ""],
    rtol: Float[Array, ""],
    max_steps: Int[Array, ""],
) -> Goal:
    dtype = rtol.dtype
    eps = jnp.finfo(dtype).eps
    rtol = rtol.astype(dtype)
    return Goal(
        t1=t1,
        tolerance=rtol,
        shortening=jnp.ones((), dtype),
        drift=jnp.maximum(_DRIFT_SHARE * rtol, 20 * eps),
        residual=jnp.maximum(_RESIDUAL_SHARE * rtol, 100 * eps),
        explained=jnp.maximum(rtol, 100 * eps),
        vanished=jnp.asarray(_VANISHED, dtype) * _natural_size(term, begin),
        max_steps=max_steps,
    )


def _natural_size(term: CongruenceTerm, begin: Start) -> Float[Array, ""]:
    """Trace X at which A(X) is comparable to the targets, or of the start where there are none."""
    factor = begin.graded.factor
    size = jnp.sum(factor**2)
    reached = jnp.linalg.norm(term.predict(factor))
    tiny = jnp.finfo(factor.dtype).tiny
    per_target = term.scale * size / jnp.maximum(reached, tiny)
    return jnp.where(term.scale > 0, jnp.maximum(per_target, size), size)


def _result(
    refined: Refined,
    goal: Goal,
    error: Float[Array, ""],
    rtol: Float[Array, ""],
    valid: Bool[Array, ""],
):
    state = refined.state
    where = RESULTS.where
    unfinished = where(jnp.isinf(goal.t1), RESULTS.not_stationary, RESULTS.max_steps_reached)  # pyright: ignore[reportArgumentType]
    result = where(state.arrived, RESULTS.successful, unfinished)  # pyright: ignore[reportArgumentType]
    result = where(state.stationary, RESULTS.stationary, result)
    loose = (state.arrived | state.stationary) & (error > rtol)
    result = where(loose, RESULTS.tolerance_not_met, result)
    result = where(loose & (refined.sensitivity > rtol), RESULTS.ill_conditioned, result)
    result = where(state.diverges, RESULTS.norm_diverges, result)
    result = where(state.vanished, RESULTS.vanished, result)
    result = where(state.failed, RESULTS.solver_failed, result)
    return where(valid, result, RESULTS.invalid_input)


@compiled
def integrate(
    term: CongruenceTerm,
    solver: ResidualRadau,
    *,
    frame: Float[Array, "n d"],
    log_alpha: Float[Array, ""],
    t1: Float[Array, ""] | None = None,
    rtol: Float[Array, ""] | float = 1e-6,
    save_ts: Float[Array, " k"] | None = None,
    max_steps: int | None = None,
    uncoupled: Uncoupled | None = None,
) -> CongruenceSolution:
    r"""Integrate $\dot U = -A^*(r(A(UU')))\,U$ from $\sqrt\alpha\,\tilde U$.

    Args:
        term: the flow.
        solver: the method and its options.
        frame: $\tilde U$, any number of columns.
        log_alpha: natural logarithm of alpha; -7000 is an ordinary value.
        t1: the time to stop at, exactly; None runs until the flow is at rest.
        rtol: relative Frobenius error of X to be met; smaller step tolerances are tried until it
            is, and the estimate says what was reached.
        save_ts: increasing times at which the path is kept.
        max_steps: steps of one run, rejected ones included; None for 4096, and four more for each
            factor of e below one of alpha, over which a direction grows in steps of bounded growth.
        uncoupled: the data without what rounding alone couples, where that is known: the error
            estimate includes the distance between the ends of both.

    Returns:
        The solution; nothing is raised, `result` says how it ended.
    """
    dtype = frame.dtype
    end = jnp.asarray(jnp.inf if t1 is None else t1, dtype)
    target = jnp.asarray(rtol, dtype)
    log_alpha = jnp.asarray(log_alpha, dtype)
    times = jnp.zeros((0,), dtype) if save_ts is None else save_ts.astype(dtype)
    inputs = Inputs(term, frame, log_alpha, end, times)
    # The search for steps is not differentiated: their derivative is that of the path they make.
    fixed = without_derivatives(inputs)
    begin = start(fixed.term, fixed.frame, fixed.log_alpha)
    depth = _STEPS_PER_EXPONENT * jnp.clip(-fixed.log_alpha, 0, 1e7)
    limit = _MAX_STEPS + depth.astype(jnp.int32) if max_steps is None else max_steps
    goal = _goal(fixed.term, begin, fixed.t1, target, jnp.asarray(limit, jnp.int32))
    refined = refine(fixed, solver, begin, goal, target, without_derivatives(uncoupled))
    # Rounding of the large components is then larger than small ones, and no run is without it.
    least = _COUPLED * jnp.log(jnp.finfo(target.dtype).eps)
    drowned = begin.coupled & (fixed.log_alpha < least)
    sensitivity = jnp.where(drowned, jnp.inf, refined.sensitivity)
    refined = eqx.tree_at(lambda r: r.sensitivity, refined, sensitivity)
    path = differentiable_path(inputs, path_of(refined.state, goal), solver, goal, refined)

    # t1 may be infinite, nothing may be nan.
    data = eqx.tree_at(lambda i: i.t1, fixed, jnp.zeros_like(fixed.t1))
    leaves = [x for x in jax.tree.leaves(data) if eqx.is_inexact_array(x)]
    finite = [jnp.all(jnp.isfinite(x)) for x in leaves]
    valid = jnp.all(jnp.stack(finite)) & (fixed.t1 >= 0)
    return _assemble(term, path, refined, goal, target, valid)


def _assemble(
    term: CongruenceTerm,
    path: Path,
    refined: Refined,
    goal: Goal,
    rtol: Float[Array, ""],
    valid: Bool[Array, ""],
) -> CongruenceSolution:
    state = refined.state
    dtype = rtol.dtype
    remaining = remaining_drift(term, state.window, state.time, state.factor, state.arrived)
    drift = jnp.where(jnp.isinf(goal.t1), jax.lax.stop_gradient(remaining), 0.0)
    steps = state.counts.accepted.astype(dtype)
    rounding = 4 * jnp.finfo(dtype).eps * (1 + steps)
    error = jnp.maximum(refined.difference, refined.sensitivity) + 4 * drift + rounding
    # A misfit that was accepted is part of what X may still be off by.
    misfit = relative_residual(term, state.factor)
    accepted = state.arrived & jnp.isinf(goal.t1) & (misfit > goal.residual)
    error = error + jnp.where(accepted, 2 * misfit, 0.0)
    error = jnp.maximum(error, refined.chance)
    predicted = jnp.linalg.norm(term.predict(state.factor))
    share = predicted / jnp.where(term.scale > 0, term.scale, 1.0)
    error = jnp.where(state.vanished, share, error)
    error = jax.lax.stop_gradient(jnp.where(state.failed, jnp.inf, error))

    def residual(graded):
        return term.residual(term.predict(graded.factor))

    return CongruenceSolution(
        graded=path.graded,
        residual=residual(path.graded),
        generator=path.force,
        dual=path.dual,
        time=state.time,
        error_estimate=error,
        remaining_drift=drift,
        sensitivity=refined.sensitivity,
        result=_result(refined, goal, error, rtol, valid),
        stats={
            "num_steps": state.counts.accepted + state.counts.rejected,
            "num_accepted_steps": state.counts.accepted,
            "num_rejected_steps": state.counts.rejected,
            "num_newton_iterations": state.counts.newton,
            "num_factorizations": state.counts.factorizations,
            "num_runs": refined.num_runs,
            "num_total_steps": refined.total_steps,
        },
        ts=state.saved.times,
        saved=path.saved,
        duals=path.duals,
        residuals=jax.vmap(residual)(path.saved),
        error_estimates=errors_along(
            refined.along, state.saved.times, rounding=rounding, end=state.time, error=error
        ),
    )
