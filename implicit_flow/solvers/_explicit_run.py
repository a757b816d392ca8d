"""One explicit integration of a congruence flow at one step tolerance."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._chebyshev import (
    Motion,
    RungeKuttaChebyshev,
    chebyshev_step,
    longest_step,
    spectral_radius,
    stages_for,
    velocity,
)
from ._congruence_term import CongruenceTerm
from ._explicit_rest import rest_of
from ._explicit_state import Counts, ExplicitState, Kept, Trail
from ._goal import Goal
from ._lanczos import lanczos
from ._stationarity import advance_window, open_window


_SAFETY = 0.8
_LARGEST_FACTOR = 5.0
_SMALLEST_FACTOR = 0.1
# The power iteration approaches the spectral radius from below.
_RADIUS_MARGIN = 1.2
_FIRST_ITERATIONS = 40
_ITERATIONS = 5
_STEPS_BETWEEN = 5
# The norm counts as diverging once it has followed a power of t over this much of log time.
_DIVERGED = 7.0
_STAGE_NOISE = 1e-3
# Below this share of |U'U| a direction cannot be told from rounding.
_NOISE = 1e3


def errors(
    error: Float[Array, "n d"], factor: Float[Array, "n d"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """What an error of U is to X, and to the directions of U each by its own size.

    Args:
        error: of U.
        factor: U.

    Returns:
        The relative error of X, and the largest relative error of a direction.
    """
    tiny = jnp.finfo(factor.dtype).tiny
    size = jnp.maximum(jnp.max(jnp.abs(factor)), jnp.sqrt(tiny))
    unit = factor / size
    gram = unit.T @ unit
    matrix = 2 * jnp.linalg.norm((error / size) @ unit.T) / jnp.linalg.norm(gram)
    noise = _NOISE * jnp.finfo(factor.dtype).eps * jnp.trace(gram)
    lower = jnp.linalg.cholesky(gram + noise * jnp.eye(gram.shape[0], dtype=gram.dtype))
    scaled = jax.scipy.linalg.solve_triangular(lower, (error / size).T, lower=True)
    return matrix, jnp.linalg.norm(scaled)


def first_state(
    term: CongruenceTerm,
    solver: RungeKuttaChebyshev,
    factor: Float[Array, "n d"],
    goal: Goal,
    save_ts: Float[Array, " k"],
) -> ExplicitState:
    """The state at time zero.

    Args:
        term: the flow.
        solver: its options.
        factor: U there.
        goal: what to reach.
        save_ts: times to save at.

    Returns:
        The state.
    """
    dtype = factor.dtype
    zero, none = jnp.zeros((), dtype), jnp.zeros((), jnp.int32)
    no = jnp.zeros((), bool)
    force = term.residual(term.predict(factor))
    at = Motion(factor, jnp.zeros_like(force))
    slope = velocity(term, factor)
    size = jnp.linalg.norm(factor)
    mode = jnp.cos(1 + jnp.arange(factor.size, dtype=dtype)).reshape(factor.shape)
    mode, radius = spectral_radius(
        term, factor, mode / jnp.linalg.norm(mode), zero, none + _FIRST_ITERATIONS
    )
    tiny = jnp.finfo(dtype).tiny
    k = save_ts.shape[0]
    # Runs after the first take two steps and more from one save time to the next.
    r = solver.recorded_steps + 4 * k
    blank = jax.tree.map(lambda x: jnp.full((k, *x.shape), jnp.nan, dtype), at)
    kept = _keep(Kept(save_ts, blank, none), at, zero, ~no)
    return ExplicitState(
        time=zero,
        step=1e-2 * goal.shortening / jnp.maximum(_RADIUS_MARGIN * radius, tiny),
        at=at,
        slope=slope,
        mode=mode,
        radius=_RADIUS_MARGIN * radius,
        window=open_window(factor, force, _RADIUS_MARGIN * radius),
        emergent=jnp.asarray(jnp.inf, dtype),
        kept=kept,
        trail=Trail(
            jnp.zeros((r,), dtype),
            jnp.zeros((r,), jnp.int32),
            jnp.zeros((r,), jnp.int32),
            kept.count,
            none,
        ),
        counts=Counts(none, none, none + 1 + 2 * _FIRST_ITERATIONS),
        arrived=goal.t1 <= 0,
        stationary=no,
        vanished=no,
        diverges=no,
        failed=~(jnp.isfinite(size) & jnp.all(jnp.isfinite(force)) & jnp.isfinite(radius)),
    )


def _keep(kept: Kept, at: Motion, time: Float[Array, ""], enabled: Bool[Array, ""]) -> Kept:
    """Write the save times that have been reached: steps end on each of them."""
    k = kept.times.shape[0]
    if k == 0:
        return kept

    def write(kept: Kept) -> Kept:
        motion = jax.tree.map(lambda b, x: b.at[kept.count].set(x), kept.motion, at)
        return Kept(kept.times, motion, kept.count + 1)

    def due(kept: Kept) -> Bool[Array, ""]:
        return enabled & (kept.count < k) & (kept.times[jnp.minimum(kept.count, k - 1)] <= time)

    return jax.lax.while_loop(due, write, kept)


def next_stop(kept: Kept, goal: Goal) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The next time that a step must not pass, and the longest step on the way to it."""
    k = kept.times.shape[0]
    if k == 0:
        return goal.t1, goal.shortening * goal.t1
    following = kept.times[jnp.minimum(kept.count, k - 1)]
    stop = jnp.where(kept.count < k, jnp.minimum(following, goal.t1), goal.t1)
    before = jnp.where(kept.count > 0, kept.times[jnp.maximum(kept.count - 1, 0)], 0.0)
    return stop, goal.shortening * (stop - before)


