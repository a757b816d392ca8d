"""The rates at which directions grow and decay, and how far they have to go."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..linalg import LOG_ZERO, GradedFactor, eigh_within
from ._congruence_term import CongruenceTerm


# Exponent that is kept from the targets of any direction.
_MARGIN = 6.0
# Overlap below which a growing direction is no part of the factor.
_OVERLAP = 1e-10


class Spectrum(eqx.Module):
    """The rates of A*(r): negative ones of growth, positive ones of decay.

    `reachable` is the lowest among the directions that U has: one that it does not have never
    grows, and at a saddle the others do, however small they are. `room` is the exponent by which
    the fastest growing direction is still to grow until its own targets stop it; `spare` is the
    exponent by which it can grow before any direction is at its targets.
    """

    lowest: Float[Array, ""]
    highest: Float[Array, ""]
    reachable: Float[Array, ""]
    room: Float[Array, ""]
    spare: Float[Array, ""]


def spectrum(term: CongruenceTerm, force: Float[Array, " m"], graded: GradedFactor) -> Spectrum:
    """The rates of growth and decay at a point.

    Args:
        term: the flow.
        force: r.
        graded: U.

    Returns:
        The rates.
    """
    values, vectors = eigh_within(term.adjoint(force), term.together)
    present = graded.log_scale > 0.5 * LOG_ZERO
    held = present.astype(values.dtype)[None, :]

    def overlaps():
        return jnp.linalg.norm((vectors.T @ graded.basis) * held, axis=1)

    if graded.basis.shape[1] == values.shape[0]:
        overlap = jax.lax.cond(jnp.all(present), lambda: jnp.ones_like(values), overlaps)
    else:
        overlap = overlaps()
    reachable = jnp.min(jnp.where(overlap > _OVERLAP, values, jnp.inf))

    fastest = vectors[:, :1]
    tiny = jnp.finfo(values.dtype).tiny
    prediction = term.predict(fastest)
    stiffness = jnp.sum(term.curvature(prediction) * prediction**2)
    sizes = jnp.sum((vectors.T @ graded.factor) ** 2, axis=1)
    # x' = 2 (|lambda| - c x) x comes to rest at x = |lambda| / c.
    rooms = 0.5 * (
        jnp.log(jnp.maximum(jnp.abs(values), tiny))
        - jnp.log(jnp.maximum(stiffness, tiny))
        - jnp.log(jnp.maximum(sizes, tiny))
    )
    # That the others are as stiff as the fastest is a guess, which the margin is for; what does not
    # grow while it grows by `_MARGIN` cannot be in the way.
    rate = jnp.maximum(-values[0], tiny)
    share = -values / rate
    others = (rooms - _MARGIN) / jnp.where(share > 0, share, 1.0)
    spare = jnp.min(jnp.where(share * _MARGIN > 0.1, others, jnp.inf))
    return Spectrum(values[0], values[-1], reachable, rooms[0], spare)
