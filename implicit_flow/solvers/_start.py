"""The start of a congruence flow, and its linear phase far below the targets."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..linalg import LOG_ZERO, GradedFactor, eigh_within, propagate
from ._congruence_term import CongruenceTerm


# Below this share of the targets A(X) cannot be told from zero within rounding.
_LINEAR_SHARE = 1e-13
_MAX_SUBSTEPS = 256
# Share of the largest singular value from which on all count as a full rank, well enough to invert.
_FULL_RANK = 1e-6


class Start(eqx.Module):
    """Where the integration begins."""

    graded: GradedFactor
    rotation: Float[Array, "d p"]
    force: Float[Array, " m"]
    aligned: Bool[Array, ""]
    coupled: Bool[Array, ""]
    lowest: Float[Array, ""]
    largest: Float[Array, ""]


def start(term: CongruenceTerm, frame: Float[Array, "n d"], log_alpha: Float[Array, ""]) -> Start:
    r"""The graded form of $\sqrt\alpha\,\tilde U$.

    Only $X = UU'$ matters, so columns may be rotated: `frame @ rotation` has orthogonal columns.
    Where they are also of equal length and square ($\tilde X$ a multiple of the identity), the
    eigenvectors of A*(r(0)) are taken for them, in which the first phase of the flow is diagonal.

    Columns of other U have entries in all components of `term.together` and would carry the
    rounding of a large one into a small one. Eigenvectors V of A*(r(0)) do not: where U has full
    rank it is written $V\, (V'U)$, and `frame @ rotation` is V. Where it has not, it is `coupled`.

    Args:
        term: the flow.
        frame: $\tilde U$.
        log_alpha: log of the scale of $X_0$.

    Returns:
        The start.
    """
    n, d = frame.shape
    dtype = frame.dtype
    zero_factor = jnp.zeros((n, 1), dtype)
    force = term.residual(term.predict(zero_factor))
    field = term.adjoint(force)
    values, vectors = eigh_within(field, term.together)

    left, singular, right = jnp.linalg.svd(frame, full_matrices=False)
    top = singular[0]
    present = singular > max(n, d) * jnp.finfo(dtype).eps * top
    log_singular = jnp.where(present, jnp.log(jnp.where(present, singular, 1.0)), LOG_ZERO)
    rotation = right.T
    aligned = jnp.zeros((), bool)
    if d >= n:
        aligned = singular[-1] >= (1 - 8 * n * jnp.finfo(dtype).eps) * top
        # ascending eigenvalues of A*(r): the first column grows fastest
        rotation = jnp.where(aligned, rotation @ (left.T @ vectors), rotation)
        left = jnp.where(aligned, vectors, left)
    p = left.shape[1]
    mixing = jnp.eye(p, dtype=dtype)
    coupled = _spread_out(left, term, force.shape[0])
    if d >= n and term.together is not None:
        apart = coupled & (singular[-1] > _FULL_RANK * top)
        inner = vectors.T @ (left * singular[None, :])
        mixing = jnp.where(apart, inner, mixing)
        inverse = jnp.linalg.inv(jnp.where(apart, inner, jnp.eye(p, dtype=dtype)))
        rotation = jnp.where(apart, rotation @ inverse, rotation)
        left = jnp.where(apart, vectors, left)
        log_singular = jnp.where(apart, 0.0, log_singular)
        aligned, coupled = aligned | apart, coupled & ~apart
    log_scale = jnp.where(present, log_singular + 0.5 * log_alpha, LOG_ZERO)
    graded = GradedFactor(left, log_scale, mixing)
    largest = jnp.maximum(-values[0], values[-1])
    return Start(graded, rotation, force, aligned, coupled, values[0], largest)


def _spread_out(
    columns: Float[Array, "n p"], term: CongruenceTerm, num_measurements: int
) -> Bool[Array, ""]:
    """Whether columns have entries in two components that are both measured."""
    if term.together is None:
        return jnp.zeros((), bool)
    weights = np.random.default_rng(2).normal(size=num_measurements)
    moves = jnp.any(term.adjoint(jnp.asarray(weights, columns.dtype)) != 0, axis=1)
    seen = (columns != 0) & moves[:, None]
    pairs = seen.astype(columns.dtype) @ seen.astype(columns.dtype).T
    return jnp.any((pairs > 0) & ~term.together)


def _log_share(term: CongruenceTerm, begin: Start, graded: GradedFactor) -> Float[Array, ""]:
    """Log of the part of the force that A(X) changes."""
    top = jnp.max(graded.log_scale)
    unit = GradedFactor(graded.basis, graded.log_scale - top, graded.mixing).factor
    tiny = jnp.finfo(unit.dtype).tiny
    strength = jnp.maximum(jnp.linalg.norm(begin.force), tiny)
    curvature = term.curvature(term.predict(jnp.zeros_like(unit)))
    # Some losses are flat where X is zero and not before the targets: there the mean counts.
    curvature = jnp.where(curvature < 0.5 * term.secant, term.secant, curvature)
    direct = jnp.linalg.norm(curvature * term.predict(unit))
    # A growing direction v has |A(vv')| >= lambda / |r|, also where A(X) is still zero by symmetry.
    grown = jnp.max(curvature) * jnp.sum(unit**2) * jnp.abs(begin.lowest) / strength
    return 2 * top + jnp.log(jnp.maximum(jnp.maximum(direct, grown), tiny)) - jnp.log(strength)


def linear_time(
    term: CongruenceTerm, begin: Start, graded: GradedFactor, *, spread: float
) -> Float[Array, ""]:
    """A time for which the flow stays linear to rounding; zero where nothing grows.

    Args:
        term: the flow.
        begin: its start.
        graded: the present factor.
        spread: see `implicit_flow.linalg.propagate`.

    Returns:
        The time.
    """
    tiny = jnp.finfo(graded.log_scale.dtype).tiny
    rate = -begin.lowest
    width = jnp.sqrt(2.0 * jnp.sum(term.adjoint(begin.force) ** 2))
    room = jnp.log(jnp.asarray(_LINEAR_SHARE, rate.dtype)) - _log_share(term, begin, graded)
    grows = (rate > 0) & (room > 1.0)
    duration = jnp.where(grows, 0.5 * room / jnp.where(grows, rate, 1.0), 0.0)
    # In pieces, so that a derivative can look back on each.
    return jnp.minimum(duration, _MAX_SUBSTEPS * spread / jnp.maximum(width, tiny))


def advance_linearly(
    term: CongruenceTerm,
    begin: Start,
    graded: GradedFactor,
    time: Float[Array, ""],
    *,
    spread: float,
) -> GradedFactor:
    """The factor after a time of constant force.

    Args:
        term: the flow.
        begin: its start.
        graded: the present factor.
        time: how long.
        spread: see `implicit_flow.linalg.propagate`.

    Returns:
        The factor.
    """
    field = -term.adjoint(begin.force)

    def diagonal():
        growth = jnp.sum(graded.basis * (field @ graded.basis), axis=0)
        return GradedFactor(graded.basis, graded.log_scale + time * growth, graded.mixing)

    def general():
        return propagate(
            graded,
            (time * field)[None],
            enabled=~begin.aligned & (time > 0),
            spread=spread,
            limit=2 * _MAX_SUBSTEPS,
            together=term.together,
        )

    return jax.lax.cond(begin.aligned, diagonal, general)
