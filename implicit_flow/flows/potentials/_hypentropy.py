"""The hyperbolic entropy: between l1 and l2, for vectors with signs."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from ... import _checks
from ..._types import RealLike, Scalar, Vector
from ._base import AbstractPotential


class Hypentropy(AbstractPotential):
    r"""$\psi(x) = \sum_i x_i\,\mathrm{arcsinh}(x_i/\beta) - \sqrt{x_i^2 + \beta^2} + \beta$.

    From x = 0 its flow goes to the minimizer of psi: least l1 norm as beta goes to 0, least l2 norm
    as beta goes to infinity. With $\beta = 2\alpha$ it is $Q_\alpha$ of the signed Hadamard flow
    of depth 2.

    Attributes:
        beta: the scale at which psi turns from a square into an entropy, a positive scalar.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> psi = imf.flows.potentials.Hypentropy(beta=0.1)
        >>> x = jnp.array([2.0, -1e-3])
        >>> bool(jnp.allclose(psi.primal(psi.dual(x)), x))
        True

    Reference:
        Ghai, Hazan and Singer (2020), Exponentiated gradient meets gradient descent.
    """

    beta: Scalar = eqx.field(converter=lambda value: _checks.array(value, "beta"))

    def __check_init__(self):
        """Refuse a beta that is not one positive number."""
        if self.beta.ndim == 0:
            _checks.finite(self.beta, "beta")
            _checks.positive(self.beta, "beta")
        else:
            _checks.shape(self.beta, "beta", ())

    def value(self, x: Vector) -> Scalar:
        r"""$\sum x\,\mathrm{arcsinh}(x/\beta) - \sqrt{x^2 + \beta^2} + \beta$."""
        z = self._over(x)
        # sqrt(1 + z^2) - 1, with its digits where z is small.
        bowl = z * (z / (1 + jnp.hypot(z, jnp.ones_like(z))))
        return jnp.sum(x * jnp.arcsinh(z) - self._scale(x) * bowl)

    def dual(self, x: Vector) -> Vector:
        r"""$\mathrm{arcsinh}(x/\beta)$."""
        return jnp.arcsinh(self._over(x))

    def primal(self, theta: Vector) -> Vector:
        r"""$\beta\sinh\theta$."""
        return self._scale(theta) * jnp.sinh(theta)

    def unit(self, size: Scalar) -> Scalar:
        """At large beta theta is small, in proportion to x; at small beta it is a logarithm."""
        return jnp.minimum(jnp.arcsinh(size / self._scale(size)), 1)

    def tolerances(self, rtol: RealLike) -> tuple[Any, Any]:
        """An absolute error of theta is a relative one of x where theta is large."""
        return 0.0, rtol

    def _scale(self, like: Vector | Scalar) -> Scalar:
        return self.beta.astype(like.dtype)

    def _over(self, x: Vector) -> Vector:
        return x / self._scale(x)
