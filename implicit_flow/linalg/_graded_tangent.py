"""Derivatives of a graded factor, in coordinates that stay of order one."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._graded import LOG_ZERO, GradedFactor, mixing_step
from ._symmetric import divided_exponential


# Directions that have passed each other by more do not couple: what is left is rounding.
_LARGEST_EXPONENT = 36.0


class GradedTangent(eqx.Module):
    r"""$\delta U = W D T + Q D N T$ for $U = Q D T$, with $Q'W$ skew and N upper triangular.

    W moves the orthonormal basis; N moves exponents and mixing. Neither grows with the ratio of the
    singular values, while $\delta U U^{-1}$ does.
    """

    turn: Float[Array, "n p"]
    shear: Float[Array, "p p"]


def zero_tangent(state: GradedFactor) -> GradedTangent:
    """The tangent that does nothing.

    Args:
        state: where.

    Returns:
        The tangent.
    """
    return GradedTangent(jnp.zeros_like(state.basis), jnp.zeros_like(state.mixing))


def split(motion: Float[Array, "n p"], state: GradedFactor) -> GradedTangent:
    r"""The tangent of $\delta U = H D T$.

    Args:
        motion: H.
        state: Q, D and T.

    Returns:
        The tangent.
    """
    inner = state.basis.T @ motion
    lower = jnp.tril(inner, -1)
    upper = inner - (lower - lower.T)
    # As `conjugate_upper`, but with a mask that does not look at the tangent: this map is linear.
    exponents = state.log_scale[None, :] - state.log_scale[:, None]
    present = (state.log_scale > 0.5 * LOG_ZERO)[None, :]
    kept = jnp.triu(jnp.ones(exponents.shape, bool)) & present & (exponents <= _LARGEST_EXPONENT)
    shear = jnp.where(kept, jnp.exp(jnp.where(kept, exponents, 0.0)) * upper, 0.0)
    return GradedTangent(motion - state.basis @ upper, shear)


def factor_tangent(state: GradedFactor, tangent: GradedTangent) -> Float[Array, "n p"]:
    """The tangent of U itself, whose small directions are lost to rounding.

    Args:
        state: U.
        tangent: its graded tangent.

    Returns:
        The tangent.
    """
    scale = jnp.exp(state.log_scale)[None, :]
    turned = (tangent.turn * scale) @ state.mixing
    return turned + (state.basis * scale) @ (tangent.shear @ state.mixing)


def component_tangent(state: GradedFactor, tangent: GradedTangent) -> GradedFactor:
    """The tangents of basis, exponents and mixing.

    Args:
        state: the factor.
        tangent: its graded tangent.

    Returns:
        The tangents, in the same places.
    """
    diagonal = jnp.diagonal(tangent.shear)
    strict = tangent.shear - jnp.diag(diagonal)
    return GradedFactor(tangent.turn, diagonal, strict @ state.mixing)


def log_derivatives(
    values: Float[Array, "s n"],
    vectors: Float[Array, "s n n"],
    counts: Float[Array, " s"],
    tangents: Float[Array, "s n n"],
) -> Float[Array, "s n n"]:
    r"""$\delta E\, E^{-1}$ for $E = e^{S / q}$, from the eigenvectors of S.

    Args:
        values: eigenvalues of the exponents S.
        vectors: their eigenvectors.
        counts: q of each.
        tangents: of S.

    Returns:
        The logarithmic derivatives.
    """
    q = counts[:, None, None]
    gaps = (values[:, :, None] - values[:, None, :]) / q
    weights = divided_exponential(gaps, jnp.zeros_like(gaps))
    transposed = jnp.swapaxes(vectors, 1, 2)
    return vectors @ (weights * (transposed @ (tangents / q) @ vectors)) @ transposed


def multiply_tangent(
    tangent: GradedTangent,
    logarithmic: Float[Array, "n n"],
    factor: Float[Array, "n n"],
    triangular: Float[Array, "p p"],
    before: Float[Array, " p"],
    after: GradedFactor,
) -> GradedTangent:
    r"""The tangent of E U, where $E Q = Q_+ R$.

    $\delta(EU) = (E W R^{-1} + \delta E E^{-1} Q_+)\, D_+ T_+ + Q_+ D_+ (C N C^{-1}) T_+$ with
    $C = D_+^{-1} R D$; the first part is split anew.

    Args:
        tangent: W and N.
        logarithmic: the logarithmic derivative of E.
        factor: E.
        triangular: R.
        before: exponents before, log D.
        after: the graded form of EU.

    Returns:
        The tangent; it is linear in `tangent` and `logarithmic`.
    """
    turned = jax.scipy.linalg.solve_triangular(
        triangular, (factor @ tangent.turn).T, lower=False, trans="T"
    ).T
    moved = split(turned + logarithmic @ after.basis, after)
    change = mixing_step(triangular, before, after.log_scale)
    sheared = jax.scipy.linalg.solve_triangular(
        change, (change @ tangent.shear).T, lower=False, trans="T"
    ).T
    return GradedTangent(moved.turn, moved.shear + sheared)
