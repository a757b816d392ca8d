"""The door of the explicit integrator: what its runs say of the end and of the path."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._compiled import compiled
from .._errors_along import errors_along
from .._results import RESULTS
from ._chebyshev import Motion, RungeKuttaChebyshev, velocity
from ._congruence_term import CongruenceTerm
from ._explicit_derivative import Travelled, differentiable_journey
from ._explicit_refinement import (
    ExplicitInputs,
    ExplicitRefined,
    natural_size,
    refine_explicitly,
)
from ._explicit_state import ExplicitState
from ._goal import Goal, relative_residual
from ._low_rank import low_rank_distance
from ._newton_remainder import linear_remainder
from ._path import without_derivatives


# Share of `rtol` that may be left to the drift after the end, and at which targets count as met.
_DRIFT_SHARE = 0.1
_RESIDUAL_SHARE = 1e-2
# Size of A(X) relative to the targets at which X counts as zero.
_VANISHED = 1e-8


class FactorSolution(eqx.Module):
    """The end of a congruence flow, and its path at the save times.

    Attributes:
        factor: U at the end.
        residual: r(U) at the end.
        dual: minus the integral of r.
        time: the time reached.
        error_estimate: bound of the relative Frobenius error of X; for `vanished`, the size of
            A(X) relative to the targets.
        result: how it ended.
        stats: counts of the last run, and of all of them.
        factors: U at the save times.
        duals: minus the integral of r there.
        residuals: r(U) there.
        error_estimates: bounds of the relative Frobenius errors of X there.
    """

    factor: Float[Array, "n d"]
    residual: Float[Array, " m"]
    dual: Float[Array, " m"]
    time: Float[Array, ""]
    error_estimate: Float[Array, ""]
    result: RESULTS
    stats: dict[str, Int[Array, ""]]
    factors: Float[Array, "k n d"]
    duals: Float[Array, "k m"]
    residuals: Float[Array, "k m"]
    error_estimates: Float[Array, " k"]

    @property
    def X(self) -> Float[Array, "n n"]:
        """The matrix X at the end."""
        return self.factor @ self.factor.T

    @property
    def Xs(self) -> Float[Array, "k n n"]:
        """The matrices at the save times."""
        return self.factors @ jnp.swapaxes(self.factors, 1, 2)


@compiled
def integrate_explicitly(
    term: CongruenceTerm,
    solver: RungeKuttaChebyshev,
    *,
    frame: Float[Array, "n d"],
    log_alpha: Float[Array, ""],
    t1: Float[Array, ""] | None = None,
    rtol: Float[Array, ""] | float = 1e-6,
    save_ts: Float[Array, " k"] | None = None,
    max_steps: int = 20_000,
) -> FactorSolution:
    r"""Integrate $\dot U = -A^*(r(A(UU')))\,U$ from $\sqrt\alpha\,\tilde U$ by explicit steps.

    Args:
        term: the flow; its `adjoint` and `gram` are not used.
        solver: the method and its options.
        frame: $\tilde U$, any number of columns.
        log_alpha: natural logarithm of alpha.
        t1: the time to stop at, exactly; None runs until the flow is at rest.
        rtol: relative Frobenius error of X to be met; smaller step tolerances are tried until it
            is, and the estimate says what was reached.
        save_ts: increasing times at which the path is kept.
        max_steps: steps of the first run, rejected ones included; the others have as many, and what
            their save times need.

    Returns:
        The solution; nothing is raised, `result` says how it ended.
    """
    dtype = frame.dtype
    end = jnp.asarray(jnp.inf if t1 is None else t1, dtype)
    target = jnp.asarray(rtol, dtype)
    times = jnp.zeros((0,), dtype) if save_ts is None else save_ts.astype(dtype)
    inputs = ExplicitInputs(term, frame, jnp.asarray(log_alpha, dtype), end, times)
    fixed = without_derivatives(inputs)
    eps = jnp.finfo(dtype).eps
    size = natural_size(fixed.term, fixed.start)
    goal = Goal(
        t1=fixed.t1,
        tolerance=target,
        shortening=jnp.ones((), dtype),
        drift=jnp.maximum(_DRIFT_SHARE * target, 20 * eps),
        residual=jnp.maximum(_RESIDUAL_SHARE * target, 100 * eps),
        explained=jnp.maximum(target, 100 * eps),
        vanished=jnp.asarray(_VANISHED, dtype) * size,
        max_steps=jnp.asarray(max_steps, jnp.int32),
    )
    refined = refine_explicitly(fixed, solver, goal, target)
    state = refined.state
    found = Travelled(state.at, state.kept.motion)
    # The search for steps is not differentiated: their derivative is that of the path they make.
    travelled = differentiable_journey(term, inputs.start, found, state.trail, solver.max_stages)
    leaves = [x for x in jax.tree.leaves(fixed) if eqx.is_inexact_array(x)]
    # t1 may be infinite, nothing may be nan.
    finite = [jnp.all(jnp.isfinite(x) | (x == fixed.t1)) for x in leaves]
    valid = jnp.all(jnp.stack(finite)) & (fixed.t1 >= 0)
    error = _error(fixed.term, refined, goal)
    result = _result(refined, goal, error, target, valid)

    end = _shifted(term, travelled.end, end)
    saved = _kept(term, state, end, travelled.kept, times)
    return FactorSolution(
        factor=end.factor,
        residual=term.residual(term.predict(end.factor)),
        dual=end.dual,
        time=state.time,
        error_estimate=error,
        result=result,
        stats={
            "num_steps": state.counts.accepted + state.counts.rejected,
            "num_accepted_steps": state.counts.accepted,
            "num_rejected_steps": state.counts.rejected,
            "num_evaluations": state.counts.evaluations,
            "num_runs": refined.num_runs,
            "num_total_steps": refined.total_steps,
            "num_total_evaluations": refined.total_evaluations,
        },
        factors=saved.factor,
        duals=saved.dual,
        residuals=jax.vmap(lambda u: term.residual(term.predict(u)))(saved.factor),
        error_estimates=errors_along(
            refined.along, times, rounding=_rounding(state), end=state.time, error=error
        ),
    )


def _rounding(state: ExplicitState) -> Float[Array, ""]:
    dtype = state.time.dtype
    return 4 * jnp.finfo(dtype).eps * (1 + state.counts.accepted.astype(dtype))


def _error(term: CongruenceTerm, refined: ExplicitRefined, goal: Goal) -> Float[Array, ""]:
    """The error estimate: of the steps, of rounding, and of stopping."""
    state = refined.state
    window = state.window
    drift = jnp.maximum(window.remainder, low_rank_distance(state.factor, window.factor))
    # Fast directions, whose end a window of log time is too long to see, from the linearization.
    linear = linear_remainder(term, state.factor, state.time)
    drift = jnp.where(state.arrived, jnp.maximum(drift, linear), drift)
    drift = jnp.where(jnp.isinf(goal.t1), drift + state.emergent, 0.0)
    error = jnp.maximum(refined.difference, refined.sensitivity) + 4 * drift + _rounding(state)
    # A misfit that was accepted is part of what X may still be off by.
    misfit = relative_residual(term, state.factor)
    accepted = state.arrived & jnp.isinf(goal.t1) & (misfit > goal.residual)
    error = error + jnp.where(accepted, 2 * misfit, 0.0)
    share = jnp.linalg.norm(term.predict(state.factor))
    share = share / jnp.where(term.scale > 0, term.scale, 1.0)
    error = jnp.where(state.vanished, share, error)
    return jnp.where(state.failed, jnp.inf, error)


def _result(
    refined: ExplicitRefined,
    goal: Goal,
    error: Float[Array, ""],
    rtol: Float[Array, ""],
    valid: Bool[Array, ""],
) -> RESULTS:
    state = refined.state
    where = RESULTS.where
    unfinished = where(jnp.isinf(goal.t1), RESULTS.not_stationary, RESULTS.max_steps_reached)  # pyright: ignore[reportArgumentType]
    result = where(state.arrived, RESULTS.successful, unfinished)  # pyright: ignore[reportArgumentType]
    result = where(state.stationary, RESULTS.stationary, result)
    loose = (state.arrived | state.stationary) & ~(error <= rtol)
    result = where(loose, RESULTS.tolerance_not_met, result)
    result = where(state.diverges, RESULTS.norm_diverges, result)
    result = where(state.vanished, RESULTS.vanished, result)
    result = where(state.failed, RESULTS.solver_failed, result)
    return where(valid, result, RESULTS.invalid_input)


def _shifted(term: CongruenceTerm, at: Motion, time: Float[Array, "..."]) -> Motion:
    """A motion as a function of the time at which it is, which moves it along the flow."""
    change = jnp.where(jnp.isfinite(time), time - jax.lax.stop_gradient(time), 0.0)
    return jax.tree.map(lambda x, v: x + change * v, at, velocity(term, at.factor))


def _kept(
    term: CongruenceTerm, state: ExplicitState, end: Motion, kept: Motion, times: Array
) -> Motion:
    """The saved path, continued at rest where the flow came to rest before the last save time."""
    if times.shape[0] == 0:
        return kept
    kept = jax.vmap(lambda at, time: _shifted(term, at, time))(kept, times)
    late = jnp.arange(times.shape[0], dtype=jnp.int32) >= state.kept.count
    at_rest = late & (state.arrived | state.stationary | state.vanished)
    slope = velocity(term, end.factor).dual
    rest = end.dual[None, :] + (times - state.time)[:, None] * slope[None, :]
    return Motion(
        jnp.where(at_rest[:, None, None], end.factor[None], kept.factor),
        jnp.where(at_rest[:, None], rest, kept.dual),
    )
