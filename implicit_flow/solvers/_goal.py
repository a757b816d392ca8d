"""What an integration is to reach."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._congruence_term import CongruenceTerm


class Goal(eqx.Module):
    """What an integration is to reach."""

    t1: Float[Array, ""]
    tolerance: Float[Array, ""]
    shortening: Float[Array, ""]
    drift: Float[Array, ""]
    residual: Float[Array, ""]
    explained: Float[Array, ""]
    vanished: Float[Array, ""]
    max_steps: Int[Array, ""]


def relative_residual(term: CongruenceTerm, factor: Float[Array, "n d"]) -> Float[Array, ""]:
    """|r(U)| over the scale of the targets.

    Args:
        term: the flow.
        factor: U.

    Returns:
        The ratio, or |r(U)| itself where the scale is zero.
    """
    residual = jnp.linalg.norm(term.residual(term.predict(factor)))
    return residual / jnp.where(term.scale > 0, term.scale, 1.0)
