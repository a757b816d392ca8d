"""The differentiable part of an integration."""

from typing import TypeVar

import equinox as eqx
import jax
from jaxtyping import Array, Float

from ..linalg import GradedFactor
from ._congruence_term import CongruenceTerm


Tree = TypeVar("Tree")


def without_derivatives(tree: Tree) -> Tree:
    """A tree whose float arrays are not differentiated.

    Args:
        tree: any.

    Returns:
        The tree.
    """
    return jax.tree.map(lambda x: jax.lax.stop_gradient(x) if eqx.is_inexact_array(x) else x, tree)


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
