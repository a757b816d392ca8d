"""Synchronization of signs, that is, community detection with two communities."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _checks
from .._types import PRECISION, Matrix, Scalar
from ._base import AbstractObjective, rotations


class Synchronization(AbstractObjective):
    r"""$f(Z) = -\sum_{ij}A_{ij}\langle x_i, x_j\rangle + \sum_i(\|z_i\|^2 - 1)^2$.

    Maximizing $x^\top Ax$ over signs, relaxed to unit vectors $x_i = z_i/\|z_i\|$ in $R^k$, with
    the $z_i$ in the rows of Z. The first sum does not see the lengths of the rows, and the second
    makes them 1 at every critical point: these are the critical points on the product of spheres,
    where the Hessian is the Riemannian one, and 8 in the radial directions. With $A = ss^\top$ plus
    little noise, s signs, every second-order critical point for k = 2 is $x_i = s_ix$.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> f = imf.landscape.Synchronization(jnp.ones((3, 3)))
        >>> float(f(jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])))
        -5.0

    Reference:
        Bandeira, Boumal and Voroninski (2016), On the low-rank approach for semidefinite programs
        arising in synchronization and community detection.
    """

    matrix: Matrix
    rank: int = eqx.field(static=True)

    def __init__(self, matrix: _checks.RealArrayLike, rank: int = 2):
        """Check and store the parts.

        Args:
            matrix: A, symmetric, shape (n, n). Its diagonal adds a constant.
            rank: the number k of columns.

        Raises:
            ValueError: not a finite square matrix, or a rank below 2, with which the rows are
                signs and there is no landscape.
        """
        matrix = _checks.array(matrix, "matrix")
        _checks.shape(matrix, "matrix", ("n", "n"))
        _checks.finite(matrix, "matrix")
        _checks.at_least(rank, "rank", 2)
        self.matrix, self.rank = (matrix + matrix.T) / 2, rank

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, k)."""
        return (self.matrix.shape[0], self.rank)

    @property
    def dtype(self) -> jnp.dtype:
        """That of the matrix."""
        return self.matrix.dtype

    def unit_rows(self, point: Float[Array, "n k"]) -> Float[Array, "n k"]:
        """The rows on the sphere.

        Args:
            point: Z, shape (n, k), with no row of zeros.

        Returns:
            The x_i, shape (n, k).
        """
        return point / jnp.sqrt(jnp.sum(point**2, axis=1, keepdims=True))

    def __call__(self, point: Float[Array, "n k"]) -> Scalar:
        """The value at Z, shape (n, k)."""
        lengths = jnp.sum(point**2, axis=1)
        return jnp.sum((lengths - 1) ** 2) - jnp.sum(self.matrix * self.image(point))

    def orbit(self, point: Float[Array, "n k"]) -> Float[Array, "j size"]:
        """Rotations of all rows at once."""
        return rotations(point)

    def image(self, point: Float[Array, "n k"]) -> Matrix:
        """The inner products of the unit rows."""
        rows = self.unit_rows(point)
        return jnp.dot(rows, rows.T, precision=PRECISION)
