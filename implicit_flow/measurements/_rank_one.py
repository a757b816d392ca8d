"""Rank-one measurements: phase retrieval and its kin."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _checks
from .._types import PRECISION, Matrix, Residual
from ._base import AbstractMeasurement


class RankOneMeasurement(AbstractMeasurement):
    r"""Measures $a_k^\top X a_k$: $A_k = a_k a_k^\top$, never formed.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.RankOneMeasurement(jnp.array([[1.0, 1.0]]))
        >>> A.apply(jnp.array([[1.0, 2.0], [2.0, 5.0]])).tolist()
        [10.0]
    """

    vectors: Float[Array, "m n"]

    def __init__(self, vectors: _checks.RealArrayLike):
        """Check and store the vectors.

        Args:
            vectors: the a_k, shape (m, n).

        Raises:
            ValueError: wrong shape, m = 0, or not finite.
        """
        vectors = _checks.array(vectors, "vectors")
        _checks.shape(vectors, "vectors", ("m", "n"))
        _checks.nonempty(vectors, "vectors", ("m", "n"))
        _checks.finite(vectors, "vectors")
        self.vectors = vectors

    @property
    def dim(self) -> int:
        """The number of rows of X."""
        return self.vectors.shape[1]

    @property
    def num_measurements(self) -> int:
        """The number of measurement matrices."""
        return self.vectors.shape[0]

    @property
    def dtype(self) -> jnp.dtype:
        """That of the vectors."""
        return self.vectors.dtype

    def apply(self, X: Matrix) -> Residual:
        r"""$a_k^\top X a_k$."""
        _checks.shape(X, "X", (self.dim, self.dim))
        return jnp.sum(jnp.dot(self.vectors, X, precision=PRECISION) * self.vectors, axis=1)

    def adjoint(self, r: Residual) -> Matrix:
        r"""$\sum_k r_k a_k a_k^\top$."""
        _checks.shape(r, "r", (self.num_measurements,))
        return jnp.dot(self.vectors.T * r[None, :], self.vectors, precision=PRECISION)

    def apply_product(self, U: Float[Array, "n d"], V: Float[Array, "n d"]) -> Residual:
        r"""$\langle U^\top a_k, V^\top a_k\rangle$, in O(m n d)."""
        left = jnp.dot(self.vectors, U, precision=PRECISION)
        right = left if U is V else jnp.dot(self.vectors, V, precision=PRECISION)
        return jnp.sum(left * right, axis=1)

    def adjoint_times(self, r: Residual, V: Float[Array, "n d"]) -> Float[Array, "n d"]:
        r"""$\sum_k r_k a_k (a_k^\top V)$, in O(m n d)."""
        inner = jnp.dot(self.vectors, V, precision=PRECISION) * r[:, None]
        return jnp.dot(self.vectors.T, inner, precision=PRECISION)

    def gram(self, W: Float[Array, "n d"], V: Float[Array, "n d"]) -> Float[Array, "m m"]:
        r"""$(a_i^\top a_j)\langle W^\top a_i, V^\top a_j\rangle$."""
        left = jnp.dot(self.vectors, W, precision=PRECISION)
        right = left if W is V else jnp.dot(self.vectors, V, precision=PRECISION)
        inner = jnp.dot(self.vectors, self.vectors.T, precision=PRECISION)
        return inner * jnp.dot(left, right.T, precision=PRECISION)
