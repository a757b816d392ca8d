"""A factor whose singular values may span thousands of orders of magnitude."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._components import homes
from ._symmetric import taylor_expm


# log of a singular value that is exactly zero: finite, so that differences stay defined.
LOG_ZERO = -1e30


class GradedFactor(eqx.Module):
    r"""$U = Q \, \mathrm{diag}(e^\ell) \, T$ with orthonormal $Q$ and well-conditioned $T$.

    $T$ is unit upper triangular where the factor comes out of `multiply`.

    The matrix $X = U U'$ loses every eigenvalue below rounding when it is stored entry by entry;
    here each direction keeps its own exponent. A direction that is exactly absent has the exponent
    `LOG_ZERO`.
    """

    basis: Float[Array, "*batch n p"]
    log_scale: Float[Array, "*batch p"]
    mixing: Float[Array, "*batch p d"]

    @property
    def factor(self) -> Float[Array, "*batch n d"]:
        """The factor U itself; exponents below the range of floats become zeros."""
        return (self.basis * jnp.exp(self.log_scale)[..., None, :]) @ self.mixing

    @property
    def matrix(self) -> Float[Array, "*batch n n"]:
        """The matrix X = UU'."""
        factor = self.factor
        return factor @ jnp.swapaxes(factor, -1, -2)

    @property
    def log_determinant(self) -> Float[Array, "*batch"]:
        """Log det U'U: twice the sum of the exponents."""
        return 2 * jnp.sum(self.log_scale, axis=-1)


def _signed_qr(
    matrix: Float[Array, "n p"],
) -> tuple[Float[Array, "n p"], Float[Array, "p p"]]:
    """QR with a positive diagonal, so that the factors depend continuously on the matrix."""
    basis, triangular = jnp.linalg.qr(matrix)
    sign = jnp.where(jnp.diagonal(triangular) < 0, -1.0, 1.0).astype(matrix.dtype)
    return basis * sign[None, :], triangular * sign[:, None]


def conjugate_upper(
    triangular: Float[Array, "p p"], before: Float[Array, " p"], after: Float[Array, " p"]
) -> Float[Array, "p p"]:
    """diag(e^-after) R diag(e^before) for an upper triangular R, without overflow.

    Args:
        triangular: R; what stands below its diagonal is ignored.
        before: exponents of the columns; those of an absent direction give zeros.
        after: exponents of the rows.

    Returns:
        The product.
    """
    # An exact zero stays one, also where directions that are not coupled change their order.
    kept = (jnp.triu(triangular) != 0) & (before > 0.5 * LOG_ZERO)[None, :]
    exponents = jnp.where(kept, before[None, :] - after[:, None], 0.0)
    return jnp.where(kept, jnp.exp(exponents) * triangular, 0.0)


def mixing_step(
    triangular: Float[Array, "p p"], before: Float[Array, " p"], after: Float[Array, " p"]
) -> Float[Array, "p p"]:
    """`conjugate_upper` with a diagonal of exact ones, as it is by the choice of `after`.

    Args:
        triangular: R.
        before: exponents before R.
        after: exponents after it.

    Returns:
        The unit upper triangular factor.
    """
    strict = jnp.triu(conjugate_upper(triangular, before, after), 1)
    return strict + jnp.eye(triangular.shape[0], dtype=triangular.dtype)


def multiply(
    state: GradedFactor,
    matrix: Float[Array, "n n"],
    together: Bool[Array, "n n"] | None = None,
) -> tuple[GradedFactor, Float[Array, "p p"]]:
    """The graded form of E U, for a well-conditioned E.

    Args:
        state: the graded form of U.
        matrix: E; the error of the small directions grows with its condition number.
        together: the components between which E is exactly zero, see `components`: a column of Q
            that is zero outside of one stays so to the last bit, where rounding would be larger
            than all of a small component. None for one component.

    Returns:
        The graded form of the product, and the triangular factor of E Q.
    """
    basis, triangular = _signed_qr(matrix @ state.basis)
    if together is not None:
        inside = homes(state.basis, together)
        basis = jnp.where(inside, basis, 0.0)
        met = inside.astype(basis.dtype)
        triangular = jnp.where(met.T @ met > 0, triangular, 0.0)
    # Directions that do not couple may change their order, with exponents so far apart that the
    # rounding of a zero, conjugated, would overflow.
    noise = 8 * jnp.finfo(triangular.dtype).eps * jnp.max(jnp.abs(triangular))
    passed = state.log_scale[None, :] > state.log_scale[:, None] + 1.0
    triangular = jnp.where(passed & (jnp.abs(triangular) <= noise), 0.0, triangular)
    diagonal = jnp.diagonal(triangular)
    log_scale = state.log_scale + jnp.log(diagonal)
    mixing = mixing_step(triangular, state.log_scale, log_scale) @ state.mixing
    return GradedFactor(basis, log_scale, mixing), triangular


