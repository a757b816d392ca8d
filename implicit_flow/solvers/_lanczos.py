"""The lowest eigenvalue of a symmetric operator, seen from a vector."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


_LARGEST_SPACE = 60


class Extremes(eqx.Module):
    """Bounds of a spectrum: `lowest` is not above the lowest eigenvalue that was seen.

    `vector` belongs to it, and `largest` is the largest absolute eigenvalue.
    """

    lowest: Float[Array, ""]
    vector: Float[Array, " n"]
    largest: Float[Array, ""]


def lanczos(operator: Callable, start: Float[Array, " n"]) -> Extremes:
    """Extreme eigenvalues among the eigenvectors that a vector overlaps with.

    Args:
        operator: symmetric, `(n,) -> (n,)`.
        start: the vector; an eigenvector that is orthogonal to it is not seen.

    Returns:
        The extremes; the lowest eigenvalue less the norm of the residual of its vector, a bound.
    """
    n, dtype = start.shape[0], start.dtype
    k = min(n, _LARGEST_SPACE)
    tiny = jnp.finfo(dtype).tiny

    def unit(vector):
        size = jnp.linalg.norm(vector)
        return jnp.where(size > tiny, vector / jnp.maximum(size, tiny), 0.0), size

    def grow(carry, index):
        basis, scale = carry
        image = operator(basis[index])
        diagonal = basis[index] @ image
        # Twice is enough: orthogonal to rounding against all that came before.
        for _ in range(2):
            image = image - basis.T @ (basis @ image)
        scale = jnp.maximum(scale, jnp.abs(diagonal))
        following, size = unit(image)
        # What is left of a space that is exhausted is rounding, and no direction.
        lives = size > 1e3 * jnp.finfo(dtype).eps * scale
        basis = basis.at[index + 1].set(jnp.where(lives, following, 0.0))
        return (basis, jnp.maximum(scale, size)), (diagonal, jnp.where(lives, size, 0.0))

    first, _ = unit(start)
    basis = jnp.zeros((k + 1, n), dtype).at[0].set(first)
    (basis, _), (diagonal, off) = jax.lax.scan(
        grow, (basis, jnp.zeros((), dtype)), jnp.arange(k, dtype=jnp.int32)
    )
    matrix = jnp.diag(diagonal) + jnp.diag(off[:-1], 1) + jnp.diag(off[:-1], -1)
    values, vectors = jnp.linalg.eigh(matrix)
    remainder = off[-1] * jnp.abs(vectors[-1, 0])
    largest = jnp.max(jnp.abs(values)) + off[-1]
    return Extremes(values[0] - remainder, basis[:k].T @ vectors[:, 0], largest)
