"""X = U U'."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _checks
from .._random import normal
from .._types import PRECISION, Matrix, Scalar
from ._base import AbstractParametrization


class Factor(AbstractParametrization):
    r"""$X = U U^\top$ with $dU/dt = -A^*(r) U$.

    That is half of the gradient of $\tfrac12\|A(UU^\top) - y\|^2$: the path is the same, and the
    clock is the one in which $dX/dt = -(A^*(r) X + X A^*(r))$.

    Attributes:
        rank: the number of columns of a Gaussian start, or None for the identity.
        seed: of the Gaussian start.
    """

    rank: int | None = eqx.field(static=True, default=None)
    seed: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        """Refuse a rank below 1."""
        if self.rank is not None:
            _checks.at_least(self.rank, "rank", 1)

    def frame(self, dim: int, init: ArrayLike | None, dtype: np.dtype) -> Float[Array, "n d"]:
        """U~, the factor at scale one.

        Args:
            dim: n.
            init: U~ of shape (n, d), or None: the identity, or where `rank` is given a Gaussian
                matrix with entries of variance 1 / rank: the mean of U~ U~' is the identity.
            dtype: of the result.

        Returns:
            U~, shape (n, d).

        Raises:
            ValueError: an init of the wrong shape, not finite, or with a zero column.
        """
        if init is None:
            if self.rank is None:
                return jnp.asarray(np.eye(dim, dtype=dtype))
            drawn = normal(jax.random.key(self.seed), (dim, self.rank), dtype)
            return drawn / np.sqrt(self.rank, dtype=dtype)
        frame = _checks.array(init, "init", dtype)
        if frame.ndim != 2 or frame.shape[0] != dim or frame.shape[1] == 0:
            _checks.refuse(
                "init",
                f"be U~ of shape (n, d) = ({dim}, d) with d >= 1",
                f"has shape {frame.shape}",
            )
        _checks.finite(frame, "init")
        known = _checks.concrete(frame)
        if known is not None and not np.all(np.any(known != 0, axis=0)):
            column = int(np.flatnonzero(~np.any(known != 0, axis=0))[0])
            _checks.refuse(
                "init",
                "have no zero column",
                f"column {column} is zero",
                "A zero column stays zero for ever: leave it out.",
            )
        return frame

    def init(
        self, dim: int, log_alpha: Scalar, init: ArrayLike | None, dtype: np.dtype
    ) -> Float[Array, "n d"]:
        r"""$U_0 = \sqrt\alpha\,\tilde U$; see `frame`."""
        return jnp.exp(log_alpha / 2) * self.frame(dim, init, dtype)

    def unknown(self, theta: Float[Array, "n d"]) -> Matrix:
        r"""$U U^\top$."""
        return jnp.dot(theta, theta.T, precision=PRECISION)

    def velocity(self, theta: Float[Array, "n d"], generator: Matrix) -> Float[Array, "n d"]:
        r"""$-A^*(r) U$."""
        return -jnp.dot(generator, theta, precision=PRECISION)
