"""The engine for stock Diffrax solvers: one integration, and the error of its result."""

import operator
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._compiled import compiled
from .._errors_along import errors_along
from .._results import RESULTS, select
from .._types import Residual, Scalar
from ..problems import Problem
from ._base import AbstractFlow, residual
from ._settled import settled, targets_met
from ._stationarity import Rest
from ._step_sizes import first_step, rms, slope_and_rounding, with_tolerances
from ._traced_once import TracedOnce


class Path(eqx.Module):
    """What an integration found.

    Attributes:
        unknown: X (n, n) or x (n,) at the end.
        residual: of the problem at the end, shape (m,).
        dual: s = minus the integral of the driving residual, shape (m,).
        time: at the end.
        saved: unknowns, residuals and duals at the times that were asked for, or None.
        error_estimate: of the unknown, relative, Frobenius.
        error_estimates: of the saved unknowns, or None.
        result: how it ended.
        stats: counts of steps.
    """

    unknown: Array
    residual: Residual
    dual: Residual
    time: Scalar
    saved: tuple[Array, Float[Array, "k m"], Float[Array, "k m"]] | None
    error_estimate: Scalar
    error_estimates: Float[Array, " k"] | None
    result: RESULTS
    stats: dict[str, Array]


# The step tolerance, as a share of the relative error of X that is asked for.
_STEP_SHARE = 1e-3
# Where its stability limits the steps of an explicit method, stiff directions go on trembling by
# the step tolerance, and their speed is what rest is judged by: t L times the tolerance, L the
# stiffness, has to lie below the drift of `Rest`. This share allows t L = 1e4.
_EXPLICIT_STEP_SHARE = 1e-5
# The companion run, from which the error is estimated, is this much coarser.
_COARSER = 30.0
# Up to so many steps it is as much finer instead, and takes half as long steps: the first few, and
# the last, are decided by how fast steps may grow and by the final time, in both runs alike.
_FEW = 32


