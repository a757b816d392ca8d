"""What a network's program computes with, once it is read as a graph of paths."""

import dataclasses
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from ._places import Operation


# Where an activation is sampled to see whether it is positively homogeneous: powers of two, so
# that multiplying by one is exact, far enough apart to meet the corner of a clipped activation, and
# such that cubes are floats.
SCALES = np.array([2.0**k for k in (-40, -24, -12, -6, -3, -1, 0, 1, 2, 3, 6, 12, 24, 40)])
POINTS = np.concatenate([-SCALES[::-1], [0.0], SCALES]).astype(np.float32)
POINTS.setflags(write=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Fixed:
    """A number that neither the parameters nor the input move.

    Attributes:
        value: the number, concrete wherever the program allows it.
    """

    value: Any

    @property
    def is_concrete(self) -> bool:
        """Whether the number is known while the program is read."""
        return not isinstance(self.value, Tracer)

    def uniform(self) -> float | None:
        """The common value of all entries, or None if there is none to be known."""
        if not self.is_concrete:
            return None
        value = np.asarray(self.value)
        if value.size == 0 or not jnp.issubdtype(value.dtype, jnp.number):
            return None
        first = value.reshape(-1)[0]
        return float(first) if np.all(value == first) else None


@dataclasses.dataclass(frozen=True, eq=False)
class Weight:
    """A number made of parameters only: what an edge carries.

    Attributes:
        value: the signed number, exactly as the network computes it.
        size: the same number's share in a path, a polynomial in the |w|^p of the parameters.
        plain: whether `size` equals |value|^p; it does not for a sum of parameters, where it
            only says how the parameters share in the edge.
        names: the parameters that it is made of.
    """

    value: Array
    size: Array
    plain: bool
    names: frozenset[str]


@dataclasses.dataclass(frozen=True, eq=False)
class Signal:
    """What flows through the network: a sum over paths that end at a unit.

    Attributes:
        size: the sum over paths of the product of |w|^p, at the unit where a chain of pointwise
            operations began.
        names: the parameters met last, for messages.
        unit: the identity of that unit; two signals with one `unit` are functions of one number.
        response: the pointwise function since then, sampled at `POINTS`.
        operations: the operations that it is made of.
        root: the unit, followed back through learned slopes too.
        shifts: constants added since then that are not yet settled as edges of their own.
        folded: whether the shifts belong to one folded edge (a normalization's statistics do).
    """

    size: Array
    names: frozenset[str] = frozenset()
    unit: object = dataclasses.field(default_factory=object)
    response: Any = dataclasses.field(default_factory=lambda: POINTS)
    operations: tuple[Operation, ...] = ()
    root: object = None
    shifts: tuple[Weight, ...] = ()
    folded: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether the signal is the unit's own, with nothing pending."""
        return not self.operations and not self.shifts

    @property
    def origin(self) -> object:
        """The unit whose sign decides this signal's, as far as it is known."""
        return self.unit if self.root is None else self.root


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
    """Integers (or their comparisons) that come from the input: which rows to look up.

    Attributes:
        shape: their shape.
    """

    shape: tuple[int, ...]


Value: TypeAlias = Fixed | Weight | Signal | Choice


def slope(response: np.ndarray) -> float | None:
    """The factor max(|f(1)|, |f(-1)|) of a positively homogeneous function f.

    Args:
        response: f at `POINTS`.

    Returns:
        The factor, or None where f(t x) = t f(x) fails for some t > 0.
    """
    values = np.asarray(response, dtype=np.float64)
    middle = len(SCALES)
    up, down = values[middle + 1 :] / SCALES, values[:middle][::-1] / SCALES
    if not np.all(np.isfinite(values)) or values[middle] != 0.0:
        return None
    factor = max(abs(up[SCALES == 1.0][0]), abs(down[SCALES == 1.0][0]))
    # Samples may be those of a float32 network: a few roundings of it.
    tolerance = 1e-5 * max(factor, 1e-30)
    return factor if max(np.ptp(up), np.ptp(down)) <= tolerance else None


def is_scaling(response: np.ndarray) -> bool:
    """Whether a sampled function is x -> c x, linear on the whole line."""
    values = np.asarray(response, dtype=np.float64)
    if values.dtype == bool or not np.all(np.isfinite(values)):
        return False
    return bool(np.allclose(values, values[POINTS == 1.0] * POINTS, rtol=1e-5, atol=0))
