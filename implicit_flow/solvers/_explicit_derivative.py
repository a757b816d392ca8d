"""Derivatives of an explicit integration, from the lengths and stages of its accepted steps."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ._chebyshev import Coefficients, Motion, Recurrence, chebyshev_step, velocity
from ._congruence_term import CongruenceTerm
from ._explicit_state import Trail


class Travelled(eqx.Module):
    """U and the dual at the end and at the save times."""

    end: Motion
    kept: Motion


class Journey(eqx.Module):
    """A term and a start, and the steps that were taken from it."""

    term: CongruenceTerm
    start: Float[Array, "n d"]
    trail: Trail
    max_stages: int = eqx.field(static=True)


@jax.custom_jvp
def _once(tree: PyTree) -> PyTree:
    return tree


@_once.defjvp
def _once_jvp(primals, tangents):
    raise NotImplementedError(
        "Argument `solver` must be a solver with second derivatives, but is RungeKuttaChebyshev. "
        "Its derivative replays the recorded steps and cannot be differentiated again. Use "
        "`jax.jacfwd` twice through a stock Diffrax solver with `adjoint=diffrax.ForwardMode()`, "
        "or differences of first derivatives."
    )


def _add(first: PyTree, second: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: a + b, first, second)


def _scaled(weight: Float[Array, ""], tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: weight * x, tree)


def _origin(journey: Journey, example: Travelled) -> Motion:
    return Motion(journey.start, jnp.zeros_like(example.end.dual))


def push_forward(
    journey: Journey, example: Travelled, moved: CongruenceTerm, turned: Float[Array, "n d"]
) -> Travelled:
    """The tangent of where the steps lead.

    Args:
        journey: the steps.
        example: where they led, for its shapes.
        moved: tangent of the arrays of the term.
        turned: tangent of the start.

    Returns:
        The tangent.
    """
    dynamic, static = eqx.partition(journey.term, eqx.is_inexact_array)
    trail = journey.trail

    def step(carry):
        index, at, tangent, kept = carry

        def move(dynamic, at):
            term = eqx.combine(dynamic, static)
            slope = velocity(term, at.factor)
            return chebyshev_step(term, at, slope, trail.step[index], trail.stages[index])

        at, tangent = jax.jvp(move, (dynamic, at), (moved, tangent))
        return index + 1, at, tangent, _store(kept, tangent, trail, index)

    origin = _origin(journey, example)
    tangent = Motion(turned, jnp.zeros_like(origin.dual))
    kept = jax.tree.map(jnp.zeros_like, example.kept)
    kept = _store(kept, tangent, trail, jnp.asarray(-1, jnp.int32))
    first = (jnp.zeros((), jnp.int32), origin, tangent, kept)
    _, _, tangent, kept = jax.lax.while_loop(lambda c: c[0] < trail.count, step, first)
    return Travelled(tangent, kept)


def _served(trail: Trail, index: Int[Array, ""]) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """The save times that a step served, as a range; -1 stands for the start."""
    after = jnp.where(index < 0, trail.first_saved, trail.saved[index])
    before = jnp.where(index <= 0, trail.first_saved, trail.saved[index - 1])
    return jnp.where(index < 0, 0, before), after


def _store(kept: Motion, motion: Motion, trail: Trail, index: Int[Array, ""]) -> Motion:
    """Write a motion at the save times that a step served."""
    k = kept.dual.shape[0]
    if k == 0:
        return kept
    begin, end = _served(trail, index)
    place = jnp.arange(k, dtype=jnp.int32)
    here = (place >= begin) & (place < end)
    return jax.tree.map(
        lambda b, x: jnp.where(here.reshape((-1,) + (1,) * x.ndim), x[None], b), kept, motion
    )


def _collect(kept: Motion, trail: Trail, index: Int[Array, ""]) -> Motion:
    """The transpose of `_store`: the sum over the save times that a step served."""
    k = kept.dual.shape[0]
    begin, end = _served(trail, index)
    place = jnp.arange(k, dtype=jnp.int32)
    here = (place >= begin) & (place < end)
    return jax.tree.map(
        lambda b: jnp.sum(jnp.where(here.reshape((-1,) + (1,) * (b.ndim - 1)), b, 0), axis=0), kept
    )


def _pull_step(
    journey: Journey, at: Motion, index: Int[Array, ""], cotangent: Motion
) -> tuple[Motion, CongruenceTerm]:
    """The transpose of one step: the cotangents of its start and of the arrays of the term."""
    dynamic, static = eqx.partition(journey.term, eqx.is_inexact_array)
    step, stages = journey.trail.step[index], journey.trail.stages[index]

    def field(dynamic, factor):
        return velocity(eqx.combine(dynamic, static), factor)

    # The stages once more, this time kept.
    recurrence = Recurrence.of(stages, step.dtype)
    first = recurrence.first
    slope = field(dynamic, at.factor)
    zero = jnp.zeros((journey.max_stages + 1,), step.dtype)
    coefficients = Coefficients(zero, zero, zero, zero)
    states = jnp.zeros((journey.max_stages + 1, *at.factor.shape), step.dtype)
    start = at.factor
    reached = start + step * first * slope.factor
    states = states.at[0].set(start).at[1].set(reached)

    def forward(carry):
        index, recurrence, coefficients, states = carry
        k, recurrence = recurrence.advance()
        coefficients = jax.tree.map(lambda b, x: b.at[index].set(x), coefficients, k)
        last = states[index - 1]
        new = (1 - k.mu - k.nu) * start + k.mu * last + k.nu * states[index - 2]
        new = new + step * (k.a * field(dynamic, last).factor + k.c * slope.factor)
        return index + 1, recurrence, coefficients, states.at[index].set(new)

    carry = (jnp.full_like(stages, 2), recurrence, coefficients, states)
    _, _, coefficients, states = jax.lax.while_loop(lambda c: c[0] <= stages, forward, carry)

    nothing = jax.tree.map(jnp.zeros_like, cotangent)

    def backward(carry):
        index, here, before, origin, slope, term = carry
        k = jax.tree.map(lambda b: b[index], coefficients)
        _, pull = jax.vjp(field, dynamic, states[index - 1])
        more, turned = pull(_scaled(step * k.a, here))
        below = _add(before, _scaled(k.mu, here))
        below = eqx.tree_at(lambda m: m.factor, below, below.factor + turned)
        return (
            index - 1,
            below,
            _scaled(k.nu, here),
            _add(origin, _scaled(1 - k.mu - k.nu, here)),
            _add(slope, _scaled(step * k.c, here)),
            _add(term, more),
        )

    none = jax.tree.map(jnp.zeros_like, dynamic)
    carry = (stages, cotangent, nothing, nothing, nothing, none)
    _, here, before, origin, slope_bar, term = jax.lax.while_loop(
        lambda c: c[0] >= 2, backward, carry
    )
    origin = _add(_add(origin, before), here)
    slope_bar = _add(slope_bar, _scaled(step * first, here))
    _, pull = jax.vjp(field, dynamic, start)
    more, turned = pull(slope_bar)
    return Motion(origin.factor + turned, origin.dual), _add(term, more)


def pull_back(
    journey: Journey, example: Travelled, cotangents: Travelled
) -> tuple[CongruenceTerm, Float[Array, "n d"]]:
    """The transpose of `push_forward`.

    Args:
        journey: the steps.
        example: where they led, for its shapes.
        cotangents: of where they led.

    Returns:
        The cotangents of the arrays of the term, and of the start.
    """
    dynamic = eqx.filter(journey.term, eqx.is_inexact_array)
    trail = journey.trail
    origin = _origin(journey, example)
    capacity = trail.step.shape[0]
    states = jnp.zeros((capacity, *origin.factor.shape), origin.dual.dtype)

    def forward(carry):
        index, at, states = carry
        states = states.at[index].set(at.factor)
        slope = velocity(journey.term, at.factor)
        at = chebyshev_step(journey.term, at, slope, trail.step[index], trail.stages[index])
        return index + 1, at, states

    first = (jnp.zeros((), jnp.int32), origin, states)
    # A journey longer than its record is answered with nan elsewhere.
    count = jnp.minimum(trail.count, capacity)
    _, _, states = jax.lax.while_loop(lambda c: c[0] < count, forward, first)

    def backward(carry):
        index, cotangent, term = carry
        index = index - 1
        cotangent = _add(cotangent, _collect(cotangents.kept, trail, index))
        at = Motion(states[index], origin.dual)
        cotangent, more = _pull_step(journey, at, index, cotangent)
        return index, cotangent, _add(term, more)

    none = jax.tree.map(jnp.zeros_like, dynamic)
    carry = (count, cotangents.end, none)
    _, cotangent, term = jax.lax.while_loop(lambda c: c[0] > 0, backward, carry)
    cotangent = _add(cotangent, _collect(cotangents.kept, trail, jnp.asarray(-1, jnp.int32)))
    return term, cotangent.factor


@eqx.filter_custom_jvp
def differentiable_journey(
    term: CongruenceTerm,
    start: Float[Array, "n d"],
    found: Travelled,
    trail: Trail,
    max_stages: Int[Array, ""] | int,
) -> Travelled:
    """Where the steps led, with its derivatives by the term and the start.

    Args:
        term: the flow.
        start: U at time zero.
        found: where the steps led.
        trail: the steps.
        max_stages: of one step.

    Returns:
        `found`.
    """
    del term, start, trail, max_stages
    return found


@differentiable_journey.def_jvp
def _differentiable_journey_jvp(primals, tangents):
    term, start, found, trail, max_stages = primals
    dynamic, static = eqx.partition(term, eqx.is_inexact_array)
    dynamic, start = _once((dynamic, start))
    journey = Journey(eqx.combine(dynamic, static), start, trail, max_stages)

    def given(x, tangent):
        return tangent if tangent is not None or x is None else jnp.zeros_like(x)

    moved = jax.tree.map(
        given, (dynamic, start), (tangents[0], tangents[1]), is_leaf=lambda x: x is None
    )
    present = [t for t in jax.tree.leaves((tangents[0], tangents[1])) if t is not None]
    anchor = jnp.stack([jnp.sum(t) for t in present]).sum()
    # The one linear map of JAX with a transpose of the user's own that may be batched is the
    # solution of a linear system; here of the identity on pairs (inputs, path).
    nothing = jax.tree.map(jnp.zeros_like, moved)
    nowhere = jax.tree.map(jnp.zeros_like, found)
    right = jax.tree.map(lambda x: x + 0 * anchor.astype(x.dtype), (moved, nowhere))

    def solve(_, pair):
        return nothing, push_forward(journey, found, *pair[0])

    def transpose_solve(_, pair):
        return pull_back(journey, found, pair[1]), nowhere

    _, tangent = jax.lax.custom_linear_solve(lambda pair: pair, right, solve, transpose_solve)
    # Multiplied, so that the transpose is nan too where steps are missing.
    complete = jnp.where(trail.count <= trail.step.shape[0], 1.0, jnp.nan)
    return found, jax.tree.map(lambda x: x * complete.astype(x.dtype), tangent)
