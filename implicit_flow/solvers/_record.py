"""What the derivative of an integration needs to know of it: every accepted step."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..linalg import GradedFactor


class Record(eqx.Module):
    """Accepted steps: where each began, how long it was, and its collocation values.

    `linear` marks steps of constant force, whose residuals are r(0). `saved` counts the save times
    served before the step.
    """

    graded: GradedFactor
    step: Float[Array, " r"]
    residuals: Float[Array, "r 3 m"]
    linear: Bool[Array, " r"]
    saved: Int[Array, " r"]
    time: Float[Array, " r"]
    count: Int[Array, ""]


def empty_record(graded: GradedFactor, force: Float[Array, " m"], capacity: int) -> Record:
    """Buffers for a number of steps.

    Args:
        graded: a factor, for its shape.
        force: a residual, for its shape.
        capacity: how many steps.

    Returns:
        The buffers.
    """

    def buffer(x):
        return jnp.zeros((capacity, *x.shape), x.dtype)

    return Record(
        graded=jax.tree.map(buffer, graded),
        step=jnp.zeros((capacity,), force.dtype),
        residuals=jnp.zeros((capacity, 3, force.shape[0]), force.dtype),
        linear=jnp.zeros((capacity,), bool),
        saved=jnp.zeros((capacity,), jnp.int32),
        time=jnp.zeros((capacity,), force.dtype),
        count=jnp.zeros((), jnp.int32),
    )


def write(
    record: Record | None,
    graded: GradedFactor,
    step: Float[Array, ""],
    residuals: Float[Array, "3 m"],
    saved: Int[Array, ""],
    time: Float[Array, ""],
    *,
    linear: Bool[Array, ""],
    enabled: Bool[Array, ""],
) -> Record | None:
    """Append a step; one that does not fit is counted and dropped.

    Args:
        record: the buffers, or None where nothing is recorded.
        graded: the factor at the start of the step.
        step: its length.
        residuals: its collocation values.
        saved: save times served before it.
        time: the time at its start.
        linear: whether the force was constant.
        enabled: where false, nothing is written.

    Returns:
        The buffers.
    """
    if record is None:
        return None
    capacity = record.step.shape[0]
    # Out-of-bounds indices are dropped by `set`, and so are disabled writes.
    place = jnp.where(enabled, record.count, capacity)

    def put(buffer, x):
        return buffer.at[place].set(x, mode="drop")

    return Record(
        graded=jax.tree.map(put, record.graded, graded),
        step=put(record.step, step),
        residuals=put(record.residuals, residuals),
        linear=put(record.linear, linear),
        saved=put(record.saved, saved),
        time=put(record.time, time),
        count=record.count + enabled.astype(jnp.int32),
    )


class Entry(eqx.Module):
    """One recorded step, and the factor it led to."""

    graded: GradedFactor
    after: GradedFactor
    step: Float[Array, ""]
    residuals: Float[Array, "3 m"]
    linear: Bool[Array, ""]
    saved: Int[Array, ""]
    saved_after: Int[Array, ""]
    time: Float[Array, ""]


def read(record: Record, end: GradedFactor, served: Int[Array, ""], index: Array) -> Entry:
    """One step of a record.

    Args:
        record: the buffers.
        end: the factor after the last step.
        served: save times served within steps.
        index: which step.

    Returns:
        The step.
    """
    last = index + 1 >= record.count
    following = jnp.minimum(index + 1, record.step.shape[0] - 1)
    after = jax.tree.map(
        lambda buffer, x: jnp.where(last, x, buffer[following]), record.graded, end
    )
    return Entry(
        graded=jax.tree.map(lambda buffer: buffer[index], record.graded),
        after=after,
        step=record.step[index],
        residuals=record.residuals[index],
        linear=record.linear[index],
        saved=record.saved[index],
        saved_after=jnp.where(last, served, record.saved[following]),
        time=record.time[index],
    )
