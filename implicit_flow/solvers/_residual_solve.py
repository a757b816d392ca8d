"""Generalized conjugate residuals, for the linear systems behind a derivative."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


_MAX_DIRECTIONS = 60


class _Search(eqx.Module):
    solution: Float[Array, "3 m"]
    residual: Float[Array, "3 m"]
    directions: Float[Array, "q 3 m"]
    images: Float[Array, "q 3 m"]
    count: Int[Array, ""]


def residual_solve(
    operator: Callable,
    preconditioner: Callable,
    right: Float[Array, "3 m"],
) -> tuple[Float[Array, "3 m"], Float[Array, ""]]:
    """Solve operator(x) = right by preconditioned generalized conjugate residuals.

    Args:
        operator: a linear map, well conditioned in the Euclidean norm.
        preconditioner: an approximate inverse of it.
        right: the right-hand side.

    Returns:
        The solution, and the relative residual that was reached.

    Reference:
        Eisenstat, Elman and Schultz, "Variational iterative methods for nonsymmetric systems of
        linear equations", SIAM J. Numer. Anal. 20 (1983).
    """
    dtype = right.dtype
    size = right.size
    depth = min(_MAX_DIRECTIONS, size)
    tolerance = 20 * jnp.finfo(dtype).eps * jnp.linalg.norm(right)

    def advance(search: _Search) -> _Search:
        direction = preconditioner(search.residual)
        image = operator(direction)
        # Twice is enough: orthogonality to rounding even where the image is nearly dependent.
        for _ in range(2):
            overlap = jnp.tensordot(search.images, image, 2)
            image = image - jnp.tensordot(overlap, search.images, 1)
            direction = direction - jnp.tensordot(overlap, search.directions, 1)
        norm = jnp.linalg.norm(image)
        inverse = jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1.0), 0.0)
        image, direction = image * inverse, direction * inverse
        weight = jnp.sum(image * search.residual)
        return _Search(
            search.solution + weight * direction,
            search.residual - weight * image,
            search.directions.at[search.count].set(direction),
            search.images.at[search.count].set(image),
            search.count + 1,
        )

    zeros = jnp.zeros((depth, *right.shape), dtype)
    search = _Search(jnp.zeros_like(right), right, zeros, zeros, jnp.zeros((), jnp.int32))
    search = jax.lax.while_loop(
        lambda s: (jnp.linalg.norm(s.residual) > tolerance) & (s.count < depth), advance, search
    )
    size_right = jnp.linalg.norm(right)
    reached = jnp.linalg.norm(search.residual) / jnp.where(size_right > 0, size_right, 1.0)
    return search.solution, reached