# Compiled as a whole, so that a second call with other numbers compiles nothing.
@compiled
def integrate(
    problem: Problem,
    flow: AbstractFlow,
    solver: diffrax.AbstractSolver,
    *,
    log_alpha: Scalar,
    init: Any,
    t1: Scalar | None,
    rtol: Scalar,
    save_ts: Float[Array, " k"] | None,
    max_steps: int,
    adjoint: diffrax.AbstractAdjoint,
    progress: bool = False,
) -> Path:
    """Integrate a flow with a stock Diffrax solver, to `t1` or to rest.

    It is integrated twice: the second time with a tolerance 30 times coarser (finer, and with half
    as long steps, where these are few), and from a start with a seed 30 times the size of rounding,
    to the time at which the first one ended. The distance between the two bounds, by a wide margin,
    the truncation error of the first and what rounding did to it.

    Args:
        problem: to fit.
        flow: how the unknown moves.
        solver: a Diffrax solver for ordinary differential equations.
        log_alpha: natural logarithm of alpha.
        init: the parameter at scale one, or None.
        t1: the final time; None to integrate to rest.
        rtol: the relative error of X that is asked for.
        save_ts: increasing times at which to save, shape (k,), or None.
        max_steps: of the solver, for each of the two integrations.
        adjoint: how to differentiate through the integration.
        progress: draw a bar while integrating to a finite `t1`.

    Returns:
        The path.
    """
    dtype = problem.measurement.dtype
    epsilon, start = float(jnp.finfo(dtype).eps), flow.start(problem, log_alpha, init)
    explicit = not isinstance(solver, diffrax.AbstractImplicitSolver)
    rest = Rest.at(flow, problem, start, rtol, newton=not explicit)
    no_dual = jnp.zeros_like(problem.targets)
    unknown_of = lambda y: flow.unknown(y[0], problem)

    def saved(t: Any, y: Any, args: Any) -> Any:
        lost = jax.lax.stop_gradient(flow.lost(y[0], problem))
        return unknown_of(y), residual(problem, unknown_of(y)), y[1], lost

    def growing(t: Any, y: Any, args: Any) -> Any:
        X = unknown_of(y)
        return jnp.linalg.norm(X), rest.nearly_met(problem, X)

    def subs(until: Scalar) -> list[diffrax.SubSaveAt]:
        found = [diffrax.SubSaveAt(t1=True)]
        if save_ts is not None:
            # Up to t1 they are as given: a minimum has half a derivative where both are equal.
            times = jnp.minimum(save_ts, until) if t1 is None else save_ts
            found.append(diffrax.SubSaveAt(ts=times, fn=saved))
        if t1 is None:
            doublings = jax.lax.stop_gradient(rest.doublings())
            found.append(diffrax.SubSaveAt(ts=jnp.minimum(doublings, until), fn=growing))
        return found

    def at_rest(t: Any, y: Any, until: Any, **kwargs: Any) -> Any:
        # The companion has a time to end at, and only the other run looks for one.
        return jnp.isinf(until) & rest.any(flow, problem, t, y[0])

    slope, rounding = slope_and_rounding(flow, problem, start)
    # What is nan at the start is nan in every step, and would be rejected until none is left.
    possible = jax.lax.stop_gradient(_is_finite((start, slope)))
    save_ts = None if save_ts is None else jnp.where(possible, save_ts, 0)

    def run(tolerance: Scalar, start: Any, until: Scalar, longest: Scalar) -> diffrax.Solution:
        step_rtol, step_atol = flow.tolerances(tolerance, log_alpha)
        return diffrax.diffeqsolve(
            # A tree and not a closure, so that `TracedOnce` knows the same step again.
            diffrax.ODETerm(eqx.Partial(_field, flow, problem)),
            TracedOnce.of(with_tolerances(solver, step_rtol, step_atol, rounding), adjoint),
            t0=jnp.zeros((), dtype),
            t1=until,
            dt0=jnp.minimum(
                first_step(solver, step_rtol, step_atol, start, slope), jnp.minimum(until, longest)
            ),
            y0=(start, no_dual),
            args=until,
            saveat=diffrax.SaveAt(subs=subs(until)),
            stepsize_controller=diffrax.PIDController(
                step_rtol, step_atol, norm=_state_norm, dtmax=longest
            ),
            event=diffrax.Event(at_rest) if t1 is None else None,
            max_steps=max_steps,
            adjoint=adjoint,
            throw=False,
            progress_meter=diffrax.TextProgressMeter()
            if progress and t1 is not None
            else diffrax.NoProgressMeter(),
        )

    def is_few(sol: diffrax.Solution) -> Array:
        return jnp.asarray(sol.stats["num_steps"]) <= _FEW

    def each(before: Any, _: Any) -> tuple[Any, diffrax.Solution]:
        end, until, tolerance, longest = before
        seeded = flow.rounding_seed(start, end, 30 * epsilon)
        sol = run(tolerance, seeded, until, longest)
        (state, _), time = (leaf[0] for leaf in (_as_any(sol.ys), _as_any(sol.ts)))
        state = jax.tree.map(lambda leaf: leaf[-1], state)
        until = until if t1 is not None else jax.lax.stop_gradient(time[-1])
        half = jax.lax.stop_gradient(until) / (2 * jnp.maximum(sol.stats["num_steps"], 1))
        few = is_few(sol)
        other = jnp.where(few, jnp.maximum(tolerance / _COARSER, least), tolerance * _COARSER)
        return (state, until, other, jnp.where(few, half, jnp.inf).astype(dtype)), sol

    least = jnp.asarray(10 * epsilon, dtype)
    until = jnp.where(possible, jnp.asarray(jnp.inf if t1 is None else t1, dtype), 0)
    finest = jnp.maximum(rtol * (_EXPLICIT_STEP_SHARE if explicit else _STEP_SHARE), least)
    # A seed relative to the end, which the first run, seeded with nothing, has yet to find.
    first = (jax.tree.map(jnp.zeros_like, start), until, finest, jnp.full_like(until, jnp.inf))
    _, both = jax.lax.scan(each, first, length=2)
    sol, companion = (jax.tree.map(operator.itemgetter(k), both) for k in (0, 1))
    state, dual = _last(sol)
    time = _as_any(sol.ts)[0][-1]
    X = unknown_of((state, dual))
    # Two runs of the same few steps round alike: their distance does not show what X itself lost.
    # The finer companion of few steps errs too, by up to a quarter of the error for order 2.
    factor = jnp.where(is_few(sol), 2, 1).astype(dtype)
    unseen = flow.overlooked(dual, t1, problem) + jnp.asarray(16 * epsilon, dtype)
    error = _believed(factor * _distance(X, unknown_of(_last(companion))), _COARSER * finest)
    error = error + unseen + flow.lost(state, problem)
    result = select(possible, _ended(sol.result), RESULTS.nonfinite)
    reached = (possible & (RESULTS.promote(sol.result) == RESULTS.successful)) | (
        result == RESULTS.not_stationary
    )
    if t1 is None:
        result = rest.result(flow, problem, time, state, _as_any(sol.ys)[-1], result)
        error = error + rest.drifted(flow, problem, time, state)
    error = jnp.where(reached, error, jnp.inf)
    result = select(
        (result == RESULTS.successful) & ~(error <= rtol), RESULTS.tolerance_not_met, result
    )
    kept, errors, end = None, None, (X, residual(problem, X), dual)
    end, driving = _at_end(flow, problem, (state, time, t1), end, result, rtol)
    if save_ts is not None:
        kept, errors = _along(sol, companion, factor, unseen, end, error, save_ts, driving)
    return Path(
        unknown=end[0],
        residual=end[1],
        dual=end[2],
        time=time,
        saved=kept,
        error_estimate=jax.lax.stop_gradient(error),
        error_estimates=errors,
        result=result,
        stats=_counts(sol) | {"num_companion_steps": jnp.asarray(companion.stats["num_steps"])},
    )


