"""What the program does to parameters before they meet a signal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._reader import bind
from ._values import Fixed, Value, Weight


if TYPE_CHECKING:
    from ._reader import Reader


# Operations that only move entries about: they do the same to |w|^p as to w.
REARRANGEMENTS = frozenset(
    [
        "reshape",
        "squeeze",
        "expand_dims",
        "broadcast_in_dim",
        "transpose",
        "rev",
        "slice",
        "copy",
        "copy_p",
        "dynamic_slice",
        "gather",
        "concatenate",
        "pad",
        "dynamic_update_slice",
        "scatter",
        "select_n",
        "split",
        "sharding_constraint",
        "optimization_barrier",
        "device_put",
        "name",
        "stack",
        "unstack",
        "tile",
        "broadcast_to",
        "reshard",
        "pvary",
    ]
)
CASTS = frozenset({"convert_element_type", "reduce_precision"})
_LINEAR = frozenset({"add", "sub", "add_any", "reduce_sum", "dot_general", "cumsum"})


def names_of(values: Sequence[Value]) -> frozenset[str]:
    """The parameters behind some values."""
    return frozenset().union(*(getattr(value, "names", frozenset()) for value in values))


def rearrange(eqn: Any, values: Sequence[Value], sizes: Sequence[Array]) -> list[Any]:
    """Applies an operation that moves entries to the shares instead of the numbers.

    Args:
        eqn: the equation.
        values: its operands.
        sizes: the shares of those operands that are floating point.

    Returns:
        The shares of its results.
    """
    # Indices and predicates are passed as they are.
    operands = [
        value.value if isinstance(value, Fixed) and not _is_floating(value) else size
        for value, size in zip(values, sizes, strict=True)
    ]
    return bind(eqn, operands)


def _is_floating(value: Fixed) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(value.value), jnp.inexact))


def apply_weight(reader: "Reader", eqn: Any, values: list[Value]) -> list[Value]:
    """Reads an equation of parameters and fixed numbers.

    Args:
        reader: the reader.
        eqn: the equation.
        values: its operands.

    Returns:
        Its results.
    """
    name, names = eqn.primitive.name, names_of(values)
    numbers = [value.value for value in values]  # pyright: ignore[reportAttributeAccessIssue]
    results = bind(eqn, numbers)
    if name == "stop_gradient":
        # What no gradient reaches is a statistic, not a parameter.
        return [Fixed(result) for result in results]
    sizes = _sizes(reader, eqn, values)
    if sizes is None:
        for parameter in names:
            reader.derived.setdefault(parameter, name)
        nothing = [jnp.zeros(result.shape, reader.dtype) for result in results]
        return [
            Weight(result, size, plain=False, names=names)
            for result, size in zip(results, nothing, strict=True)
        ]
    plain = name not in _LINEAR
    return [
        Weight(result, size, plain=plain, names=names)
        for result, size in zip(results, sizes, strict=True)
    ]


def _sizes(reader: "Reader", eqn: Any, values: Sequence[Value]) -> list[Array] | None:
    name = eqn.primitive.name
    parts = [_size(reader, value) for value in values]
    if name in REARRANGEMENTS:
        return rearrange(eqn, values, parts)
    if name in CASTS or name == "neg":
        return parts if jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.inexact) else None
    if name in ("add", "sub", "add_any"):
        return [_broadcast(parts[0] + parts[1], eqn)]
    if name == "mul":
        return [_broadcast(parts[0] * parts[1], eqn)]
    power = 2 if name == "square" else eqn.params["y"] if name == "integer_pow" else 0
    if power >= 1:
        # As if it were written as a product.
        return [parts[0] ** power]
    if name == "div" and isinstance(values[0], Weight):
        # The divisor's own parameters share in no edge: it enters through its value.
        return [_broadcast(parts[0] / _value_share(reader, values[1]), eqn)]
    if name == "reduce_sum":
        return bind(eqn, parts)
    if name == "dot_general":
        params = eqn.params
        return [
            jax.lax.dot_general(
                parts[0],
                parts[1],
                params["dimension_numbers"],
                precision=jax.lax.Precision.HIGHEST,
            )
        ]
    return None


def _size(reader: "Reader", value: Value) -> Array:
    return reader.edge(value) if isinstance(value, Weight) else reader.constant(value)  # pyright: ignore[reportArgumentType]


def _value_share(reader: "Reader", value: Value) -> Array:
    if isinstance(value, Weight):
        return reader.constant(Fixed(value.value))
    return reader.constant(value)  # pyright: ignore[reportArgumentType]


def _broadcast(size: Array, eqn: Any) -> Array:
    return jnp.broadcast_to(size, eqn.outvars[0].aval.shape)
