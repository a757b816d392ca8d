"""X as a product of N square matrices."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _checks
from .._types import PRECISION, Matrix, Scalar
from ._base import AbstractParametrization


class Deep(AbstractParametrization):
    r"""$X = W_N \cdots W_1$ with $dW_j/dt = -(\partial X/\partial W_j)^* A^*(r)$.

    The factors are one array of shape (N, n, n), the first to act first. The measurements see the
    symmetric part of X.

    Attributes:
        depth: N, at least 1.
    """

    depth: int = eqx.field(static=True)

    def __check_init__(self):
        """Refuse a depth below 1."""
        _checks.at_least(self.depth, "depth", 1)

    def init(
        self, dim: int, log_alpha: Scalar, init: ArrayLike | None, dtype: np.dtype
    ) -> Float[Array, "N n n"]:
        r"""$W_j = \alpha^{1/N}\tilde W_j$; identities if None.

        `init` has shape (N, n, n), or (n, n) for the same matrix in every layer.
        """
        shape = (self.depth, dim, dim)
        if init is None:
            frames = jnp.broadcast_to(jnp.eye(dim, dtype=dtype), shape)
        else:
            frames = _checks.array(init, "init", dtype)
            if frames.shape == (dim, dim):
                frames = jnp.broadcast_to(frames, shape)
            _checks.shape(frames, "init", shape)
            _checks.finite(frames, "init")
        return jnp.exp(log_alpha / self.depth) * frames

    def unknown(self, theta: Float[Array, "N n n"]) -> Matrix:
        """The product of the factors."""
        product = theta[0]
        for factor in theta[1:]:
            product = jnp.dot(factor, product, precision=PRECISION)
        return product

    def velocity(self, theta: Float[Array, "N n n"], generator: Matrix) -> Float[Array, "N n n"]:
        r"""$-(W_N \cdots W_{j+1})^\top A^*(r) (W_{j-1} \cdots W_1)^\top$ for each j."""
        identity = jnp.eye(theta.shape[1], dtype=theta.dtype)
        before, after = [identity], [identity]
        for j in range(self.depth - 1):
            before.append(jnp.dot(theta[j], before[-1], precision=PRECISION))
            after.append(jnp.dot(after[-1], theta[self.depth - 1 - j], precision=PRECISION))
        moves = [
            -jnp.dot(
                jnp.dot(after[self.depth - 1 - j].T, generator, precision=PRECISION),
                before[j].T,
                precision=PRECISION,
            )
            for j in range(self.depth)
        ]
        return jnp.stack(moves)