class Substeps(eqx.Module):
    """Well-conditioned factors of a product of exponentials."""

    factors: Float[Array, "s n n"]
    counts: Int[Array, " s"]
    whole: Bool[Array, ""]
    together: Bool[Array, "n n"] | None

    @property
    def total(self) -> Int[Array, ""]:
        """How many factors there are, repetitions included."""
        return jnp.sum(self.counts, dtype=jnp.int32)

    def which(self, index: Int[Array, ""]) -> Int[Array, ""]:
        """The factor that is applied at a place of the sequence."""
        return jnp.sum(index >= jnp.cumsum(self.counts, dtype=jnp.int32)).astype(jnp.int32)


def substeps(
    exponents: Float[Array, "s n n"],
    *,
    spread: float,
    limit: int,
    together: Bool[Array, "n n"] | None = None,
) -> Substeps:
    """Split each exponential into equal factors of bounded condition number.

    Args:
        exponents: symmetric matrices S_1, ..., S_s, applied in this order.
        spread: largest difference of the extreme eigenvalues of one factor's exponent.
        limit: largest number of factors of one exponent; a nan counts as none.
        together: see `multiply`.

    Returns:
        The factors exp(S_i / q_i) and the counts q_i. Where all of them together are well
        conditioned, the first factor is their product and the only one.
    """
    # The extreme eigenvalues of a symmetric S differ by at most sqrt(2) |S|_F.
    width = jnp.sqrt(2.0 * jnp.sum(exponents**2, axis=(-2, -1)))
    wanted = jnp.ceil(jnp.maximum(width / spread, 1.0))
    counts = jnp.where(jnp.isfinite(wanted), jnp.minimum(wanted, limit), 0.0)
    scaled = exponents / jnp.maximum(counts, 1.0)[:, None, None]
    factors = taylor_expm(scaled)
    product = factors[0]
    for index in range(1, exponents.shape[0]):
        product = factors[index] @ product
    total = jnp.sum(width)
    whole = jnp.isfinite(total) & (total <= spread)
    one = jnp.zeros_like(counts).at[0].set(1.0)
    factors = factors.at[0].set(jnp.where(whole, product, factors[0]))
    return Substeps(factors, jnp.where(whole, one, counts).astype(jnp.int32), whole, together)


def propagate(
    state: GradedFactor,
    exponents: Float[Array, "s n n"],
    *,
    enabled: Bool[Array, ""],
    spread: float = 8.0,
    limit: int = 60,
    together: Bool[Array, "n n"] | None = None,
) -> GradedFactor:
    """Apply exp(S_s) ... exp(S_1) to a graded factor.

    Args:
        state: the graded form of U.
        exponents: the symmetric matrices S_1, ..., S_s.
        enabled: where false nothing is done, and under `vmap` no loop turns for this lane.
        spread: see `substeps`.
        limit: see `substeps`.
        together: see `multiply`.

    Returns:
        The graded form of the product.
    """
    parts = substeps(exponents, spread=spread, limit=limit, together=together)
    total = jnp.where(enabled, parts.total, 0)

    def body(carry):
        index, state = carry
        return index + 1, multiply(state, parts.factors[parts.which(index)], together)[0]

    first = (jnp.zeros_like(total), state)
    return jax.lax.while_loop(lambda carry: carry[0] < total, body, first)[1]
