"""Commuting measurement matrices, stored by their common eigenvectors."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _checks
from .._types import PRECISION, Matrix, Residual
from ._base import AbstractMeasurement


class CommutingMeasurement(AbstractMeasurement):
    r"""$A_k = Q\,\mathrm{diag}(\lambda_k)\,Q^\top$ with one orthogonal Q for all k.

    Storing the structure keeps it exact: a commuting family stored as dense matrices commutes only
    up to rounding, which at tiny alpha is a different problem.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.CommutingMeasurement(jnp.eye(2), jnp.array([[2.0, 1.0]]))
        >>> A.apply(jnp.eye(2)).tolist()
        [3.0]
    """

    basis: Float[Array, "n n"]
    spectra: Float[Array, "m n"]

    def __init__(self, basis: _checks.RealArrayLike, spectra: _checks.RealArrayLike):
        """Check and store the eigenvectors and eigenvalues.

        Args:
            basis: Q, orthogonal, shape (n, n), eigenvectors in columns.
            spectra: the eigenvalues of A_k in row k, shape (m, n).

        Raises:
            ValueError: wrong shapes, not finite, or a basis that is not orthogonal.
        """
        spectra = _checks.array(spectra, "spectra")
        basis = _checks.array(basis, "basis", dtype=spectra.dtype)
        _checks.shape(spectra, "spectra", ("m", "n"))
        _checks.nonempty(spectra, "spectra", ("m", "n"))
        n = spectra.shape[1]
        _checks.shape(basis, "basis", (n, n))
        _checks.finite(spectra, "spectra")
        _checks.finite(basis, "basis")
        known = _checks.concrete(basis)
        if known is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                defect = float(np.max(np.abs(known.T @ known - np.eye(n, dtype=known.dtype))))
            # A product of n rounded terms, and room for the rounding of the user's own routine.
            if not defect <= 1e3 * n * float(jnp.finfo(basis.dtype).eps):
                _checks.refuse(
                    "basis",
                    "be orthogonal",
                    f"Q'Q differs from the identity by {defect:.3g}",
                    "Orthogonalize it, for instance with `jnp.linalg.qr`.",
                )
        self.basis, self.spectra = basis, spectra

    @property
    def dim(self) -> int:
        """The number of rows of X."""
        return self.basis.shape[0]

    @property
    def num_measurements(self) -> int:
        """The number of measurement matrices."""
        return self.spectra.shape[0]

    @property
    def dtype(self) -> jnp.dtype:
        """That of the spectra."""
        return self.spectra.dtype

    def apply(self, X: Matrix) -> Residual:
        r"""$\lambda\,\mathrm{diag}(Q^\top X Q)$."""
        _checks.shape(X, "X", (self.dim, self.dim))
        rotated = jnp.sum(self.basis * jnp.dot(X, self.basis, precision=PRECISION), axis=0)
        return jnp.dot(self.spectra, rotated, precision=PRECISION)

    def adjoint(self, r: Residual) -> Matrix:
        r"""$Q\,\mathrm{diag}(\lambda^\top r)\,Q^\top$."""
        _checks.shape(r, "r", (self.num_measurements,))
        values = jnp.dot(r, self.spectra, precision=PRECISION)
        return jnp.dot(self.basis * values[None, :], self.basis.T, precision=PRECISION)

    def apply_product(self, U: Float[Array, "n d"], V: Float[Array, "n d"]) -> Residual:
        r"""$\lambda$ times the row products of $Q^\top U$ and $Q^\top V$."""
        left = jnp.dot(self.basis.T, U, precision=PRECISION)
        right = left if U is V else jnp.dot(self.basis.T, V, precision=PRECISION)
        return jnp.dot(self.spectra, jnp.sum(left * right, axis=1), precision=PRECISION)

    def gram(self, W: Float[Array, "n d"], V: Float[Array, "n d"]) -> Float[Array, "m m"]:
        r"""$\lambda\,\mathrm{diag}(Q^\top W V^\top Q)\,\lambda^\top$, in O(m^2 n)."""
        left = jnp.dot(self.basis.T, W, precision=PRECISION)
        right = left if W is V else jnp.dot(self.basis.T, V, precision=PRECISION)
        weights = jnp.sum(left * right, axis=1)
        return jnp.dot(self.spectra * weights[None, :], self.spectra.T, precision=PRECISION)
