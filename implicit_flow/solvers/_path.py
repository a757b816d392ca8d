"""The differentiable part of an integration."""

import equinox as eqx
from jaxtyping import Array, Float

from ..linalg import GradedFactor
from ._congruence_term import CongruenceTerm


class Inputs(eqx.Module):
    """What the path of a flow depends on."""

    term: CongruenceTerm
    frame: Float[Array, "n d"]
    log_alpha: Float[Array, ""]
    t1: Float[Array, ""]
    save_ts: Float[Array, " k"]


class Path(eqx.Module):
    """The end of a flow, and the path at the save times."""

    graded: GradedFactor
    force: Float[Array, " m"]
    dual: Float[Array, " m"]
    saved: GradedFactor
    duals: Float[Array, "k m"]
