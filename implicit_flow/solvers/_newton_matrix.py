"""The Newton matrix of the stage equations, diagonalized once for every step size."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._congruence_term import CongruenceTerm
from ._tableau import COEFFICIENTS, LEFT_WEIGHT


# (u I + v a)^{-1} = (u^2 I + u v (tr a I - a) + v^2 adj a) / det, by Cayley and Hamilton.
_ADJUGATE = np.linalg.det(COEFFICIENTS) * np.linalg.inv(COEFFICIENTS)
_LINEAR = np.trace(COEFFICIENTS) * np.eye(3) - COEFFICIENTS
_DETERMINANT = (1.0, np.trace(COEFFICIENTS), np.trace(_ADJUGATE), np.linalg.det(COEFFICIENTS))
# Curvature below this share of the largest is raised to it, in the Newton matrix only.
_CURVATURE_FLOOR = 1e-10


class NewtonMatrix(eqx.Module):
    r"""$I + h\, a \otimes D K$, with K = 2 gram(U, U) and D the curvature of the loss.

    One eigendecomposition of $D^{1/2} K D^{1/2}$ serves every step size h and all three stages,
    whose coupling is then a 3 x 3 system for each eigenvalue.
    """

    eigenvalues: Float[Array, " m"]
    vectors: Float[Array, "m m"]
    weight: Float[Array, " m"]
    factor: Float[Array, "n d"]

    @classmethod
    def build(cls, term: CongruenceTerm, factor: Float[Array, "n d"]) -> "NewtonMatrix":
        """The matrix at a factor U.

        Args:
            term: the flow.
            factor: U.

        Returns:
            The diagonalized matrix.
        """
        curvature = term.curvature(term.predict(factor))
        floor = _CURVATURE_FLOOR * jnp.max(curvature)
        tiny = jnp.finfo(factor.dtype).tiny
        weight = jnp.sqrt(jnp.maximum(jnp.maximum(curvature, floor), tiny))
        kernel = 2 * term.gram(factor, factor) * weight[:, None] * weight[None, :]
        # LAPACK may loop or answer nan on a nan matrix: a failed iterate gets the identity.
        finite = jnp.all(jnp.isfinite(kernel))
        kernel = jnp.where(finite, kernel, jnp.eye(kernel.shape[0], dtype=kernel.dtype))
        values, vectors = jnp.linalg.eigh(kernel)
        return cls(jnp.maximum(values, 0.0), vectors, weight, factor)

    def age(self, factor: Float[Array, "n d"]) -> Float[Array, ""]:
        """How far U has moved since the matrix was formed, relatively.

        Args:
            factor: U now.

        Returns:
            The distance over |U|.
        """
        size = jnp.maximum(jnp.linalg.norm(factor), jnp.finfo(factor.dtype).tiny)
        return jnp.linalg.norm(factor - self.factor) / size

    def coordinates(self, residuals: Float[Array, "k m"]) -> Float[Array, "k m"]:
        """Coordinates in which the matrix is diagonal."""
        return (residuals / self.weight[None, :]) @ self.vectors

    def residuals(self, coordinates: Float[Array, "k m"]) -> Float[Array, "k m"]:
        """Inverse of `coordinates`."""
        return (coordinates @ self.vectors.T) * self.weight[None, :]

    def solve(self, step: Float[Array, ""], right: Float[Array, "3 m"]) -> Float[Array, "3 m"]:
        """Solve (I + h a (x) DK) x = b, both in `coordinates`.

        Args:
            step: h.
            right: b.

        Returns:
            x.
        """
        stiffness = step * self.eigenvalues
        # Divided by 1 + z, so that z up to the range of floats cannot overflow.
        u = 1.0 / (1.0 + stiffness)
        v = jnp.where(jnp.isfinite(stiffness), stiffness * u, 1.0)
        dtype = right.dtype
        d0, d1, d2, d3 = (float(value) for value in _DETERMINANT)
        determinant = d0 * u**3 + d1 * u**2 * v + d2 * u * v**2 + d3 * v**3
        linear = jnp.asarray(_LINEAR, dtype) @ right
        adjugate = jnp.asarray(_ADJUGATE, dtype) @ right
        parts = (u**2)[None, :] * right + (u * v)[None, :] * linear + (v**2)[None, :] * adjugate
        return (u / determinant)[None, :] * parts

    def filter(self, step: Float[Array, ""], right: Float[Array, " m"]) -> Float[Array, " m"]:
        """Apply (I + h g K)^{-1}, g the real eigenvalue of the method, in `coordinates`."""
        return right / (1.0 + LEFT_WEIGHT * step * self.eigenvalues)

    def change(self, exponents: Float[Array, "k m"]) -> Float[Array, " k"]:
        """Relative change of U under exp(A*(z)), for z in `coordinates`.

        |A*(z) U|^2 = z' (K / 2) z, so no product with U is needed.
        """
        size = jnp.maximum(jnp.linalg.norm(self.factor), jnp.finfo(self.factor.dtype).tiny)
        return jnp.sqrt(jnp.sum(0.5 * self.eigenvalues[None, :] * exponents**2, axis=-1)) / size
