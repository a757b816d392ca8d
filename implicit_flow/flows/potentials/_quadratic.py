"""Half the square of the l2 norm: its mirror flow is gradient flow."""

import jax.numpy as jnp

from ..._types import Scalar, Vector
from ._base import AbstractPotential


class Quadratic(AbstractPotential):
    r"""$\psi(x) = \tfrac12\|x\|_2^2$: mirror flow is gradient flow, and goes to the nearest x.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> imf.flows.potentials.Quadratic().dual(jnp.array([3.0, -4.0])).tolist()
        [3.0, -4.0]
    """

    def value(self, x: Vector) -> Scalar:
        r"""$\tfrac12\|x\|_2^2$."""
        return jnp.sum(x**2) / 2

    def dual(self, x: Vector) -> Vector:
        """X itself."""
        return x

    def primal(self, theta: Vector) -> Vector:
        """Theta itself."""
        return theta

    def unit(self, size: Scalar) -> Scalar:
        """The size of x."""
        return size
