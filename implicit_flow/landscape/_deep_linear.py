"""Deep linear networks with everything observed."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _checks
from .._types import PRECISION, Matrix, Scalar
from ._base import AbstractObjective


class DeepLinear(AbstractObjective):
    r"""$f(W_1, \dots, W_N) = \tfrac12\|W_N\cdots W_1 - M\|_F^2$, square layers of one size.

    Every local minimum is global. At $W = 0$ the Hessian is zero for $N \ge 3$: a saddle without
    negative curvature.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> f = imf.landscape.DeepLinear(jnp.diag(jnp.array([2.0, 1.0])), depth=3)
        >>> float(f(jnp.zeros((3, 2, 2)))), f.shape
        (2.5, (3, 2, 2))

    Reference:
        Kawaguchi (2016), Deep learning without poor local minima.
    """

    matrix: Matrix
    depth: int = eqx.field(static=True)

    def __init__(self, matrix: _checks.RealArrayLike, depth: int):
        """Check and store the parts.

        Args:
            matrix: M, shape (n, n).
            depth: N, at least 1.

        Raises:
            ValueError: not a finite square matrix, or a depth below 1.
        """
        matrix = _checks.array(matrix, "matrix")
        _checks.shape(matrix, "matrix", ("n", "n"))
        _checks.finite(matrix, "matrix")
        _checks.at_least(depth, "depth", 1)
        self.matrix, self.depth = matrix, depth

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, n, n); the first layer stands first."""
        n = self.matrix.shape[0]
        return (self.depth, n, n)

    @property
    def dtype(self) -> jnp.dtype:
        """That of the matrix."""
        return self.matrix.dtype

    def __call__(self, point: Float[Array, "N n n"]) -> Scalar:
        """The value at the layers, shape (N, n, n)."""
        return 0.5 * jnp.sum((self.image(point) - self.matrix) ** 2)

    def orbit(self, point: Float[Array, "N n n"]) -> Float[Array, "k size"]:
        """W_{j+1} G^-1 and G W_j for invertible G, between each two layers."""
        n = point.shape[1]
        units = jnp.eye(n * n, dtype=point.dtype).reshape(n * n, n, n)
        still = jnp.zeros((0, point.size), point.dtype)
        moves = [still]
        for layer in range(self.depth - 1):

            def move(G: Array, layer: int = layer) -> Array:
                change = jnp.zeros_like(point)
                change = change.at[layer].set(jnp.dot(G, point[layer], precision=PRECISION))
                after = jnp.dot(point[layer + 1], G, precision=PRECISION)
                return change.at[layer + 1].set(-after).reshape(-1)

            moves.append(jax.vmap(move)(units))
        return jnp.concatenate(moves)

    def image(self, point: Float[Array, "N n n"]) -> Matrix:
        """The product of the layers."""
        product = point[0]
        for layer in range(1, self.depth):
            product = jnp.dot(point[layer], product, precision=PRECISION)
        return product