def _advance(
    term: CongruenceTerm,
    solver: RungeKuttaChebyshev,
    goal: Goal,
    weakly_stable: Bool[Array, ""],
    state: ExplicitState,
) -> ExplicitState:
    """Try one step."""
    dtype = state.time.dtype
    eps, tiny = jnp.finfo(dtype).eps, jnp.finfo(dtype).tiny
    enabled = ~(state.ended | state.failed)
    free = jnp.isinf(goal.t1)

    stop, longest = next_stop(state.kept, goal)
    # The rounding of a step grows like the square of its stages.
    most = min(solver.max_stages, int((_STAGE_NOISE / eps) ** 0.5))
    wanted = jnp.minimum(state.step, longest_step(most, state.radius))
    # A step that is as long but for rounding leaves none behind it.
    allowed = jnp.minimum(wanted, longest)
    last = allowed >= stop - state.time - 16 * eps * stop
    step = jnp.where(last, stop - state.time, allowed)
    stages = jnp.where(enabled, stages_for(step * state.radius, most), 0)

    at = chebyshev_step(term, state.at, state.slope, step, stages)
    slope = velocity(term, at.factor)
    start, end = state.slope.factor, slope.factor
    error = 0.8 * (state.factor - at.factor) + 0.4 * step * (start + end)
    whole, directions = errors(error, at.factor)
    # Directions that are small in X may be less exact, but not lost: they may yet grow.
    ratio = jnp.maximum(whole / goal.tolerance, directions / jnp.sqrt(goal.tolerance))
    finite = jnp.isfinite(ratio)
    accept = enabled & finite & (ratio <= 1)
    safe = jnp.where(finite, jnp.maximum(ratio, 1e-6), 1e9)
    factor = jnp.clip(_SAFETY * safe ** (-1 / 3), _SMALLEST_FACTOR, _LARGEST_FACTOR)
    time = jnp.where(last, stop, state.time + step)
    proposed = step * factor
    # A step cut short by a stop says nothing against the length that was wanted.
    proposed = jnp.where(accept & last, jnp.maximum(proposed, wanted), proposed)
    # No longer than the time so far: windows of log time must see what the flow does.
    so_far = goal.shortening * time
    proposed = jnp.where(accept, jnp.minimum(proposed, jnp.maximum(so_far, step)), proposed)

    counts = Counts(
        state.counts.accepted + accept.astype(jnp.int32),
        state.counts.rejected + (enabled & ~accept).astype(jnp.int32),
        state.counts.evaluations + stages,
    )
    at, slope = jax.tree.map(
        lambda a, b: jnp.where(accept, a, b), (at, slope), (state.at, state.slope)
    )
    tried = counts.accepted + counts.rejected
    look = enabled & (~accept | (tried % _STEPS_BETWEEN == 0))
    iterations = jnp.where(look, _ITERATIONS, 0).astype(jnp.int32)
    mode, radius = spectral_radius(term, at.factor, state.mode, state.radius, iterations)
    radius = jnp.where(look, _RADIUS_MARGIN * radius, state.radius)
    counts = eqx.tree_at(lambda c: c.evaluations, counts, counts.evaluations + 2 * iterations)

    force = -slope.dual
    window = advance_window(state.window, time, at.factor, force)
    rest = rest_of(term, goal, window, time, at, force, accept & free)
    small = jnp.sum(at.factor**2) <= goal.vanished
    shrinking = jnp.linalg.norm(at.factor) <= jnp.linalg.norm(state.factor)
    diverged = jnp.log(time) - window.growth_since >= _DIVERGED
    kept = _keep(state.kept, at, time, accept)
    trail = state.trail
    # Out-of-bounds indices are dropped by `set`, and so are rejected steps.
    place = jnp.where(accept, trail.count, trail.step.shape[0])
    trail = Trail(
        trail.step.at[place].set(step, mode="drop"),
        trail.stages.at[place].set(stages, mode="drop"),
        trail.saved.at[place].set(kept.count, mode="drop"),
        trail.first_saved,
        trail.count + accept.astype(jnp.int32),
    )
    return ExplicitState(
        time=jnp.where(accept, time, state.time),
        step=jnp.where(enabled, proposed, state.step),
        at=at,
        slope=slope,
        mode=mode,
        radius=radius,
        window=jax.tree.map(lambda a, b: jnp.where(accept, a, b), window, state.window),
        emergent=jnp.where(accept, rest.emergent, state.emergent),
        kept=kept,
        trail=trail,
        counts=counts,
        arrived=state.arrived | (accept & last & (time >= goal.t1)) | rest.arrived,
        stationary=state.stationary | rest.stationary,
        vanished=state.vanished | (accept & free & small & shrinking & weakly_stable),
        diverges=state.diverges | (accept & free & diverged),
        failed=state.failed
        | (enabled & ~accept & (proposed <= jnp.maximum(4 * eps * state.time, tiny))),
    )


