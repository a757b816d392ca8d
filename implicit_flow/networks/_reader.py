"""Reading a network's program as a graph of paths."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._late_sums import LateSums
from ._places import Operation, Site, traceback_of
from ._values import Choice, Fixed, Signal, Value, Weight, is_scaling, slope


# Programs inside programs that are read where they are called.
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}

# By which a parameter may meet itself.
_POWERS = ("integer_pow", "square")


def power_of(number: Array, power: float | int) -> Array:
    """|number|^power, with a derivative at zero for every power from one on."""
    if power == 1:
        return jnp.abs(number)
    if float(power).is_integer() and int(power) % 2 == 0:
        return number ** int(power)
    return jnp.abs(number) ** power


@dataclasses.dataclass(frozen=True)
class Problem:
    """Why a network has no path-norm.

    Attributes:
        operation: the operation that is to blame.
        reason: what is wrong with it.
        names: the parameters met last before it.
        site: where it was written.
    """

    operation: str
    reason: str
    names: frozenset[str]
    site: Site = dataclasses.field(default=(), compare=False)


class Reader:
    """Evaluates a network's program on sums over paths instead of activations.

    Every weight is replaced by |w|^p, the input by ones, and each operation by what it does to the
    sum over paths: a ReLU nothing, a maximum a sum, a linear map the map with |w|^p. What has no
    such reading is recorded in `problems`, and the reading goes on.

    Args:
        power: the p of the path-norm.
        dtype: the dtype of the sums.
        edgewise: whether derivatives are meant with respect to each |w|^p. If so, a sum of
            parameters on one edge passes its derivative on to each of them.
        squares: whether the shares are the squares of the parameters and only first derivatives
            with respect to them are meant: large matrices of squares need not be formed then, and
            sums over the steps of loops can be taken late.
    """

    def __init__(self, power: float | int, dtype: Any, *, edgewise: bool, squares: bool = False):
        self.power = power
        self.dtype = dtype
        self.edgewise = edgewise
        self.squares = squares
        self.late = LateSums()
        self.parameters: dict[str, Array] = {}
        self.problems: dict[Problem, None] = {}
        self.derived: dict[str, str] = {}
        self.meetings: collections.Counter[str] = collections.Counter()
        self.repeats = 1
        self.callers: list[str] = []
        self.site: Site = ()

    # -- numbers ------------------------------------------------------------------------------

    def constant(self, fixed: Fixed) -> Array:
        """The share of a fixed number in a path; what is infinite (a padding) has none."""
        value = jnp.asarray(fixed.value)
        if jnp.issubdtype(value.dtype, jnp.complexfloating):
            value = jnp.abs(value)
        value = value.astype(self.dtype)
        return power_of(jnp.where(jnp.isfinite(value), value, 0), self.power)

    def edge(self, weight: Weight) -> Array:
        """The share of an edge in a path."""
        if weight.plain:
            return weight.size
        share = power_of(weight.value.astype(self.dtype), self.power)
        if self.edgewise:
            share = share + (weight.size - jax.lax.stop_gradient(weight.size))
        return share

    def settle(self, signal: Signal) -> Signal:
        """Ends a chain of pointwise operations: its factor and its shifts become edges."""
        if signal.is_settled:
            return signal
        factor = slope(signal.response)
        if factor is None:
            self.refuse(signal.operations[-1], _not_homogeneous(signal), signal.names)
            factor = 1.0
        size = signal.size
        if factor != 1.0:
            size = size * jnp.asarray(factor**self.power, self.dtype)
        for shift in signal.shifts:
            size = size + self.edge(shift)
        # A function of one unit keeps that unit's sign only while nothing is added to it.
        root = None if signal.shifts else signal.origin
        return Signal(size, signal.names, root=root)

    def settle_shifts(self, signal: Signal) -> Signal:
        """Ends a fold where a value is used more than once: it is a unit of its own."""
        return self.settle(signal) if signal.shifts else signal

    def as_signal(self, value: Value) -> Signal:
        """A value as what flows: constants and biases are edges from a constant unit."""
        if isinstance(value, Signal):
            return self.settle(value)
        if isinstance(value, Weight):
            self.meet(value.names)
            return Signal(self.edge(value), value.names)
        if isinstance(value, Fixed):
            return Signal(self.constant(value))
        return Signal(jnp.ones(value.shape, self.dtype))

    def share(self, value: Fixed | Weight) -> Array:
        """The share of a factor that multiplies a signal."""
        if isinstance(value, Fixed):
            return self.constant(value)
        self.meet(value.names)
        return self.edge(value)

    def meet(self, names: Iterable[str]) -> None:
        """Counts an edge that is made of parameters, as often as it is used."""
        for name in names:
            self.meetings[name] += self.repeats

    def operation(self, name: str) -> Operation:
        """What to call an operation: the named functions that it stands in, if there are any."""
        named = dict.fromkeys(name for name in self.callers if name.isidentifier())
        public = [name for name in named if not name.startswith("_")]
        return Operation("/".join(public) or name, self.site)

    def refuse(self, operation: Operation, reason: str, names: frozenset[str]) -> None:
        """Records why there is no path-norm."""
        self.problems[Problem(operation.label, reason, names, operation.site)] = None

    # -- programs -----------------------------------------------------------------------------

    def run(self, jaxpr: Any, consts: Sequence[Value], arguments: Sequence[Value]) -> list[Value]:
        """Reads one program.

        Args:
            jaxpr: an open jaxpr.
            consts: its constants.
            arguments: its arguments.

        Returns:
            Its results.
        """
        uses = collections.Counter(
            id(atom) for eqn in jaxpr.eqns for atom in eqn.invars if not hasattr(atom, "val")
        )
        uses.update(id(atom) for atom in jaxpr.outvars if not hasattr(atom, "val"))
        values: dict[int, Value] = {}

        def write(variable: Any, value: Value) -> None:
            if isinstance(value, Signal) and uses[id(variable)] > 1:
                value = self.settle_shifts(value)
            values[id(variable)] = value

        def read(atom: Any) -> Value:
            return Fixed(atom.val) if hasattr(atom, "val") else values[id(atom)]

        for variable, value in zip(jaxpr.constvars, consts, strict=True):
            write(variable, value)
        for variable, value in zip(jaxpr.invars, arguments, strict=True):
            write(variable, value)
        outside = self.site
        for eqn in jaxpr.eqns:
            if not self.callers:
                # JAX keeps the programs of jitted functions: theirs may be those of another call.
                self.site = (traceback_of(eqn), *outside)
            results = self._apply(eqn, [read(atom) for atom in eqn.invars])
            self.site = outside
            for variable, value in zip(eqn.outvars, results, strict=True):
                write(variable, value)
        return [read(atom) for atom in jaxpr.outvars]

    def call(self, program: Any, arguments: Sequence[Value]) -> list[Value]:
        """Reads a program that may be closed over constants."""
        if hasattr(program, "jaxpr"):
            consts = [Fixed(const) for const in program.consts]
            return self.run(program.jaxpr, consts, arguments)
        return self.run(program, [], arguments)

    def _apply(self, eqn: Any, values: list[Value]) -> list[Value]:
        from ._choice_rules import apply_choice
        from ._loop_rules import LOOPS
        from ._signal_rules import apply_signal
        from ._weight_rules import apply_weight

        name = eqn.primitive.name
        if name in _CALLS:
            self.callers.append(str(eqn.params.get("name", "")))
            results = self.call(eqn.params[_CALLS[name]], values)
            self.callers.pop()
            return results
        fixed = [value for value in values if isinstance(value, Fixed)]
        if len(fixed) == len(values):
            return evaluate(eqn, fixed)
        flows = any(isinstance(value, Signal | Choice) for value in values)
        if name in LOOPS and (flows or name == "scan"):
            return LOOPS[name](self, eqn, values)
        if any(isinstance(value, Choice) for value in values):
            return apply_choice(self, eqn, values)
        if flows:
            return apply_signal(self, eqn, values)
        weights = [value.names for value in values if isinstance(value, Weight)]
        if name in _POWERS:
            self.meet(weights[0])
        elif len(weights) == 2:
            # A parameter that multiplies itself is two edges of one path.
            self.meet(weights[0] & weights[1])
        return apply_weight(self, eqn, values)


def _not_homogeneous(signal: Signal) -> str:
    chain = ", ".join(dict.fromkeys(operation.label for operation in signal.operations))
    made_of = f" of `{chain}`" if "," in chain else ""
    return f"an activation{made_of} that is not positively homogeneous, f(t x) = t f(x) for t > 0"


def bind(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """Evaluates one equation as it stands."""
    result = eqn.primitive.bind(*operands, **eqn.params)
    return list(result) if eqn.primitive.multiple_results else [result]


def evaluate(eqn: Any, values: Sequence[Fixed]) -> list[Value]:
    """Evaluates an equation of fixed numbers, while the program is read wherever possible."""
    operands = [value.value for value in values]
    if all(value.is_concrete for value in values):
        with jax.ensure_compile_time_eval():
            return [Fixed(np.asarray(x) if _is_plain(x) else x) for x in bind(eqn, operands)]
    return [Fixed(x) for x in bind(eqn, operands)]


def _is_plain(number: Any) -> bool:
    return not jnp.issubdtype(number.dtype, jax.dtypes.prng_key)


def is_linear_so_far(signal: Signal) -> bool:
    """Whether a signal is still a multiple of its unit, plus shifts."""
    return is_scaling(signal.response)
