"""Derivatives of a whole integration, forward and in reverse, from the record of its steps."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..linalg import (
    GradedFactor,
    GradedTangent,
    component_tangent,
    factor_tangent,
    split,
)
from ._branch import propagate_tangent
from ._path import Inputs, Path
from ._record import Entry, Record, read
from ._start import Start
from ._step_derivative import (
    StageSolver,
    exponentials,
    full_weights,
    stage_defect,
    weighted_exponents,
)
from ._tableau import WEIGHTS, exponent_weights, partial_weights


class History(eqx.Module):
    """A recorded integration."""

    inputs: Inputs
    begin: Start
    record: Record
    end: Path
    time: Float[Array, ""]
    served: Int[Array, ""]
    spread: float = eqx.field(static=True)


def _velocity(inputs: Inputs, force: Float[Array, " m"], graded: GradedFactor) -> GradedTangent:
    """The tangent of the flow itself: dU/dt = -A*(r) U."""
    return split(-inputs.term.adjoint_times(force, graded.basis), graded)


def start_tangent(history: History, tangents: Inputs) -> GradedTangent:
    """The tangent of the initial factor, linear in `tangents`.

    Args:
        history: the integration.
        tangents: of its inputs.

    Returns:
        The tangent.
    """
    graded = history.begin.graded
    inputs = history.inputs
    # U = sqrt(alpha) frame rotation has the columns exp(log_scale) basis.
    scale = jnp.where(
        graded.log_scale > -1e29, jnp.exp(0.5 * inputs.log_alpha - graded.log_scale), 0.0
    )
    motion = (tangents.frame @ history.begin.rotation) * scale[None, :]
    turned = split(motion, graded)
    growth = 0.5 * tangents.log_alpha * jnp.eye(graded.log_scale.shape[0], dtype=scale.dtype)
    return GradedTangent(turned.turn, turned.shear + growth)


class StepMaps(eqx.Module):
    """The linear maps of one recorded step, ready to be applied or transposed."""

    defect: Callable
    generators: Callable
    solver: StageSolver
    entry: Entry
    powers: Any


def step_maps(history: History, entry: Entry) -> StepMaps:
    """The linear maps of one recorded step.

    Args:
        history: the integration.
        entry: the step.

    Returns:
        `defect(k, U, term)` and `generators(k, term)`, to first order about the step.
    """
    static = eqx.filter(history.inputs.term, eqx.is_inexact_array, inverse=True)
    powers = exponentials(
        history.inputs.term, entry, full_weights(entry.step.dtype), history.spread
    )

    def defect(residuals, factor, dynamic):
        term = eqx.combine(dynamic, static)
        return stage_defect(term, residuals, factor, entry, powers)

    def generators(residuals, dynamic):
        term = eqx.combine(dynamic, static)
        weights = full_weights(entry.step.dtype)
        return powers.generators(weighted_exponents(term, residuals, entry.step, weights))

    solver = StageSolver.build(history.inputs.term, entry)
    return StepMaps(defect, generators, solver, entry, powers)


def save_maps(history: History, entry: Entry, index: Int[Array, ""]) -> tuple[Any, Callable]:
    """The exponentials up to a save time within a step, and their linear map.

    Args:
        history: the integration.
        entry: the step.
        index: which save time.

    Returns:
        The exponentials, and `generators(k, term)`.
    """
    static = eqx.filter(history.inputs.term, eqx.is_inexact_array, inverse=True)
    share = jnp.clip((history.inputs.save_ts[index] - entry.time) / entry.step, 0.0, 1.0)
    weights = exponent_weights(share)
    powers = exponentials(history.inputs.term, entry, weights, history.spread)

    def generators(residuals, dynamic):
        term = eqx.combine(dynamic, static)
        return powers.generators(weighted_exponents(term, residuals, entry.step, weights))

    return powers, generators


def save_share(history: History, entry: Entry, index: Int[Array, ""]) -> Float[Array, " 3"]:
    """Weights of the integral of r up to a save time.

    Args:
        history: the integration.
        entry: the step.
        index: which save time.

    Returns:
        The weights, multiplied by the step.
    """
    share = jnp.clip((history.inputs.save_ts[index] - entry.time) / entry.step, 0.0, 1.0)
    return entry.step * partial_weights(share)


class Carried(eqx.Module):
    """Tangents after the steps so far, and at the save times they served."""

    state: GradedTangent
    force: Float[Array, " m"]
    dual: Float[Array, " m"]
    saved: GradedTangent
    duals: Float[Array, "k m"]


def first_carried(history: History, tangents: Inputs) -> Carried:
    """The tangents before the first step.

    Args:
        history: the integration.
        tangents: of its inputs.

    Returns:
        The tangents.
    """
    state = start_tangent(history, tangents)
    force = jnp.zeros_like(history.end.force)
    k = history.inputs.save_ts.shape[0]
    blank = jax.tree.map(lambda x: jnp.zeros((k, *x.shape), x.dtype), state)
    return Carried(state, force, force, blank, jnp.zeros((k, *force.shape), force.dtype))


def push_forward(history: History, tangents: Inputs) -> Path:
    """The tangent of the path.

    Args:
        history: the recorded integration.
        tangents: of its inputs, zeros where there is none.

    Returns:
        The tangent.
    """
    dynamic = eqx.filter(history.inputs.term, eqx.is_inexact_array)
    velocity = eqx.filter(tangents.term, eqx.is_inexact_array)
    always = jnp.ones((), bool)

    def step(indexed: tuple[Array, Carried]) -> tuple[Array, Carried]:
        place, carry = indexed
        entry = read(history.record, history.end.graded, history.served, place)
        maps = step_maps(history, entry)
        factor = jnp.where(entry.linear, 0.0, entry.graded.factor)
        moved = jnp.where(entry.linear, 0.0, factor_tangent(entry.graded, carry.state))
        _, change = jax.jvp(
            lambda u, d: maps.defect(entry.residuals, u, d), (factor, dynamic), (moved, velocity)
        )
        _, jacobian = jax.linearize(lambda r: maps.defect(r, factor, dynamic), entry.residuals)
        residuals = -maps.solver.solve(jacobian, change)
        at, along = (entry.residuals, dynamic), (residuals, velocity)
        _, generators = jax.jvp(maps.generators, at, along)

        def save(inner):
            index, saved, duals = inner
            powers, partial = save_maps(history, entry, index)
            _, parts = jax.jvp(partial, at, along)
            _, tangent = propagate_tangent(entry.graded, carry.state, powers.parts, parts, always)
            saved = jax.tree.map(lambda b, x: b.at[index].set(x), saved, tangent)
            dual = carry.dual - save_share(history, entry, index) @ residuals
            return index + 1, saved, duals.at[index].set(dual)

        saved, duals = carry.saved, carry.duals
        if duals.shape[0] > 0:
            _, saved, duals = jax.lax.while_loop(
                lambda c: c[0] < entry.saved_after, save, (entry.saved, saved, duals)
            )
        _, state = propagate_tangent(
            entry.graded, carry.state, maps.powers.parts, generators, always
        )
        dual = carry.dual - entry.step * (jnp.asarray(WEIGHTS, entry.step.dtype) @ residuals)
        return place + 1, Carried(state, residuals[2], dual, saved, duals)

    first = (jnp.zeros((), jnp.int32), first_carried(history, tangents))
    _, last = jax.lax.while_loop(lambda c: c[0] < history.record.count, step, first)
    return finish(history, tangents, last)


def finish(history: History, tangents: Inputs, last: Carried) -> Path:
    """Components of the final tangents, and the motion of the end and of save times.

    Args:
        history: the integration.
        tangents: of its inputs.
        last: what the steps have carried to the end.

    Returns:
        The tangent of the path, linear in both.
    """
    end = history.end
    inputs = history.inputs
    moves = jnp.isfinite(inputs.t1)
    velocity = _velocity(inputs, end.force, end.graded)
    state = jax.tree.map(
        lambda x, v: x + jnp.where(moves, tangents.t1, 0.0) * v, last.state, velocity
    )
    dual = last.dual - jnp.where(moves, tangents.t1, 0.0) * end.force

    def at_save(index, tangent, graded, dual, time_tangent):
        inside = index < history.served
        tangent = jax.tree.map(lambda a, b: jnp.where(inside, a, b), tangent, last.state)
        force = inputs.term.residual(inputs.term.predict(graded.factor))
        velocity = _velocity(inputs, force, graded)
        tangent = jax.tree.map(lambda x, v: x + time_tangent * v, tangent, velocity)
        elapsed = inputs.save_ts[index] - history.time
        rest = last.dual - elapsed * last.force
        dual = jnp.where(inside, dual, rest) - time_tangent * force
        return component_tangent(graded, tangent), dual

    k = inputs.save_ts.shape[0]
    if k == 0:
        saved = jax.tree.map(jnp.zeros_like, end.saved)
        return Path(component_tangent(end.graded, state), last.force, dual, saved, last.duals)
    saved, duals = jax.vmap(at_save)(
        jnp.arange(k, dtype=jnp.int32), last.saved, end.saved, last.duals, tangents.save_ts
    )
    return Path(component_tangent(end.graded, state), last.force, dual, saved, duals)