def _at_end(
    flow: AbstractFlow, problem: Problem, at: Any, end: Any, result: RESULTS, rtol: Scalar
) -> tuple[Any, Residual]:
    """X, residual and dual at the end, and what drives the dual from there on."""
    state, time, t1 = at
    driving = flow.drive(time, state, problem)
    if t1 is not None:
        return end, driving
    met = targets_met(problem, end[0], result, rtol)
    ended = settled(flow, problem, state, end, met)
    # At rest nothing drives it, whatever the targets.
    return ended, jnp.where(met, jax.lax.stop_gradient(driving), driving)


def _is_finite(tree: Any) -> Bool[Array, ""]:
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(leaves))


def _counts(sol: diffrax.Solution) -> dict[str, Array]:
    names = ("num_steps", "num_accepted_steps", "num_rejected_steps")
    return {name: jnp.asarray(sol.stats[name]) for name in names}


def _believed(apart: Scalar, tolerance: Scalar) -> Scalar:
    """The distance of two runs, which may agree by chance: the likelier the coarser one is."""
    apart = jax.lax.stop_gradient(apart)
    return jnp.maximum(apart, jnp.sqrt(apart) * jnp.sqrt(tolerance))


def _along(
    sol: diffrax.Solution,
    companion: diffrax.Solution,
    factor: Scalar,
    unseen: Scalar,
    end: Any,
    error: Scalar,
    save_ts: Float[Array, " k"],
    driving: Residual,
) -> tuple[Any, Array]:
    """The saved path, and its errors from that of a companion run."""
    *path, lost = _as_any(sol.ys)[1]
    # Within a step the error rises with the distance from its start, which is relatively greater in
    # a shorter step: to half of it, for order 3 and a rise like its square.
    distances = 2 * factor * jax.vmap(_distance)(path[0], _as_any(companion.ys)[1][0])
    time = _as_any(sol.ts)[0][-1]
    errors = errors_along(distances, save_ts, rounding=unseen + lost, end=time, error=error)
    # At rest X has no speed, and the dual that of the residual it leaves.
    elapsed = jnp.maximum(save_ts - time, 0)
    last = (*(leaf[None] for leaf in end[:2]), end[2][None] - elapsed[:, None] * driving[None])
    return _continued(sol, tuple(path), last, errors)


def _last(sol: diffrax.Solution) -> Any:
    """State and dual at the end."""
    return jax.tree.map(lambda leaf: leaf[-1], _as_any(sol.ys)[0])


def _continued(sol: diffrax.Solution, path: Any, last: Any, errors: Array) -> tuple[Any, Array]:
    """The path, and its errors: past the time of rest it is `last`.

    What was not reached without coming to rest is nan, and its error infinite.
    """
    reached = jnp.isfinite(_as_any(sol.ts)[1])
    rest = RESULTS.promote(sol.result) == RESULTS.event_occurred
    continued = jax.tree.map(
        lambda leaf, end: jnp.where(
            reached.reshape((-1,) + (1,) * (leaf.ndim - 1)), leaf, jnp.where(rest, end, jnp.nan)
        ),
        path,
        last,
    )
    return continued, jnp.where(reached | rest, errors, jnp.inf)


def _field(flow: AbstractFlow, problem: Problem, t: Any, y: Any, args: Any) -> Any:
    # A step that is too long may go where nothing is finite. It is rejected, but differentiated all
    # the same, with weight zero: derivatives have to be finite there. A vector may be exponential
    # in the state; a matrix, which may cost more than the step, is not.
    told = flow.unknown(y[0], problem) if flow.is_vector else y[0]
    sizes = [jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(jax.lax.stop_gradient(told))]
    known = jnp.max(jnp.stack(sizes)) <= jnp.finfo(sizes[0].dtype).max ** 0.5
    state = jax.tree.map(lambda leaf: jnp.where(known, leaf, 0), y[0])
    r = flow.drive(t, state, problem)
    velocity = flow.velocity(state, r, problem)
    return jax.tree.map(lambda leaf: jnp.where(known, leaf, jnp.nan), (velocity, -r))


def _state_norm(y: Any) -> Scalar:
    """Steps are chosen for the state; the dual is a plain integral along it."""
    return rms(y[0])


def _distance(X: Array, Y: Array) -> Scalar:
    size = jnp.linalg.norm(X)
    return jnp.where(size > 0, jnp.linalg.norm(X - Y) / jnp.where(size > 0, size, 1), 0)


def _as_any(value: Any) -> Any:
    """Diffrax types what it saved as optional; here something always is."""
    return value


def _ended(result: Any) -> RESULTS:
    """Diffrax's result in our enumeration: an event is rest, which is judged separately."""
    promoted = RESULTS.promote(result)
    return select(promoted == RESULTS.event_occurred, RESULTS.not_stationary, promoted)
