"""What each operation of a network does to sums over paths."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ._late_sums import Site
from ._pointwise import extend, is_chain, scaled, shift_by, spread
from ._reader import bind, is_linear_so_far
from ._squares import FEWEST_ENTRIES, times_squares
from ._values import Fixed, Signal, Value, Weight
from ._weight_rules import REARRANGEMENTS, names_of, rearrange


if TYPE_CHECKING:
    from ._reader import Reader


# Sums with coefficients one: the same operation on the sums over paths.
_SUMS = frozenset(
    [
        "reduce_sum",
        "cumsum",
        "reduce_window_sum",
        "scatter-add",
        "scatter_add",
    ]
)
# One-operand rearrangements through which a pending shift can follow its signal.
_MOVES = frozenset(
    [
        "reshape",
        "squeeze",
        "expand_dims",
        "broadcast_in_dim",
        "transpose",
        "rev",
        "copy",
        "copy_p",
    ]
)
_TWO_SIGNALS = (
    "a product of two signals (a gate, attention, or a normalization by statistics of the example)"
)


def apply_signal(reader: "Reader", eqn: Any, values: list[Value]) -> list[Value]:
    """Reads an equation in which at least one operand is a signal.

    Args:
        reader: the reader.
        eqn: the equation.
        values: its operands.

    Returns:
        Its results.
    """
    name = eqn.primitive.name
    if name == "stop_gradient":
        return values
    rule = _RULES.get(name)
    if rule is not None:
        result = rule(reader, eqn, values)
        if result is not None:
            return [result]
    is_cast = name == "convert_element_type"
    if not is_cast and _counts(eqn, values):
        return _refuse(reader, eqn, values, "a place or a number that the signal decides")
    if is_chain(name, values):
        return extend(reader, eqn, values)
    if name in REARRANGEMENTS and _indices_are_fixed(eqn, values):
        return _rearrange(reader, eqn, values)
    if name in _SUMS and _indices_are_fixed(eqn, values):
        sizes = [reader.as_signal(value).size for value in values]
        return [Signal(out, names_of(values)) for out in rearrange(eqn, values, sizes)]
    return _refuse(reader, eqn, values, f"`{name}` has no reading as a sum over paths")


def _counts(eqn: Any, values: Sequence[Value]) -> bool:
    """Whether an operation computes with integers that come from the signal."""
    return any(
        isinstance(value, Signal) and jnp.issubdtype(atom.aval.dtype, jnp.integer)
        for atom, value in zip(eqn.invars, values, strict=True)
    )


def _refuse(reader: "Reader", eqn: Any, values: Sequence[Value], reason: str) -> list[Value]:
    names = names_of(values)
    reader.refuse(reader.operation(eqn.primitive.name), reason, names)
    return [Signal(jnp.ones(out.aval.shape, reader.dtype), names) for out in eqn.outvars]


def _indices_are_fixed(eqn: Any, values: Sequence[Value]) -> bool:
    """Whether what selects entries (integers, booleans) does not depend on the signal."""
    return all(
        isinstance(value, Fixed) or jnp.issubdtype(atom.aval.dtype, jnp.inexact)
        for atom, value in zip(eqn.invars, values, strict=True)
    )


def _rearrange(reader: "Reader", eqn: Any, values: Sequence[Value]) -> list[Value]:
    first = values[0]
    if eqn.primitive.name in _MOVES and isinstance(first, Signal) and first.shifts:
        return [_move(reader, eqn, first)]
    sizes = [reader.as_signal(value).size for value in values]
    results = rearrange(eqn, values, sizes)
    return [Signal(result, names_of(values)) for result in results]


def _move(reader: "Reader", eqn: Any, signal: Signal) -> Signal:
    bare = reader.settle(dataclasses.replace(signal, shifts=()))
    shape = bare.size.shape
    shifts = tuple(
        Weight(
            bind(eqn, [jnp.broadcast_to(shift.value, shape)])[0],
            bind(eqn, [jnp.broadcast_to(reader.edge(shift), shape)])[0],
            plain=True,
            names=shift.names,
        )
        for shift in signal.shifts
    )
    size = bind(eqn, [bare.size])[0]
    return Signal(size, signal.names, shifts=shifts, folded=signal.folded)


def _add(reader: "Reader", eqn: Any, values: Sequence[Value]) -> Value | None:
    left, right = values
    if isinstance(left, Signal) and isinstance(right, Signal):
        total = reader.settle(left).size + reader.settle(right).size
        return Signal(_shaped(total, eqn), names_of(values))
    signal, other = (left, right) if isinstance(left, Signal) else (right, left)
    if not isinstance(signal, Signal) or not isinstance(other, Fixed | Weight):
        return None
    if isinstance(other, Fixed):
        if other.uniform() == 0.0 and (signal is left or eqn.primitive.name != "sub"):
            return spread(reader, signal, eqn)
        if not is_linear_so_far(signal) and other.uniform() is not None:
            return None
    if signal is right and eqn.primitive.name == "sub":
        # other - signal: the signal changes its sign, not its share.
        signal = reader.settle(signal)
        return Signal(_shaped(signal.size + reader.as_signal(other).size, eqn), names_of(values))
    return shift_by(reader, eqn, spread(reader, signal, eqn), other)


def _multiply(reader: "Reader", eqn: Any, values: Sequence[Value]) -> Value | None:
    left, right = values
    if isinstance(left, Signal) and isinstance(right, Signal):
        if left.unit is right.unit:
            return None
        reader.refuse(reader.operation(eqn.primitive.name), _TWO_SIGNALS, names_of(values))
        total = reader.settle(left).size * reader.settle(right).size
        return Signal(_shaped(total, eqn), names_of(values))
    signal, other = (left, right) if isinstance(left, Signal) else (right, left)
    if isinstance(other, Fixed) and other.uniform() is not None:
        return None
    if eqn.primitive.name == "div":
        if signal is right:
            return None
        other = _inverse(reader, other)
    return _scale(reader, eqn, signal, other)  # pyright: ignore[reportArgumentType]


def _inverse(reader: "Reader", value: Value) -> Fixed | Weight:
    if isinstance(value, Fixed):
        return Fixed(1 / jnp.asarray(value.value))
    assert isinstance(value, Weight)
    for name in value.names:
        reader.derived.setdefault(name, "div")
    number = 1 / value.value
    return Weight(number, jnp.zeros(number.shape, reader.dtype), plain=False, names=value.names)


def _scale(reader: "Reader", eqn: Any, signal: Signal, other: Fixed | Weight) -> Signal:
    """A signal times one number a unit: an edge into a unit of its own."""
    bare = reader.settle(dataclasses.replace(signal, shifts=()))
    size = _shaped(bare.size * reader.share(other), eqn)
    shifts = tuple(scaled(reader, shift, other) for shift in signal.shifts)
    names = names_of([signal, other]) if isinstance(other, Weight) else signal.names
    return Signal(size, names, root=bare.origin, shifts=shifts, folded=signal.folded)


def _choose_largest(reader: "Reader", eqn: Any, values: Sequence[Value]) -> Value | None:
    """A maximum of several units counts every path through each of them."""
    if is_chain(eqn.primitive.name, values):
        return None
    left, right = (reader.as_signal(value).size for value in values)
    return Signal(_shaped(left + right, eqn), names_of(values))


def _select(reader: "Reader", eqn: Any, values: Sequence[Value]) -> Value | None:
    predicate, cases = values[0], values[1:]
    if isinstance(predicate, Fixed) or is_chain("select_n", values):
        return None
    signals = [case for case in cases if isinstance(case, Signal)]
    fixed = [case for case in cases if not isinstance(case, Signal)]
    origins = {id(case.origin) for case in signals}
    known = isinstance(predicate, Signal) and origins == {id(predicate.origin)}
    if known and all(isinstance(case, Fixed) and case.uniform() == 0.0 for case in fixed):
        # A learned slope (PReLU): both branches are edges out of one unit.
        total = sum(
            (reader.settle(case).size for case in signals[1:]), reader.settle(signals[0]).size
        )
        return Signal(_shaped(total, eqn), names_of(values))
    return _refuse(reader, eqn, values, "a choice that the sign of another unit makes (a gate)")[0]


def _contract(reader: "Reader", eqn: Any, values: Sequence[Value]) -> Value:
    left, right = values
    params = eqn.params
    if isinstance(left, Signal) and isinstance(right, Signal):
        reader.refuse(reader.operation(eqn.primitive.name), _TWO_SIGNALS, names_of(values))
    factors = [_factor(reader, value) for value in values]
    layer = _layer(reader, eqn, values, factors)
    if layer is None:
        size = lax.dot_general(
            factors[0], factors[1], params["dimension_numbers"], precision=lax.Precision.HIGHEST
        )
    else:
        size = _apply_layer(reader, *layer)
    return Signal(size, _weight_names(values))


def _layer(
    reader: "Reader", eqn: Any, values: Sequence[Value], factors: Sequence[Array]
) -> tuple[Weight, Array, Array, int] | None:
    """A parameter, its shares, a vector, and the axis of the parameter along which it lies."""
    which = 0 if isinstance(values[0], Weight) else 1
    weight, vector = values[which], factors[1 - which]
    if not isinstance(weight, Weight) or not isinstance(values[1 - which], Signal):
        return None
    if not (reader.squares and weight.value.ndim == 2 and vector.ndim == 1 and weight.plain):
        return None
    ((axis,),) = eqn.params["dimension_numbers"][0][which : which + 1]
    return weight, factors[which], vector, axis


def _apply_layer(reader: "Reader", weight: Weight, share: Array, vector: Array, axis: int) -> Array:
    (name, *others), step = weight.names, reader.late.step
    is_parameter = not others and share is reader.parameters.get(name)
    if is_parameter and step is not None:
        zero = step.meet(Site(name, axis, share.shape[1 - axis]), vector)
        if zero is not None:
            return _product(lax.stop_gradient(share), vector, axis) + zero
    if reader.late.is_inside or weight.value.dtype != reader.dtype or share.size < FEWEST_ENTRIES:
        return _product(share, vector, axis)
    return times_squares(share, weight.value, vector, axis)


def _product(share: Array, vector: Array, axis: int) -> Array:
    over = (((axis,), (0,)), ((), ()))
    return lax.dot_general(share, vector, over, precision=lax.Precision.HIGHEST)


def _convolve(reader: "Reader", eqn: Any, values: Sequence[Value]) -> Value:
    if all(isinstance(value, Signal) for value in values):
        reader.refuse(reader.operation(eqn.primitive.name), _TWO_SIGNALS, names_of(values))
    factors = [_factor(reader, value) for value in values]
    params = {
        **eqn.params,
        "preferred_element_type": None,
        "precision": (lax.Precision.HIGHEST, lax.Precision.HIGHEST),
    }
    return Signal(eqn.primitive.bind(*factors, **params), _weight_names(values))


def _factor(reader: "Reader", value: Value) -> Array:
    if isinstance(value, Signal):
        return reader.settle(value).size
    return reader.share(value)  # pyright: ignore[reportArgumentType]


def _weight_names(values: Sequence[Value]) -> frozenset[str]:
    """After a layer, the layer's own parameters say where we are."""
    weights = names_of([value for value in values if isinstance(value, Weight)])
    return weights or names_of(values)


