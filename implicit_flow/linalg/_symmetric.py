"""Exponentials of symmetric matrices, with derivatives where eigenvalues coincide."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


# Taylor polynomial of degree 12 in four products (Bader, Blanes and Casas 2019, Table 4): with
# A = [I, S, S^2, S^3], B_i = sum_j c_ij A_j and C = B_2 + B_3^2, T_12 = B_0 + (B_1 + C) C.
_DEGREE_12 = np.array(
    [
        [9.0198e-16, 0.46932117595418237, -0.20099424927047284, -0.046239461340630717],
        [5.3159789575987126, 1.1992679041713223, 0.01179296240992997, 0.011088445285191680],
        [0.18188869982170435, 0.055027984399253991, 0.09351590770535415, 0.0061070052889805823],
        [-2.0861320e-13, -0.13181061013830184, -0.020278555405892591, -0.0067595184686308636],
    ]
)
_MAX_SQUARINGS = 12


def _power_norm(matrices: Float[Array, "... n n"]) -> Float[Array, ""]:
    """An upper bound of every spectral norm in the batch: the largest absolute row sum."""
    return jnp.max(jnp.sum(jnp.abs(matrices), axis=-1))


def taylor_expm(
    matrices: Float[Array, "... n n"], *, radius: float = 0.3
) -> Float[Array, "... n n"]:
    r"""Exponential of symmetric matrices by a scaled Taylor polynomial.

    Products only, so that a batch of small matrices costs a tenth of its eigendecompositions. The
    result is the exponential of a symmetric matrix that commutes with the given one and differs
    from it, relatively, by about `radius`$^{12} / 13!$; it is therefore positive definite for any
    radius.

    Args:
        matrices: symmetric matrices. Norms above about $4096$ `radius` are not resolved.
        radius: norm up to which the polynomial is used without squaring.

    Returns:
        The exponentials.

    Example:
        >>> import jax.numpy as jnp
        >>> from implicit_flow.linalg import taylor_expm
        >>> taylor_expm(jnp.diag(jnp.array([0.0, 1.0])))[1, 1].round(12)
        Array(2.71828183, dtype=float64)

    Reference:
        Bader, Blanes and Casas, "Computing the matrix exponential with an optimized Taylor
        polynomial approximation", Mathematics 7 (2019) 1174.
    """
    dtype = matrices.dtype
    n = matrices.shape[-1]
    norm = _power_norm(matrices)
    wanted = jnp.ceil(jnp.log2(jnp.maximum(norm / radius, 1.0)))
    # A nan norm (a failed Newton iterate) must not become a loop count.
    squarings = jnp.where(jnp.isfinite(wanted), jnp.minimum(wanted, _MAX_SQUARINGS), 0.0)
    first = matrices * jnp.exp2(-squarings)
    second = first @ first
    third = second @ first
    identity = jnp.eye(n, dtype=dtype)
    identity = jnp.broadcast_to(identity, first.shape)
    # Python's numbers: entries of an array would be 5 operations each to compile.
    blocks = [
        a * identity + b * first + c * second + d * third for a, b, c, d in _DEGREE_12.tolist()
    ]
    sixth = blocks[2] + blocks[3] @ blocks[3]
    value = blocks[0] + (blocks[1] + sixth) @ sixth
    return jax.lax.fori_loop(0, squarings.astype(jnp.int32), lambda _, e: e @ e, value)


def divided_exponential(
    first: Float[Array, "..."], second: Float[Array, "..."]
) -> Float[Array, "..."]:
    r"""The divided difference $(e^a - e^b) / (a - b)$, and $e^a$ where $a = b$.

    Args:
        first: $a$.
        second: $b$, of the same shape.

    Returns:
        The divided differences, without cancellation.

    Example:
        >>> import jax.numpy as jnp
        >>> from implicit_flow.linalg import divided_exponential
        >>> float(divided_exponential(jnp.array(0.0), jnp.array(0.0)))
        1.0
    """
    high = jnp.maximum(first, second)
    gap = jnp.abs(first - second)
    safe = jnp.where(gap > 0, gap, 1.0)
    # (1 - e^{-g}) / g for g > 0: finite for any gap, exact at small ones through expm1.
    return jnp.exp(high) * jnp.where(gap > 0, -jnp.expm1(-safe) / safe, 1.0)


@jax.custom_jvp
def symmetric_expm(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    r"""Exponential of a symmetric matrix, differentiable also at repeated eigenvalues.

    Eigenvectors are not differentiable where eigenvalues coincide, and $\alpha I$ is exactly such a
    point; the matrix function is. Its derivative is taken in the eigenbasis from divided
    differences (Daleckii and Krein), in forward and reverse mode.

    Args:
        matrix: a symmetric matrix $S$.

    Returns:
        $e^S$.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from implicit_flow.linalg import symmetric_expm
        >>> gradient = jax.grad(lambda s: jnp.trace(symmetric_expm(s)))(jnp.zeros((2, 2)))
        >>> bool(jnp.allclose(gradient, jnp.eye(2)))
        True

    Reference:
        Higham, "Functions of Matrices" (2008), Theorem 3.11.
    """
    return taylor_expm(matrix)


@symmetric_expm.defjvp
def _symmetric_expm_jvp(primals, tangents):
    (matrix,), (tangent,) = primals, tangents
    values, vectors = jnp.linalg.eigh(matrix)
    weights = divided_exponential(
        values[:, None] * jnp.ones_like(matrix), values[None, :] * jnp.ones_like(matrix)
    )
    inner = vectors.T @ (0.5 * (tangent + tangent.T)) @ vectors
    return symmetric_expm(matrix), vectors @ (weights * inner) @ vectors.T
