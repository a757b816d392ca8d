"""Integers that come from the input: a table look-up is a layer on a one-hot input."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ._values import Choice, Fixed, Signal, Value, Weight
from ._weight_rules import names_of


if TYPE_CHECKING:
    from ._reader import Reader


def apply_choice(reader: "Reader", eqn: Any, values: list[Value]) -> list[Value]:
    """Reads an equation in which at least one operand is an integer from the input.

    Args:
        reader: the reader.
        eqn: the equation.
        values: its operands.

    Returns:
        Its results.
    """
    name = eqn.primitive.name
    outs = [out.aval for out in eqn.outvars]
    if not any(jnp.issubdtype(out.dtype, jnp.inexact) for out in outs):
        return [Choice(out.shape) for out in outs]
    if name == "convert_element_type":
        return [Signal(jnp.ones(outs[0].shape, reader.dtype))]
    if name == "select_n":
        return [_any_of(reader, values[1:])]
    lookup = {"gather": _gather, "dynamic_slice": _dynamic_slice}.get(name)
    if lookup is not None and isinstance(values[0], Fixed | Weight):
        table = reader.share(values[0])
        size = lookup(eqn, table, values[1:])
        if size is not None:
            return [Signal(size, names_of(values))]
    reader.refuse(
        reader.operation(name),
        "an operation on integers that come from the input",
        names_of(values),
    )
    return [Signal(jnp.ones(out.shape, reader.dtype)) for out in outs]


def _any_of(reader: "Reader", cases: Sequence[Value]) -> Signal:
    """Any case may be taken: the sum (a guard against invalid indices adds a constant)."""
    sizes = [reader.as_signal(case).size for case in cases if not isinstance(case, Fixed)]
    sizes += [reader.constant(case) for case in cases if isinstance(case, Fixed)]
    return Signal(sum(sizes[1:], sizes[0]), names_of(cases))


def _gather(eqn: Any, table: Array, indices: Sequence[Value]) -> Array | None:
    del indices
    numbers, slices = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    if numbers.operand_batching_dims:
        return None
    chosen = [axis for axis, size in enumerate(slices) if size < table.shape[axis]]
    if any(slices[axis] != 1 for axis in chosen):
        return None
    collapsed = tuple(numbers.collapsed_slice_dims)
    total = jnp.sum(table, axis=tuple(chosen), keepdims=True)
    total = jnp.squeeze(total, axis=collapsed)
    return lax.broadcast_in_dim(total, eqn.outvars[0].aval.shape, numbers.offset_dims)


def _dynamic_slice(eqn: Any, table: Array, indices: Sequence[Value]) -> Array | None:
    del indices
    slices = eqn.params["slice_sizes"]
    chosen = [axis for axis, size in enumerate(slices) if size < table.shape[axis]]
    if any(slices[axis] != 1 for axis in chosen):
        return None
    return jnp.sum(table, axis=tuple(chosen), keepdims=True)
