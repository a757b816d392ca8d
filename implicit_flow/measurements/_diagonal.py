"""Diagonal measurement matrices: the vector case."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _checks
from .._types import PRECISION, Matrix, Residual, Vector
from ._base import AbstractMeasurement


class DiagonalMeasurement(AbstractMeasurement):
    r"""Measures $B\,\mathrm{diag}(X)$: $A_k = \mathrm{diag}(B_k)$. The vector flows need this kind.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DiagonalMeasurement(jnp.array([[1.0, 2.0]]))
        >>> A.apply_vector(jnp.array([3.0, 4.0])).tolist()
        [11.0]
    """

    matrix: Float[Array, "m n"]

    def __init__(self, matrix: _checks.RealArrayLike):
        """Check and store the matrix.

        Args:
            matrix: B, shape (m, n); row k is the diagonal of A_k.

        Raises:
            ValueError: wrong shape, m = 0, or not finite.
        """
        matrix = _checks.array(matrix, "matrix")
        _checks.shape(matrix, "matrix", ("m", "n"))
        _checks.nonempty(matrix, "matrix", ("m", "n"))
        _checks.finite(matrix, "matrix")
        self.matrix = matrix

    @property
    def dim(self) -> int:
        """The number of rows of X."""
        return self.matrix.shape[1]

    @property
    def num_measurements(self) -> int:
        """The number of measurement matrices."""
        return self.matrix.shape[0]

    @property
    def dtype(self) -> jnp.dtype:
        """That of the matrix."""
        return self.matrix.dtype

    def apply_vector(self, x: Vector) -> Residual:
        r"""$B x$, the measurement of diag(x).

        Args:
            x: shape (n,).

        Returns:
            The predictions, shape (m,).

        Raises:
            ValueError: x of another length.
        """
        _checks.shape(x, "x", (self.dim,))
        return jnp.dot(self.matrix, x, precision=PRECISION)

    def adjoint_vector(self, r: Residual) -> Vector:
        r"""$B^\top r$, the diagonal of $A^*(r)$.

        Args:
            r: shape (m,).

        Returns:
            The vector, shape (n,).

        Raises:
            ValueError: r of another length.
        """
        _checks.shape(r, "r", (self.num_measurements,))
        return jnp.dot(r, self.matrix, precision=PRECISION)

    def apply(self, X: Matrix) -> Residual:
        r"""$B\,\mathrm{diag}(X)$."""
        _checks.shape(X, "X", (self.dim, self.dim))
        return self.apply_vector(jnp.diagonal(X))

    def adjoint(self, r: Residual) -> Matrix:
        r"""$\mathrm{diag}(B^\top r)$."""
        return jnp.diag(self.adjoint_vector(r))

    def apply_product(self, U: Float[Array, "n d"], V: Float[Array, "n d"]) -> Residual:
        r"""$B$ times the row products of U and V."""
        return self.apply_vector(jnp.sum(U * V, axis=1))

    def adjoint_times(self, r: Residual, V: Float[Array, "n d"]) -> Float[Array, "n d"]:
        r"""$\mathrm{diag}(B^\top r) V$."""
        _checks.shape(V, "V", (self.dim, "d"))
        return self.adjoint_vector(r)[:, None] * V

    def gram(self, W: Float[Array, "n d"], V: Float[Array, "n d"]) -> Float[Array, "m m"]:
        r"""$B\,\mathrm{diag}(W V^\top)\,B^\top$ with the row products of W and V."""
        weights = jnp.sum(W * V, axis=1)
        return jnp.dot(self.matrix * weights[None, :], self.matrix.T, precision=PRECISION)
