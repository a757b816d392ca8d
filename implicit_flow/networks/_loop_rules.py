"""Loops and branches: a scan over signals is a scan over sums over paths."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ._late_sums import Step
from ._places import Operation
from ._values import Choice, Fixed, Signal, Value, Weight
from ._weight_rules import names_of


if TYPE_CHECKING:
    from ._reader import Reader


@dataclasses.dataclass(frozen=True)
class _Slot:
    """What a loop variable holds: its kind, and the parameters behind it."""

    kind: type
    names: frozenset[str]
    shape: tuple[int, ...]

    def join(self, other: "_Slot") -> "_Slot":
        rank = (Fixed, Choice, Weight, Signal)
        kind = max(self.kind, other.kind, key=rank.index)
        return _Slot(kind, self.names | other.names, self.shape)


def _slot(value: Value, shape: tuple[int, ...]) -> _Slot:
    return _Slot(type(value), names_of([value]), shape)


def _pack(reader: "Reader", value: Value, slot: _Slot, aval: Any) -> tuple[Array, ...]:
    if slot.kind is Choice:
        return ()
    if slot.kind is Signal:
        return (jnp.broadcast_to(reader.as_signal(value).size, aval.shape),)
    number = value.value if isinstance(value, Fixed | Weight) else jnp.zeros(aval.shape)
    number = jnp.broadcast_to(jnp.asarray(number, aval.dtype), aval.shape)
    if slot.kind is Fixed:
        return (number,)
    share = reader.edge(value) if isinstance(value, Weight) else reader.constant(Fixed(number))
    return (number, jnp.broadcast_to(share, aval.shape))


def _unpack(arrays: tuple[Array, ...], slot: _Slot) -> Value:
    if slot.kind is Choice:
        return Choice(slot.shape)
    if slot.kind is Fixed:
        return Fixed(arrays[0])
    if slot.kind is Signal:
        return Signal(arrays[0], slot.names)
    # `_pack` took the share of the edge, which is all that an edge has.
    return Weight(arrays[0], arrays[1], plain=True, names=slot.names)


def _settled(reader: "Reader", value: Value) -> Value:
    return reader.settle(value) if isinstance(value, Signal) else value


def read_scan(reader: "Reader", eqn: Any, values: list[Value]) -> list[Value]:
    """Reads a scan.

    Args:
        reader: the reader.
        eqn: the scan.
        values: its operands.

    Returns:
        Its results.
    """
    params, body = eqn.params, eqn.params["jaxpr"]
    split = params["num_consts"], params["num_consts"] + params["num_carry"]
    values = [_settled(reader, value) for value in values]
    consts, init, xs = values[: split[0]], values[split[0] : split[1]], values[split[1] :]
    carry_avals = [out.aval for out in body.jaxpr.outvars[: len(init)]]
    x_avals = [variable.aval for variable in body.jaxpr.invars[split[1] :]]
    x_slots = [_slot(x, aval.shape) for x, aval in zip(xs, x_avals, strict=True)]
    stacked = [
        _pack(reader, x, slot, atom.aval)
        for x, slot, atom in zip(xs, x_slots, eqn.invars[split[1] :], strict=True)
    ]
    before, reader.repeats = reader.repeats, reader.repeats * min(params["length"], 2)

    def step(slots: list[_Slot], carry: Any, slices: Any) -> list[Value]:
        arguments = [
            *consts,
            *(_unpack(part, slot) for part, slot in zip(carry, slots, strict=True)),
            *(_unpack(part, slot) for part, slot in zip(slices, x_slots, strict=True)),
        ]
        return [_settled(reader, result) for result in reader.call(body, arguments)]

    outs = [out.aval for out in body.jaxpr.outvars]
    late = reader.late
    # What is met in an inner loop stays inside the outer one.
    is_outermost = not late.is_inside
    with late.reading(None):
        slots, out_slots = _fixpoint(reader, step, init, stacked, carry_avals, outs)
    met = [Step(())]

    def advance(carry: Any, slices: Any) -> tuple[Any, Any]:
        slices, zeros = slices
        met[0] = Step(zeros)
        with late.reading(met[0] if is_outermost else None):
            results = step(slots, carry, slices)
        packed = [
            _pack(reader, result, slot, aval)
            for result, slot, aval in zip(results, [*slots, *out_slots], outs, strict=True)
        ]
        return packed[: len(slots)], (packed[len(slots) :], met[0].vectors)

    start = [
        _pack(reader, value, slot, aval)
        for value, slot, aval in zip(init, slots, carry_avals, strict=True)
    ]
    scanned = (stacked, late.of_next_loop() if is_outermost else [])
    last, (ys, vectors) = lax.scan(
        advance, start, scanned, length=params["length"], reverse=params["reverse"]
    )
    if is_outermost:
        late.end_of_loop(met[0], vectors, params["length"])
    reader.repeats = before
    y_slots = [
        dataclasses.replace(slot, shape=(params["length"], *slot.shape)) for slot in out_slots
    ]
    return [
        _unpack(part, slot) for part, slot in zip([*last, *ys], [*slots, *y_slots], strict=True)
    ]


def _fixpoint(
    reader: "Reader",
    step: Callable[[list[_Slot], Any, Any], list[Value]],
    init: Sequence[Value],
    stacked: Sequence[Any],
    carry_avals: Sequence[Any],
    outs: Sequence[Any],
) -> tuple[list[_Slot], list[_Slot]]:
    """What each loop variable holds once the loop has run: kinds only grow."""
    slots = [_slot(value, aval.shape) for value, aval in zip(init, carry_avals, strict=True)]
    slices = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), list(stacked))
    while True:
        found: list[_Slot] = []

        def probe(carry: Any, slices: Any, slots: list[_Slot] = slots, found: list = found) -> None:
            results = step(slots, carry, slices)
            found.extend(_slot(x, aval.shape) for x, aval in zip(results, outs, strict=True))

        carry = [
            jax.eval_shape(lambda v=v, s=s, a=a: _pack(reader, v, s, a))
            for v, s, a in zip(init, slots, carry_avals, strict=True)
        ]
        meetings = reader.meetings.copy()
        jax.eval_shape(probe, carry, slices)
        reader.meetings = meetings
        grown = [slot.join(new) for slot, new in zip(slots, found[: len(slots)], strict=True)]
        if grown == slots:
            return slots, found[len(slots) :]
        slots = grown


def read_cond(reader: "Reader", eqn: Any, values: list[Value]) -> list[Value]:
    """Reads a branch: the one that is taken, if that is known while the program is read."""
    index, operands = values[0], values[1:]
    branches = eqn.params["branches"]
    if isinstance(index, Fixed) and index.is_concrete:
        chosen = min(max(int(index.value), 0), len(branches) - 1)
        return reader.call(branches[chosen], operands)
    if isinstance(index, Fixed):
        return _switch(reader, eqn, index, operands)
    return _unknown(reader, eqn, values, "a branch that the input decides")


def _switch(reader: "Reader", eqn: Any, index: Fixed, operands: list[Value]) -> list[Value]:
    branches, outs = eqn.params["branches"], [out.aval for out in eqn.outvars]
    operands = [_settled(reader, value) for value in operands]

    def results_of(branch: Any) -> list[Value]:
        return [_settled(reader, result) for result in reader.call(branch, operands)]

    found: list[list[_Slot]] = []
    for branch in branches:

        def probe(branch: Any = branch) -> None:
            pairs = zip(results_of(branch), outs, strict=True)
            found.append([_slot(x, aval.shape) for x, aval in pairs])

        with reader.late.reading(None):
            jax.eval_shape(probe)
    slots = found[0]
    for other in found[1:]:
        slots = [slot.join(new) for slot, new in zip(slots, other, strict=True)]

    def packed(branch: Any) -> Callable[[], list[Any]]:
        return lambda: [
            _pack(reader, x, slot, aval)
            for x, slot, aval in zip(results_of(branch), slots, outs, strict=True)
        ]

    with reader.late.reading(None):
        arrays = lax.switch(jnp.asarray(index.value), [packed(branch) for branch in branches])
    return [_unpack(part, slot) for part, slot in zip(arrays, slots, strict=True)]


def read_while(reader: "Reader", eqn: Any, values: list[Value]) -> list[Value]:
    """Refuses a loop of unknown length."""
    return _unknown(reader, eqn, values, "a loop whose length is not known (use `lax.scan`)")


def _unknown(reader: "Reader", eqn: Any, values: Sequence[Value], reason: str) -> list[Value]:
    names = names_of(values)
    reader.refuse(Operation(eqn.primitive.name, reader.site), reason, names)
    return [Signal(jnp.ones(out.aval.shape, reader.dtype), names) for out in eqn.outvars]


LOOPS = {"scan": read_scan, "cond": read_cond, "while": read_while}
