"""Half the square of the l_p norm."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp

from ... import _checks
from ..._types import Scalar, Vector
from ._base import AbstractPotential


class PNorm(AbstractPotential):
    r"""$\psi(x) = \tfrac12\|x\|_p^2$ with p > 1: from x = 0 to the x of least l_p norm.

    Its dual is $\tfrac12\|\theta\|_q^2$ with 1/p + 1/q = 1. For p above 2 the map from theta to x
    has infinite slope where an entry of theta crosses zero: many small steps are taken there.

    Attributes:
        p: a Python number above 1.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> psi = imf.flows.potentials.PNorm(1.5)
        >>> float(psi.value(jnp.array([4.0, 0.0])))
        8.0

    Reference:
        Gentile (2003), The robustness of the p-norm algorithms.
    """

    p: float | int = eqx.field(static=True)

    def __check_init__(self):
        """Refuse a p that is not a number above 1."""
        if isinstance(self.p, bool) or not isinstance(self.p, int | float):
            _checks.refuse("p", "be a Python number above 1", f"is {self.p!r}")
        if not 1 < self.p < math.inf:
            _checks.refuse(
                "p",
                "lie between 1 and infinity",
                f"is {self.p}",
                "Towards l1 take `Hypentropy` with a small beta.",
            )

    def value(self, x: Vector) -> Scalar:
        r"""$\tfrac12\|x\|_p^2$."""
        return _half_square(x, self.p)

    def dual(self, x: Vector) -> Vector:
        r"""$\mathrm{sign}(x)\,|x|^{p-1}\,\|x\|_p^{2-p}$."""
        return _gradient(x, self.p)

    def primal(self, theta: Vector) -> Vector:
        r"""$\mathrm{sign}(\theta)\,|\theta|^{q-1}\,\|\theta\|_q^{2-q}$."""
        return _gradient(theta, self.p / (self.p - 1))

    def unit(self, size: Scalar) -> Scalar:
        """The size of x: both maps are of degree one."""
        return size


def _half_square(x: Vector, p: float | int) -> Scalar:
    unit, sizes, _ = _parts(x)
    power = jnp.sum(jnp.where(sizes > 0, _safe(sizes) ** p, 0))
    return jnp.where(power > 0, unit**2 / 2 * jnp.where(power > 0, power, 1) ** (2 / p), 0)


def _gradient(x: Vector, p: float | int) -> Vector:
    unit, sizes, signs = _parts(x)
    power = jnp.sum(jnp.where(sizes > 0, _safe(sizes) ** p, 0))
    root = jnp.where(power > 0, power, 1) ** ((2 - p) / p)
    return unit * root * signs * jnp.where(sizes > 0, _safe(sizes) ** (p - 1), 0)


def _parts(x: Vector) -> tuple[Scalar, Vector, Vector]:
    """The largest entry, and sizes and signs in units of it: no power leaves the range."""
    # The gradient is of degree one, so that the unit, held fixed, changes no derivative.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x)))
    unit = jnp.where(largest > 0, largest, 1)
    return unit, jnp.abs(x) / unit, jnp.sign(x)


def _safe(sizes: Vector) -> Vector:
    """Ones for zeros, whose powers have no derivative."""
    return jnp.where(sizes > 0, sizes, 1)
