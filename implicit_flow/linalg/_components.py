"""Matrices that are block diagonal after a permutation, and stay so to the last bit."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def components(linked: Bool[Array, "n n"]) -> Bool[Array, "n n"]:
    """Which places are in one component of a graph.

    Args:
        linked: its edges, symmetric.

    Returns:
        True for places of one component, and on the diagonal.

    Example:
        >>> import jax.numpy as jnp
        >>> from implicit_flow.linalg import components
        >>> edges = jnp.zeros((3, 3), bool).at[0, 2].set(True).at[2, 0].set(True)
        >>> components(edges)[0].tolist()
        [True, False, True]
    """
    n = linked.shape[0]
    reached = jnp.where(linked | jnp.eye(n, dtype=bool), 1.0, 0.0)
    for _ in range(math.ceil(math.log2(n)) if n > 1 else 0):
        reached = jnp.minimum(reached @ reached, 1.0)
    return reached > 0.5


def in_order(together: Bool[Array, "n n"]) -> Int[Array, " n"]:
    """The places, one component after the other; as they are where all are in one.

    LAPACK keeps the zeros between blocks that are contiguous, and rounds those of others.

    Args:
        together: what `components` gives.

    Returns:
        The order.
    """
    return jnp.argsort(jnp.argmax(together, axis=1), stable=True).astype(jnp.int32)


def eigh_within(
    matrix: Float[Array, "n n"], together: Bool[Array, "n n"] | None
) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    """Eigenvalues and eigenvectors, each exactly zero outside of one component.

    Args:
        matrix: symmetric, zero between components.
        together: what `components` gives; None for one component.

    Returns:
        Both, as `jnp.linalg.eigh` gives them.
    """
    if together is None:
        values, vectors = jnp.linalg.eigh(matrix)
        return values, vectors
    order = in_order(together)
    values, vectors = jnp.linalg.eigh(matrix[order][:, order])
    return values, vectors[jnp.argsort(order)]


def homes(basis: Float[Array, "n p"], together: Bool[Array, "n n"]) -> Bool[Array, "n p"]:
    """Where each column may have entries: in its component, if each has one.

    Args:
        basis: the columns.
        together: what `components` gives.

    Returns:
        True where it may; everywhere, if some column has entries in two components.
    """
    inside = together[jnp.argmax(jnp.abs(basis), axis=0)].T
    return inside | ~jnp.all(inside | (basis == 0))
