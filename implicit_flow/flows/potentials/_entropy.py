"""The negative entropy, of positive vectors."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy
from jaxtyping import ArrayLike

from ..._types import RealLike, Scalar, Vector
from ...parametrizations._hadamard import positive_vector
from ._base import AbstractPotential


class Entropy(AbstractPotential):
    r"""$\psi(x) = \sum_i x_i\log x_i - x_i$ on $x > 0$: $\theta = \log x$.

    It has no minimum to start at: x0 = alpha x~, at a scale alpha. As alpha goes to 0 the limit
    becomes that of least l1 norm; ties go to the largest entropy relative to x~.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> imf.flows.potentials.Entropy().primal(jnp.zeros(2)).tolist()
        [1.0, 1.0]

    Reference:
        Kivinen and Warmuth (1997), Exponentiated gradient versus gradient descent.
    """

    @property
    def needs_alpha(self) -> bool:
        """True."""
        return True

    @property
    def is_nonnegative(self) -> bool:
        """True."""
        return True

    def value(self, x: Vector) -> Scalar:
        r"""$\sum x\log x - x$, with $0\log 0 = 0$."""
        return jnp.sum(xlogy(x, x) - x)

    def dual(self, x: Vector) -> Vector:
        r"""$\log x$."""
        return jnp.log(x)

    def primal(self, theta: Vector) -> Vector:
        r"""$e^\theta$."""
        return jnp.exp(theta)

    def unit(self, size: Scalar) -> Scalar:
        """One: theta is a logarithm."""
        return jnp.ones_like(size)

    def tolerances(self, rtol: RealLike) -> tuple[Any, Any]:
        """An absolute error of log x is a relative one of x."""
        return 0.0, rtol

    def start(self, init: ArrayLike | None, log_alpha: Scalar, dim: int, dtype: np.dtype) -> Vector:
        r"""$\log\alpha + \log\tilde x$, so that no alpha underflows.

        Raises:
            ValueError: an init of the wrong shape, or not positive and finite.
        """
        return log_alpha + jnp.log(positive_vector(init, dim, dtype))
