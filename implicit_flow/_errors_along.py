"""The errors of X along a path, from the distances of two integrations of it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


# Of the distance of two integrations, which is nearly everywhere the error of the coarser one.
_MARGIN = 2.0


def errors_along(
    distances: Float[Array, " k"],
    times: Float[Array, " k"],
    *,
    rounding: Float[Array, " #k"] | Float[Array, ""],
    end: Float[Array, ""],
    error: Float[Array, ""],
) -> Float[Array, " k"]:
    """Bounds of the relative errors of X at the save times.

    Where the distance of two integrations changes its sign they agree by chance: what is bounded
    is the geometric mean of each distance and the largest one.

    Args:
        distances: relative, of two integrations from each other; not finite where nothing is known.
        times: at which X was saved.
        rounding: what is added to the distances, of each or of all.
        end: the time at which the flow ended: later on X is what it was there.
        error: of X at the end.

    Returns:
        The bounds; inf where nothing is known.
    """
    known = jnp.isfinite(distances)
    sizes = jnp.where(known, distances, 0.0)
    # Two roots, whose product does not underflow.
    bound = _MARGIN * _root(sizes) * _root(jnp.max(sizes, initial=0.0)) + rounding
    bound = jnp.where(known, bound, jnp.inf)
    return jax.lax.stop_gradient(jnp.where(times >= end, error, bound))


def largest_along(distances: Float[Array, " k"]) -> Float[Array, ""]:
    """The largest of the bounds, but for rounding and for what is past the end.

    Args:
        distances: as in `errors_along`.

    Returns:
        The bound; inf where one is not known, and 0 where no time was asked for.
    """
    return _MARGIN * jnp.max(distances, initial=0.0)


def _root(x: Array) -> Array:
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)
