"""Vectors as powers: x = u^N, and with signs x = u^N - v^N."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _checks
from .._types import Scalar, Vector
from ._base import AbstractParametrization


class Hadamard(AbstractParametrization):
    r"""$x = u^N$ with $du_i/dt = -(A^\top r)_i u_i^{N-1}$, u positive.

    Attributes:
        depth: N, at least 2.
    """

    depth: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        """Refuse a depth below 2."""
        _checks.at_least(self.depth, "depth", 2)

    def init(self, dim: int, log_alpha: Scalar, init: ArrayLike | None, dtype: np.dtype) -> Vector:
        r"""$u_0 = \alpha^{1/N}\tilde u$ with `init` = u~ of shape (n,), positive; ones if None."""
        return jnp.exp(log_alpha / self.depth) * positive_vector(init, dim, dtype)

    def unknown(self, theta: Vector) -> Vector:
        r"""$u^N$."""
        return theta**self.depth

    def velocity(self, theta: Vector, generator: Vector) -> Vector:
        r"""$-(A^\top r)\,u^{N-1}$."""
        return -generator * theta ** (self.depth - 1)


class SignedHadamard(AbstractParametrization):
    r"""$x = u^N - v^N$, u as for `Hadamard` and v with the opposite sign of the residual.

    Attributes:
        depth: N, at least 2.
    """

    depth: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        """Refuse a depth below 2."""
        _checks.at_least(self.depth, "depth", 2)

    def init(
        self, dim: int, log_alpha: Scalar, init: ArrayLike | None, dtype: np.dtype
    ) -> tuple[Vector, Vector]:
        r"""$u_0 = v_0 = \alpha^{1/N}\tilde u$ with `init` = u~ (n,), positive; ones if None."""
        start = jnp.exp(log_alpha / self.depth) * positive_vector(init, dim, dtype)
        return start, start

    def unknown(self, theta: tuple[Vector, Vector]) -> Vector:
        r"""$u^N - v^N$."""
        return theta[0] ** self.depth - theta[1] ** self.depth

    def velocity(self, theta: tuple[Vector, Vector], generator: Vector) -> tuple[Vector, Vector]:
        r"""$\mp(A^\top r)\,u^{N-1}$."""
        power = self.depth - 1
        return -generator * theta[0] ** power, generator * theta[1] ** power


def positive_vector(init: ArrayLike | None, dim: int, dtype: np.dtype) -> Float[Array, " n"]:
    """u~, the start of a vector parametrization at scale one.

    Args:
        init: positive, shape (n,), or None for ones.
        dim: n.
        dtype: of the result.

    Returns:
        u~, shape (n,).

    Raises:
        ValueError: an init of the wrong shape, or not positive and finite.
    """
    if init is None:
        return jnp.asarray(np.ones(dim, dtype))
    start = _checks.array(init, "init", dtype)
    _checks.shape(start, "init", (dim,))
    _checks.finite(start, "init")
    _checks.positive(start, "init", "A start at zero stays there for ever.")
    return start
