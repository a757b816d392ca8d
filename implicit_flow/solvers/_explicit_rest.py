"""When an explicit run is at rest: X is still, and nothing that grows can move it."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._chebyshev import Motion
from ._congruence_term import CongruenceTerm
from ._goal import Goal, relative_residual
from ._lanczos import Extremes, lanczos
from ._low_rank import low_rank_distance
from ._stationarity import Window


# Largest power of t with which a direction may still be growing at rest.
_LARGEST_GROWTH = 0.05


def _reachable(term: CongruenceTerm, force: Float[Array, " m"], factor: Float[Array, "n d"]):
    """The extreme rates of A*(r) among the directions that U has.

    Args:
        term: the flow.
        force: r.
        factor: U.

    Returns:
        The extremes.
    """
    basis = jnp.linalg.qr(factor)[0]
    mixed = basis @ jnp.cos(1 + jnp.arange(basis.shape[1], dtype=factor.dtype))
    return lanczos(lambda v: term.adjoint_times(force, v[:, None])[:, 0], mixed)


def _emergent(
    term: CongruenceTerm, extremes: Extremes, factor: Float[Array, "n d"]
) -> Float[Array, ""]:
    """The relative size in X that directions still growing could come to.

    Along v the flow is x' = 2 (|lambda| - c x) x, with c the curvature of the loss along vv', and
    comes to rest at |lambda| / c; no more than d directions can grow.
    """
    tiny = jnp.finfo(factor.dtype).tiny
    prediction = term.predict(extremes.vector[:, None])
    stiffness = jnp.sum(term.curvature(prediction) * prediction**2)
    mass = jnp.maximum(-extremes.lowest, 0.0) / jnp.maximum(stiffness, tiny)
    size = jnp.maximum(jnp.linalg.norm(factor.T @ factor), tiny)
    return jnp.sqrt(float(factor.shape[1])) * mass / size


class Rest(eqx.Module):
    """Whether a run has come to rest: targets met or not, and what may yet emerge.

    `emergent` is the size relative to X that directions which still grow could come to.
    """

    arrived: Bool[Array, ""]
    stationary: Bool[Array, ""]
    emergent: Float[Array, ""]


def rest_of(
    term: CongruenceTerm,
    goal: Goal,
    window: Window,
    time: Float[Array, ""],
    at: Motion,
    force: Float[Array, " m"],
    enabled: Bool[Array, ""],
) -> Rest:
    """Whether X is still, and nothing that still grows can move it.

    Where the targets are met a direction may go on growing if what it can come to is within the
    drift that is allowed; where they are missed nothing may grow, or a saddle would pass for rest.

    Args:
        term: the flow.
        goal: what to reach.
        window: the last window of log time.
        time: the time reached.
        at: U there.
        force: r there.
        enabled: where false, nothing is at rest.

    Returns:
        Whether it is.
    """
    moved = low_rank_distance(at.factor, window.factor)
    still = enabled & (window.remainder <= goal.drift) & (moved <= goal.drift)
    misfit = relative_residual(term, at.factor)
    fits = misfit <= goal.residual

    def look():
        extremes = _reachable(term, force, at.factor)
        emergent = _emergent(term, extremes, at.factor)
        quiet = -extremes.lowest * time <= _LARGEST_GROWTH
        return emergent, quiet

    none = (jnp.asarray(jnp.inf, time.dtype), jnp.zeros((), bool))
    emergent, quiet = jax.lax.cond(still, look, lambda: none)
    settled = still & ~fits & quiet & window.force_constant
    # A misfit within the error of X that is asked for says nothing about the targets.
    explained = misfit <= goal.explained
    return Rest(
        (still & fits & (quiet | (emergent <= goal.drift))) | (settled & explained),
        settled & ~explained,
        jnp.where(quiet, 0.0, emergent),
    )
