"""A matrix of squares times a vector, without the matrix of squares."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


# Below this the squares stay in the cache, and are better formed once.
FEWEST_ENTRIES = 2**16
# Rows whose squares are formed at a time: these stay in the cache.
_ROWS = 100

Matrix = Float[Array, "rows columns"]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def times_squares(
    share: Matrix, number: Matrix, vector: Float[Array, " _"], axis: int
) -> Float[Array, " _"]:
    r"""$S v$ (or $S^\top v$) for $S_{ij} = w_{ij}^2$, with one pass over $w$ and no copy of it.

    The derivative with respect to $S$ is an outer product, which is formed where it is used.

    Args:
        share: S, which is not read: derivatives are passed on to it.
        number: w, through which no derivative goes.
        vector: v.
        axis: the axis of S along which v lies: 1 for S v.

    Returns:
        The product.
    """
    return _forward(share, number, vector, axis)[0]


def _forward(
    share: Matrix, number: Matrix, vector: Array, axis: int
) -> tuple[Array, tuple[Array, Array]]:
    del share
    return (_columns, _rows)[axis](number, vector), (number, vector)


def _backward(axis: int, kept: tuple[Array, Array], slope: Array) -> tuple[Array, Array, Array]:
    number, vector = kept
    # In this form `_outer_products` finds the factors.
    spread = [
        lax.broadcast_in_dim(x, number.shape, (k,)) for x, k in ((slope, 1 - axis), (vector, axis))
    ]
    return spread[0] * spread[1], jnp.zeros_like(number), (_rows, _columns)[axis](number, slope)


times_squares.defvjp(_forward, _backward)


def _rows(number: Matrix, vector: Array) -> Array:
    # Behind the barrier the vector is a vector: else XLA may form the matrix that repeats it.
    vector = lax.optimization_barrier(vector)
    return jnp.sum(number * number * vector[None, :], axis=1)


def _columns(number: Matrix, vector: Array) -> Array:
    # XLA reduces along columns well on an accelerator, and a hundred times slower than memory
    # allows on a CPU.
    return lax.platform_dependent(number, vector, cpu=_columns_by_blocks, default=_columns_at_once)


def _columns_at_once(number: Matrix, vector: Array) -> Array:
    return jnp.sum(number * number * vector[:, None], axis=0)


def _columns_by_blocks(number: Matrix, vector: Array) -> Array:
    blocks, rest = divmod(number.shape[0], _ROWS)

    def add(total: Array, start: Array | int, rows: int) -> Array:
        part = lax.dynamic_slice_in_dim(number, start, rows)
        weights = lax.dynamic_slice_in_dim(vector, start, rows)
        return total + jnp.dot(weights, part * part, precision=lax.Precision.HIGHEST)

    total = jnp.zeros(number.shape[1], number.dtype)
    if blocks:
        total = lax.fori_loop(0, blocks, lambda i, total: add(total, _ROWS * i, _ROWS), total)
    return add(total, blocks * _ROWS, rest) if rest else total