def run_explicitly(
    term: CongruenceTerm,
    solver: RungeKuttaChebyshev,
    factor: Float[Array, "n d"],
    goal: Goal,
    save_ts: Float[Array, " k"],
    enabled: Bool[Array, ""],
) -> ExplicitState:
    """Integrate until the goal or an obstacle is reached.

    Args:
        term: the flow.
        solver: its options.
        factor: U at time zero.
        goal: what to reach.
        save_ts: times to save at, increasing.
        enabled: where false, nothing is done.

    Returns:
        The last state.
    """
    state = first_state(term, solver, factor, goal, save_ts)
    n = factor.shape[0]
    everywhere = jnp.cos(1 + jnp.arange(n, dtype=factor.dtype))
    force = term.residual(term.predict(jnp.zeros_like(factor)))
    field = lanczos(lambda v: term.adjoint_times(force, v[:, None])[:, 0], everywhere)
    weakly_stable = field.lowest >= -1e3 * jnp.finfo(factor.dtype).eps * field.largest

    # What the first run needs for its save times, all need, and more of it.
    forced = (save_ts.shape[0] * (1 / goal.shortening - 1)).astype(jnp.int32)
    most = goal.max_steps + forced

    def proceed(state: ExplicitState) -> Bool[Array, ""]:
        tried = state.counts.accepted + state.counts.rejected
        return enabled & ~state.ended & ~state.failed & (tried < most)

    def advance(state: ExplicitState) -> ExplicitState:
        return _advance(term, solver, goal, weakly_stable, state)

    return jax.lax.while_loop(proceed, advance, state)
