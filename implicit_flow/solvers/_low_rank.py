"""Distances between products UU', without forming them."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def low_rank_distance(new: Float[Array, "n d"], old: Float[Array, "n d"]) -> Float[Array, ""]:
    """|UU' - VV'| relative to |UU'|, Frobenius; 0 where both vanish, and 1 where only U does.

    Args:
        new: U.
        old: V, of any gauge.

    Returns:
        The relative distance, exact to a few units of rounding.
    """
    d = new.shape[1]
    # UU' - VV' = Q (R_U R_U' - R_V R_V') Q', with [U V] = Q [R_U R_V].
    triangular = jnp.linalg.qr(jnp.concatenate([new, old], axis=1), mode="r")
    first, second = triangular[:, :d], triangular[:, d:]
    size = jnp.linalg.norm(new.T @ new)
    gap = jnp.linalg.norm(first @ first.T - second @ second.T)
    return jnp.where(size > 0, gap / jnp.where(size > 0, size, 1.0), jnp.where(gap > 0, 1.0, 0.0))