def _reduce_largest(reader: "Reader", eqn: Any, values: Sequence[Value]) -> Value:
    size = reader.as_signal(values[0]).size
    return Signal(jnp.sum(size, axis=tuple(eqn.params["axes"])), names_of(values))


def _cumulate_largest(reader: "Reader", eqn: Any, values: Sequence[Value]) -> Value:
    size = reader.as_signal(values[0]).size
    total = lax.cumsum(size, axis=eqn.params["axis"], reverse=eqn.params["reverse"])
    return Signal(total, names_of(values))


def _pool_largest(reader: "Reader", eqn: Any, values: Sequence[Value]) -> Value:
    params = eqn.params
    total = lax.reduce_window(
        reader.as_signal(values[0]).size,
        # A concrete zero: only then is this the sum that JAX can differentiate.
        np.zeros((), reader.dtype),
        lax.add,
        params["window_dimensions"],
        params["window_strides"],
        params["padding"],
        params["base_dilation"],
        params["window_dilation"],
    )
    return Signal(total, names_of(values))


def _cast(reader: "Reader", eqn: Any, values: Sequence[Value]) -> Value | None:
    floating = jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.inexact)
    was_floating = jnp.issubdtype(eqn.invars[0].aval.dtype, jnp.inexact)
    return values[0] if floating and was_floating else None


def _shaped(size: Array, eqn: Any) -> Array:
    return jnp.broadcast_to(size, eqn.outvars[0].aval.shape)


_RULES: dict[str, Callable[["Reader", Any, Sequence[Value]], Value | None]] = {
    "add": _add,
    "add_any": _add,
    "sub": _add,
    "mul": _multiply,
    "div": _multiply,
    "max": _choose_largest,
    "min": _choose_largest,
    "select_n": _select,
    "dot_general": _contract,
    "conv_general_dilated": _convolve,
    "reduce_max": _reduce_largest,
    "reduce_min": _reduce_largest,
    "cummax": _cumulate_largest,
    "cummin": _cumulate_largest,
    "reduce_window_max": _pool_largest,
    "reduce_window_min": _pool_largest,
    "convert_element_type": _cast,
    "reduce_precision": _cast,
}
