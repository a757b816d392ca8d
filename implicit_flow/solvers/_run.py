"""One integration of a congruence flow at one step tolerance."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..linalg import GradedFactor, propagate
from ._congruence_term import CongruenceTerm
from ._controller import dissipates, growth_cap, local_error, next_step, propagator_error
from ._full_newton import solve_fully
from ._goal import Goal, relative_residual
from ._newton_matrix import NewtonMatrix
from ._radau import ResidualRadau
from ._record import Record, write
from ._run_state import Counts, RunState
from ._saved import Saved, due, fill, nothing_saved, save_step, store
from ._spectrum import spectrum
from ._stages import exponents, solve_stages
from ._start import Start, advance_linearly, linear_time
from ._stationarity import (
    advance_window,
    at_rest,
    open_window,
    rows_at_rest,
)
from ._tableau import NODES, WEIGHTS, interpolation_weights


# The norm counts as diverging once it has followed a power of t over this much of log time.
_DIVERGED = 7.0
# Relative residual, in units of rounding, at which a step that fails has nothing left to resolve.
_ROUNDING = 1e5
# Rejected steps, half as many as accepted ones or more, after which a run that fits is given up.
_FAILURES = 16
# Steps in a row that are short beside the time that has passed, with a force that is nothing but
# rounding, after which it is given up too.
_NOISY_STEPS, _SHORT, _NOISE = 16, 0.01, 50.0
_MAX_JUMPS = 200
# Exponent that a direction must still grow by to count as one that has not arrived.
_ROOM = 1.0
# Lowest eigenvalue of A*(r) at a stationary point, as a share of the largest there or at the
# start: one that is further below zero grows in the end, however slowly.
_SADDLE, _SADDLE_ROUNDINGS = 1e-8, 200.0
_PROPAGATOR_SHARE = 50.0
# After so many Newton iterations with a frozen matrix its own Jacobian is the cheaper one; it is
# then kept for a number of steps, and for longer each time.
_TROUBLE = 8
_PATIENCE = 6
_IMPATIENCE = 4


def _linear_phase(
    term: CongruenceTerm,
    solver: ResidualRadau,
    begin: Start,
    goal: Goal,
    saved: Saved,
    record: Record | None,
) -> tuple[Float[Array, ""], GradedFactor, Saved, Record | None]:
    """Advance while A(X) is zero to rounding."""
    force = jnp.broadcast_to(begin.force, (3, begin.force.shape[0]))

    def jump(carry):
        count, time, graded, saved, record, _ = carry
        duration = linear_time(term, begin, graded, spread=solver.spread)
        duration = jnp.minimum(duration, goal.t1 - time)
        moves = duration > 0
        record = write(
            record, graded, duration, force, saved.count, time, linear=moves, enabled=moves
        )

        def serve(saved: Saved) -> Saved:
            at = saved.times[saved.count]
            inside = advance_linearly(term, begin, graded, at - time, spread=solver.spread)
            return store(saved, inside, -at * begin.force)

        if saved.times.shape[0] > 0:
            saved = jax.lax.while_loop(lambda s: moves & due(s, time + duration), serve, saved)
        graded = advance_linearly(term, begin, graded, duration, spread=solver.spread)
        return count + 1, time + duration, graded, saved, record, moves

    first = (jnp.zeros((), jnp.int32), jnp.zeros_like(goal.t1), begin.graded, saved, record)
    _, time, graded, saved, record, _ = jax.lax.while_loop(
        lambda c: c[5] & (c[0] < _MAX_JUMPS), jump, (*first, goal.t1 > 0)
    )
    return time, graded, saved, record


# Compiled, so that it is traced once for its shape and for the loop over runs: 0.15 of 1.1 s.
@eqx.filter_jit
def first_state(
    term: CongruenceTerm,
    solver: ResidualRadau,
    begin: Start,
    goal: Goal,
    save_ts: Float[Array, " k"],
    record: Record | None,
) -> RunState:
    """The state after the linear phase.

    Args:
        term: the flow.
        solver: its options.
        begin: the start of the flow.
        goal: what to reach.
        save_ts: times to save at.
        record: buffers for the accepted steps, or None.

    Returns:
        The state.
    """
    dtype = begin.force.dtype
    saved = nothing_saved(save_ts, begin.graded, begin.force)
    time, graded, saved, record = _linear_phase(term, solver, begin, goal, saved, record)
    factor = graded.factor
    force = term.residual(term.predict(factor))
    count = jnp.zeros((), jnp.int32)
    dual = -time * begin.force
    tiny = jnp.finfo(dtype).tiny
    matrix = NewtonMatrix.build(term, factor)
    # A start far above its targets falls at rates that A*(r(0)) knows nothing of.
    changed = begin.largest + jnp.linalg.norm(term.adjoint(force - begin.force))
    fastest = jnp.maximum(jnp.maximum(changed, matrix.eigenvalues[-1]), tiny)
    step = goal.shortening / fastest
    fixed = jnp.all(term.adjoint(force) == 0) & jnp.isinf(goal.t1)
    fits = relative_residual(term, factor) <= goal.residual
    window = open_window(term.whole(factor), force, fastest)
    window = eqx.tree_at(lambda w: w.remainder, window, jnp.where(fixed, 0.0, window.remainder))
    return RunState(
        time=time,
        step=jnp.minimum(step, goal.shortening * jnp.maximum(goal.t1 - time, 0.0)),
        graded=graded,
        factor=factor,
        force=force,
        dual=dual,
        matrix=matrix,
        stale=jnp.zeros((), bool),
        hard=count,
        patience=count + _PATIENCE,
        noisy=count,
        previous=jnp.broadcast_to(force, (3, force.shape[0])),
        previous_step=jnp.asarray(jnp.inf, dtype),
        window=window,
        saved=saved,
        record=record,
        counts=Counts(count, count, count, count + 1),
        arrived=(time >= goal.t1) | (fixed & fits),
        # Measurements that see nothing move nothing.
        stationary=fixed & ~fits,
        vanished=jnp.zeros((), bool),
        diverges=jnp.zeros((), bool),
        failed=~(jnp.all(jnp.isfinite(factor)) & jnp.all(jnp.isfinite(force))),
    )


def _advance(
    term: CongruenceTerm, solver: ResidualRadau, begin: Start, goal: Goal, state: RunState
) -> RunState:
    """Try one step."""
    dtype = state.time.dtype
    remaining = goal.t1 - state.time
    last = state.step >= remaining
    step = jnp.where(last, remaining, state.step)
    enabled = ~state.done

    # The last polynomial, continued, where the step is not much longer; else its last value.
    nodes = jnp.asarray(NODES, dtype)
    ratio = step / state.previous_step
    continued = interpolation_weights(1 + nodes * ratio) @ state.previous
    constant = jnp.broadcast_to(state.force, continued.shape)
    guess = jnp.where(ratio < 1.5, continued, constant)

    matrix = jax.lax.cond(
        state.stale & enabled,
        lambda: NewtonMatrix.build(term, state.factor),
        lambda: state.matrix,
    )
    at = (term, solver, state.factor, step, goal.tolerance, guess)
    simply = enabled & (state.hard == 0)
    stages = solve_stages(*at, matrix, simply)
    frozen = stages.converged
    # In a branch of its own: what its loop does not change would be computed for every step.
    unsolved = enabled & ~frozen
    stages = jax.lax.cond(unsolved, lambda: solve_fully(*at, stages, unsolved), lambda: stages)
    # Both are compared with the tolerance in the units of the embedded formula, whose error of
    # order 3 overstates that of the method by a factor of about 50; the other is of order 4.
    embedded = local_error(term, stages, state.force, step) / goal.tolerance
    propagated = propagator_error(term, stages.residuals, state.factor, step) / goal.tolerance
    ratio = jnp.maximum(embedded, (_PROPAGATOR_SHARE * propagated) ** 0.8)
    lawful = dissipates(term, stages, state.factor, state.force, step, goal.tolerance)
    solved = stages.converged & lawful
    accept = enabled & solved & (ratio <= 1)
    force = stages.residuals[2]
    troubled = simply & solved & (~frozen | (stages.num_iterations >= _TROUBLE))

    graded = propagate(
        state.graded,
        exponents(term, stages.residuals, step),
        enabled=accept,
        spread=solver.spread,
        together=term.together,
    )
    factor = jnp.where(accept, graded.factor, state.factor)
    saved = save_step(
        term,
        state.saved,
        state.graded,
        state.dual,
        state.time,
        step,
        stages.residuals,
        enabled=accept,
        spread=solver.spread,
    )
    time = jnp.where(last, goal.t1, state.time + step)
    rates = spectrum(term, force, graded)
    proposed = next_step(step, ratio, solved)
    capped = jnp.minimum(proposed, goal.shortening * growth_cap(term, solver, rates))
    whole = term.whole(factor)
    window = advance_window(state.window, time, whole, force)

    finite = jnp.all(jnp.isfinite(factor))
    resting = at_rest(window, time, whole, rates.reachable, goal.drift) & jnp.isinf(goal.t1)
    misfit = relative_residual(term, factor)
    fits = misfit <= goal.residual
    settled = resting & ~fits & window.force_constant
    # A misfit within the error of X that is asked for is what the stage equations leave unsolved,
    # and says nothing about the targets.
    explained = misfit <= goal.explained
    # A direction that is still far below what its own targets allow is waited for.
    waiting = (rates.reachable < 0) & (rates.room > _ROOM)
    met = (resting & fits) | (settled & explained & ~waiting)
    met = rows_at_rest(term, factor, goal.drift, fits & jnp.isinf(goal.t1), met)
    # Where nothing fits better A*(r) is positive semidefinite; a direction that has had no time to
    # grow must not pass for one that does not.
    least = max(_SADDLE, _SADDLE_ROUNDINGS * float(jnp.finfo(dtype).eps))
    stuck = ~explained & (-rates.reachable <= least * jnp.maximum(rates.highest, begin.largest))
    small = jnp.sum(factor**2) <= goal.vanished
    shrinking = jnp.linalg.norm(factor) <= jnp.linalg.norm(state.factor)
    weakly_stable = begin.lowest >= -1e3 * jnp.finfo(dtype).eps * begin.largest
    diverged = jnp.log(time) - window.growth_since >= _DIVERGED

    def keep(new, old):
        return jax.tree.map(lambda a, b: jnp.where(accept, a, b), new, old)

    counts = state.counts
    # A force that has sunk into rounding moves X no further; what remains is reported. And where
    # step after step fails at targets that are met, time has outrun the rounding of the force: its
    # noise is all that is left to follow, and the drift that remains, however large, is reported.
    before = relative_residual(term, state.factor)
    sunk = (before <= _ROUNDING * jnp.finfo(dtype).eps) & (
        state.window.remainder <= 10 * goal.drift
    )
    lost = (counts.rejected >= _FAILURES) & (2 * counts.rejected >= counts.accepted)
    lost = ~solved & (sunk | (lost & (before <= goal.residual)))
    # Its direction changes from step to step then, and the steps resolve that.
    noise = (before <= _NOISE * jnp.finfo(dtype).eps) & (step <= _SHORT * state.time)
    noisy = jnp.where(noise, state.noisy + 1, 0)
    exhausted = enabled & jnp.isinf(goal.t1) & (lost | (noisy >= _NOISY_STEPS))
    stalled = ~accept & (proposed <= 4 * jnp.finfo(dtype).eps * state.time)
    return RunState(
        time=keep(time, state.time),
        step=jnp.where(enabled, jnp.where(accept, capped, proposed), state.step),
        graded=keep(graded, state.graded),
        factor=factor,
        force=keep(force, state.force),
        dual=keep(state.dual - step * (jnp.asarray(WEIGHTS, dtype) @ stages.residuals), state.dual),
        matrix=stages.matrix,
        # A matrix formed at an iterate that led nowhere may be too large by any factor, and
        # would make the next iteration look converged.
        stale=enabled & ~solved & (stages.num_factorizations > 0),
        # Where the frozen matrix failed it will fail again: it is not asked for a while.
        hard=jnp.where(troubled, state.patience, jnp.maximum(state.hard - 1, 0)),
        patience=jnp.where(troubled, _IMPATIENCE * state.patience, state.patience),
        noisy=jnp.where(enabled, noisy, state.noisy),
        previous=keep(stages.residuals, state.previous),
        previous_step=keep(step, state.previous_step),
        window=keep(window, state.window),
        saved=saved,
        record=write(
            state.record,
            state.graded,
            step,
            stages.residuals,
            state.saved.count,
            state.time,
            linear=jnp.zeros((), bool),
            enabled=accept,
        ),
        counts=Counts(
            counts.accepted + accept.astype(jnp.int32),
            counts.rejected + (enabled & ~accept).astype(jnp.int32),
            counts.newton + stages.num_iterations,
            counts.factorizations
            + stages.num_factorizations
            + (state.stale & enabled).astype(jnp.int32),
        ),
        arrived=state.arrived | (accept & (last | met)) | exhausted,
        stationary=state.stationary | (accept & settled & stuck),
        vanished=state.vanished | (accept & small & shrinking & weakly_stable & jnp.isinf(goal.t1)),
        diverges=state.diverges | (accept & diverged & jnp.isinf(goal.t1)),
        failed=state.failed | ~finite | (enabled & stalled) | ~jnp.isfinite(proposed),
    )


def run(
    term: CongruenceTerm,
    solver: ResidualRadau,
    begin: Start,
    goal: Goal,
    save_ts: Float[Array, " k"],
    enabled: Bool[Array, ""],
    record: Record | None = None,
) -> RunState:
    """Integrate until the goal or an obstacle is reached.

    Args:
        term: the flow.
        solver: its options.
        begin: the start.
        goal: what to reach.
        save_ts: times to save at, increasing.
        enabled: where false, nothing is done.
        record: buffers for the accepted steps, or None.

    Returns:
        The last state.
    """
    state = first_state(term, solver, begin, goal, save_ts, record)

    def proceed(state: RunState) -> Bool[Array, ""]:
        tried = state.counts.accepted + state.counts.rejected
        return enabled & ~state.done & (tried < goal.max_steps)

    return jax.lax.while_loop(proceed, lambda s: _advance(term, solver, begin, goal, s), state)


def fill_saved(state: RunState, goal: Goal) -> Saved:
    """The saved path, continued at rest where the flow came to rest before the last save time.

    Args:
        state: the end of a run.
        goal: what it was to reach.

    Returns:
        The saved path.
    """
    resting = (state.arrived | state.stationary | state.vanished) & jnp.isinf(goal.t1)
    return fill(state.saved, state.graded, state.dual, state.force, state.time, resting)
