"""Chains of pointwise operations, read by sampling them."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._reader import bind, is_linear_so_far
from ._values import POINTS, Fixed, Signal, Value, Weight
from ._weight_rules import names_of


if TYPE_CHECKING:
    from ._reader import Reader


POINTWISE = frozenset(
    [
        "abs",
        "acos",
        "acosh",
        "and",
        "asin",
        "asinh",
        "atan",
        "atan2",
        "atanh",
        "cbrt",
        "ceil",
        "clamp",
        "convert_element_type",
        "cos",
        "cosh",
        "div",
        "eq",
        "erf",
        "erf_inv",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "floor",
        "ge",
        "gt",
        "integer_pow",
        "is_finite",
        "le",
        "log",
        "log1p",
        "logistic",
        "lt",
        "max",
        "min",
        "mul",
        "ne",
        "neg",
        "not",
        "or",
        "pow",
        "rem",
        "round",
        "rsqrt",
        "select_n",
        "sign",
        "sin",
        "sinh",
        "sqrt",
        "square",
        "tan",
        "tanh",
        "xor",
        "add",
        "sub",
        "add_any",
    ]
)


def is_chain(name: str, values: Sequence[Value]) -> bool:
    """Whether an operation is a function of a single unit and of fixed numbers."""
    signals = [value for value in values if isinstance(value, Signal)]
    others = [value for value in values if not isinstance(value, Signal)]
    if name not in POINTWISE or len({id(signal.unit) for signal in signals}) != 1:
        return False
    return all(isinstance(value, Fixed) and _scalar(value) is not None for value in others)


def extend(reader: "Reader", eqn: Any, values: Sequence[Value]) -> list[Value]:
    """Appends one operation to a chain.

    Args:
        reader: the reader.
        eqn: the operation.
        values: its operands: functions of one unit, and uniform fixed numbers.

    Returns:
        The longer chain.
    """
    signal = next(value for value in values if isinstance(value, Signal))
    signal = spread(reader, signal, eqn)
    response = _sample(eqn, values)
    longer = dataclasses.replace(
        signal,
        names=names_of(values),
        response=response,
        operations=(*signal.operations, reader.operation(eqn.primitive.name)),
    )
    if not signal.shifts:
        return [longer]
    ratio = scale_between(signal.response, response)
    if ratio is None:
        # A corner is met: what was added before it is an edge into a unit of its own.
        settled = reader.settle(signal)
        return extend(reader, eqn, [settled if value is signal else value for value in values])
    shifts = tuple(
        scaled(reader, shift, Fixed(np.asarray(ratio, _widest()))) for shift in signal.shifts
    )
    return [dataclasses.replace(longer, shifts=shifts)]


def spread(reader: "Reader", signal: Signal, eqn: Any) -> Signal:
    """A signal of the shape of a result.

    Args:
        reader: the reader.
        signal: of that shape, or of one that programs hold beside it.
        eqn: the operation.

    Returns:
        The signal, its units repeated; each copy begins a chain of its own.
    """
    shape = eqn.outvars[0].aval.shape
    if signal.size.shape == shape:
        return signal

    def repeated(array: Array) -> Array:
        return jnp.broadcast_to(array, shape)

    shifts = tuple(
        dataclasses.replace(
            shift, value=repeated(shift.value), size=repeated(reader.edge(shift)), plain=True
        )
        for shift in signal.shifts
    )
    size, origin = repeated(signal.size), signal.origin
    return dataclasses.replace(signal, size=size, unit=object(), root=origin, shifts=shifts)


def scaled(reader: "Reader", shift: Weight, factor: Fixed | Weight) -> Weight:
    """A shift, multiplied by what multiplies its signal."""
    number = jnp.asarray(factor.value).astype(shift.value.dtype)
    share = reader.constant(factor) if isinstance(factor, Fixed) else reader.edge(factor)
    names = shift.names | names_of([factor])
    value, size = shift.value * number, reader.edge(shift) * share
    return Weight(value, jnp.broadcast_to(size, value.shape), plain=True, names=names)


def scale_between(before: Any, after: Any) -> float | None:
    """The c of `after` = c `before`, if there is one."""
    if np.asarray(after).dtype == bool:
        return None
    start, end = np.asarray(before, np.float64), np.asarray(after, np.float64)
    one = int(np.argmax(POINTS == 1.0))
    ratio = float(end[one] / start[one])
    return ratio if np.allclose(end, ratio * start, rtol=1e-5, atol=0.0) else None


def shift_by(reader: "Reader", eqn: Any, signal: Signal, other: Fixed | Weight) -> Signal:
    """Adds a bias, or a fixed number, to a signal.

    Fixed numbers (the statistics of a normalization) fold: they, the biases before and the biases
    after them, up to the next activation, are one edge from the constant unit.

    Args:
        reader: the reader.
        eqn: the addition or subtraction.
        signal: the signal.
        other: what is added.

    Returns:
        The signal, with its constant pending.
    """
    if not is_linear_so_far(signal):
        signal = reader.settle(signal)
    shape = eqn.outvars[0].aval.shape
    dtype = eqn.outvars[0].aval.dtype
    number = jnp.broadcast_to(jnp.asarray(other.value), shape).astype(dtype)
    subtracts_other = eqn.primitive.name == "sub"
    if isinstance(other, Fixed):
        size = reader.constant(other)
    else:
        reader.meet(other.names)
        size = reader.edge(other)
    names = names_of([other])
    shift = Weight(
        -number if subtracts_other else number,
        jnp.broadcast_to(size, shape),
        plain=True,
        names=names,
    )
    folded = signal.folded or isinstance(other, Fixed)
    shifts = (*signal.shifts, shift)
    if folded and len(shifts) > 1:
        value, share = shifts[0].value, reader.edge(shifts[0])
        for extra in shifts[1:]:
            value, share = value + extra.value, share + reader.edge(extra)
        shifts = (Weight(value, share, plain=False, names=names_of(shifts)),)
    return dataclasses.replace(signal, names=signal.names | names, shifts=shifts, folded=folded)


def _scalar(value: Fixed) -> float | None:
    if value.is_concrete and np.asarray(value.value).dtype == bool:
        flags = np.asarray(value.value)
        return (
            float(flags.reshape(-1)[0]) if flags.size and np.ptp(flags.astype(int)) == 0 else None
        )
    return value.uniform()


def _sample(eqn: Any, values: Sequence[Value]) -> Any:
    """The operation at the sample points, in the widest dtype whatever the network's is."""
    aval = eqn.outvars[0].aval
    widest = _widest()
    with jax.ensure_compile_time_eval(), np.errstate(all="ignore"):
        operands = []
        for value in values:
            if isinstance(value, Signal):
                operands.append(jnp.asarray(_as_sample(np.asarray(value.response), widest)))
            else:
                number = np.asarray(value.value).reshape(-1)[:1]  # pyright: ignore[reportAttributeAccessIssue]
                operands.append(jnp.broadcast_to(_as_sample(number, widest), POINTS.shape))
        if eqn.primitive.name == "convert_element_type":
            kind = widest if jnp.issubdtype(aval.dtype, jnp.inexact) else aval.dtype
            return np.asarray(operands[0].astype(kind))
        return np.asarray(bind(eqn, operands)[0])


def _widest() -> np.dtype:
    # A factor such as 1/9 is sampled too: in float32 it would limit the path-norm to seven digits.
    return np.dtype(np.float64 if jax.config.jax_enable_x64 else np.float32)  # pyright: ignore[reportAttributeAccessIssue]


def _as_sample(number: np.ndarray, widest: np.dtype) -> np.ndarray:
    if jnp.issubdtype(number.dtype, jnp.inexact):
        return number.astype(widest)
    return number
