"""The flow at prescribed times, from the collocation polynomial of each step."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..linalg import GradedFactor, propagate
from ._congruence_term import CongruenceTerm
from ._tableau import exponent_weights, partial_weights


class Saved(eqx.Module):
    """Graded factors and duals at the save times reached so far."""

    times: Float[Array, " k"]
    graded: GradedFactor
    duals: Float[Array, "k m"]
    count: Int[Array, ""]


def nothing_saved(
    times: Float[Array, " k"], graded: GradedFactor, dual: Float[Array, " m"]
) -> Saved:
    """Buffers for every save time, all nan.

    Args:
        times: increasing.
        graded: a factor, for its shape.
        dual: a dual, for its shape.

    Returns:
        The buffers.
    """
    k = times.shape[0]
    empty = jax.tree.map(lambda x: jnp.full((k, *x.shape), jnp.nan, x.dtype), (graded, dual))
    return Saved(times, empty[0], empty[1], jnp.zeros((), jnp.int32))


def store(saved: Saved, graded: GradedFactor, dual: Float[Array, " m"]) -> Saved:
    """Write the next entry.

    Args:
        saved: the buffers.
        graded: the factor at the next save time.
        dual: the dual there.

    Returns:
        The buffers.
    """
    buffers = jax.tree.map(
        lambda buffer, x: buffer.at[saved.count].set(x),
        (saved.graded, saved.duals),
        (graded, dual),
    )
    return Saved(saved.times, buffers[0], buffers[1], saved.count + 1)


def due(saved: Saved, time: Float[Array, ""]) -> Bool[Array, ""]:
    """Whether a save time at or before `time` is still to be served."""
    k = saved.times.shape[0]
    next_time = saved.times[jnp.minimum(saved.count, k - 1)]
    return (saved.count < k) & (next_time <= time)


def save_step(
    term: CongruenceTerm,
    saved: Saved,
    graded: GradedFactor,
    dual: Float[Array, " m"],
    time: Float[Array, ""],
    step: Float[Array, ""],
    residuals: Float[Array, "3 m"],
    *,
    enabled: Bool[Array, ""],
    spread: float,
) -> Saved:
    """Serve the save times within one accepted step.

    Args:
        term: the flow.
        saved: the buffers.
        graded: the factor at the start of the step.
        dual: the dual there.
        time: the time there.
        step: h.
        residuals: collocation values of the step.
        enabled: where false, nothing is done.
        spread: see `implicit_flow.linalg.propagate`.

    Returns:
        The buffers.
    """
    if saved.times.shape[0] == 0:
        return saved

    def body(saved: Saved) -> Saved:
        share = jnp.clip((saved.times[saved.count] - time) / step, 0.0, 1.0)
        parts = jax.vmap(term.adjoint)(-step * (exponent_weights(share) @ residuals))
        inside = propagate(graded, parts, enabled=enabled, spread=spread, together=term.together)
        return store(saved, inside, dual - step * (partial_weights(share) @ residuals))

    return jax.lax.while_loop(lambda s: enabled & due(s, time + step), body, saved)


def fill(
    saved: Saved,
    graded: GradedFactor,
    dual: Float[Array, " m"],
    force: Float[Array, " m"],
    time: Float[Array, ""],
    at_rest: Bool[Array, ""],
) -> Saved:
    """Serve save times after the flow came to rest.

    Args:
        saved: the buffers.
        graded: the factor at the end.
        dual: the dual there.
        force: r there.
        time: the time there.
        at_rest: where false, entries that were not reached stay nan.

    Returns:
        The buffers.
    """
    if saved.times.shape[0] == 0:
        return saved

    def body(saved: Saved) -> Saved:
        elapsed = saved.times[saved.count] - time
        return store(saved, graded, dual - elapsed * force)

    k = saved.times.shape[0]
    return jax.lax.while_loop(lambda s: at_rest & (s.count < k), body, saved)
