"""When the flow has arrived: by the drift that remains, never by a small residual alone."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._congruence_term import CongruenceTerm
from ._newton_matrix import NewtonMatrix


# Windows are at least this long in log time.
_WINDOW = 0.25
# Below this power of 1/t the drift is not summable in practice.
_SLOWEST_POWER = 0.05
# Largest power of t with which a direction may still be growing at the end.
_LARGEST_GROWTH = 0.05
# Change of the residual over one window, relative, at which it counts as constant.
_CONSTANT = 1e-3
# Relative residual, in units of rounding, that is noise.
_SUNKEN = 1e3
# Drift, in units of rounding, of an X that has begun to move.
_MOVED = 64.0
# Time constants of the fastest motion after which what has not moved never will.
_ACTED = 30.0
# Cosine of the angle between two rows below which they count as orthogonal.
_ORTHOGONAL = 1e-8


class Window(eqx.Module):
    """Drift of X over the last stretch of log time.

    With X(t) = X_inf + C t^-p the drift of one e-fold of time is D = p C t^-p, so D / p remains;
    p is read off two windows. An exponential approach has a large p.
    """

    log_time: Float[Array, ""]
    factor: Float[Array, "n d"]
    force: Float[Array, " m"]
    log_middle: Float[Array, ""]
    rate: Float[Array, ""]
    remainder: Float[Array, ""]
    force_constant: Bool[Array, ""]
    growth_since: Float[Array, ""]
    growth_power: Float[Array, ""]
    moves_from: Float[Array, ""]


def open_window(
    factor: Float[Array, "n d"], force: Float[Array, " m"], fastest: Float[Array, ""]
) -> Window:
    """A window that has seen nothing yet.

    Args:
        factor: U.
        force: r.
        fastest: the largest rate at which anything moves.

    Returns:
        The window.
    """
    dtype = factor.dtype
    infinite = jnp.asarray(jnp.inf, dtype)
    return Window(
        log_time=-infinite,
        factor=factor,
        force=force,
        log_middle=-infinite,
        rate=infinite,
        remainder=infinite,
        force_constant=jnp.zeros((), bool),
        growth_since=infinite,
        growth_power=jnp.zeros((), dtype),
        moves_from=jnp.log(_ACTED) - jnp.log(jnp.maximum(fastest, jnp.finfo(dtype).tiny)),
    )


def _distance(new: Float[Array, "n d"], old: Float[Array, "n d"]) -> Float[Array, ""]:
    """|X_new - X_old| / |X_new|, without cancellation between squares."""
    change = new - old
    matrix = change @ new.T + old @ change.T
    size = jnp.linalg.norm(new.T @ new)
    return jnp.linalg.norm(matrix) / jnp.maximum(size, jnp.finfo(new.dtype).tiny)


def advance_window(
    window: Window, time: Float[Array, ""], factor: Float[Array, "n d"], force: Float[Array, " m"]
) -> Window:
    """Close the window if it is long enough, and open the next one.

    Args:
        window: the present one.
        time: the time reached.
        factor: U there.
        force: the collocation value of r there.

    Returns:
        The window.
    """
    dtype = factor.dtype
    tiny = jnp.finfo(dtype).tiny
    log_time = jnp.log(jnp.maximum(time, tiny))
    first = jnp.isneginf(window.log_time)
    length = jnp.where(first, 1.0, log_time - window.log_time)
    due = length >= _WINDOW

    rate = _distance(factor, window.factor) / length
    middle = log_time - 0.5 * length
    seen = jnp.isfinite(window.rate)
    fall = jnp.log(jnp.maximum(window.rate, tiny)) - jnp.log(jnp.maximum(rate, tiny))
    power = jnp.where(seen, fall / jnp.maximum(middle - window.log_middle, 1e-3), 0.0)
    at_end = rate * jnp.exp(-0.5 * length * jnp.maximum(power, 0.0))
    remainder = jnp.where(
        power > _SLOWEST_POWER, at_end / jnp.maximum(power, _SLOWEST_POWER), jnp.inf
    )
    remainder = jnp.where(rate <= 4 * jnp.finfo(dtype).eps, rate, remainder)
    # Before X has begun to move its steps are rounding too, and tell nothing.
    moved = (rate > _MOVED * jnp.finfo(dtype).eps) & ~first
    moves_from = jnp.where(moved, -jnp.inf, window.moves_from)
    remainder = jnp.where(log_time >= moves_from, remainder, jnp.inf)

    size = jnp.maximum(jnp.linalg.norm(force), tiny)
    constant = jnp.linalg.norm(force - window.force) <= _CONSTANT * size

    before = jnp.maximum(jnp.linalg.norm(window.factor), tiny)
    now = jnp.maximum(jnp.linalg.norm(factor), tiny)
    growth = 2 * (jnp.log(now) - jnp.log(before)) / length
    steady = (growth > _SLOWEST_POWER) & (growth < 2.0) & (growth > 0.7 * window.growth_power)
    since = jnp.where(steady & jnp.isfinite(window.growth_since), window.growth_since, log_time)
    new = Window(
        log_time=log_time,
        factor=factor,
        force=force,
        log_middle=middle,
        rate=jnp.where(first, jnp.inf, rate),
        remainder=jnp.where(first, jnp.inf, remainder),
        force_constant=constant & ~first,
        growth_since=jnp.where(steady, since, jnp.inf),
        growth_power=jnp.where(
            steady & jnp.isfinite(window.growth_since), window.growth_power, growth
        ),
        moves_from=moves_from,
    )
    return jax.tree.map(lambda a, b: jnp.where(due | first, a, b), new, window)


def at_rest(
    window: Window,
    time: Float[Array, ""],
    factor: Float[Array, "n d"],
    reachable: Float[Array, ""],
    allowed: Float[Array, ""],
) -> Bool[Array, ""]:
    """Whether no more than an allowed drift remains and no direction is growing.

    Args:
        window: the last window; X has not moved since it was closed either, as it does when it
            leaves a saddle.
        time: the time reached.
        factor: U there.
        reachable: lowest eigenvalue of A*(r) among the directions of U.
        allowed: relative drift of X.

    Returns:
        Whether it is at rest.
    """
    still = (window.remainder <= allowed) & (_distance(factor, window.factor) <= allowed)
    return still & (-reachable * time <= _LARGEST_GROWTH)


def remaining_drift(
    term: CongruenceTerm,
    window: Window,
    time: Float[Array, ""],
    factor: Float[Array, "n d"],
    fits: Bool[Array, ""],
) -> Float[Array, ""]:
    r"""How far X may still move, relatively.

    The largest of three: what is left of a power of t, by the last two windows; what has moved
    since the last of them; and, where the targets are met, what is left if the force decays at the
    rates of its linearization, $\dot r = -K r$: the integral of the force to come is then
    $K^{-1} r$, and $t\, r$ where K is zero to rounding. A direction of K that is slower than the
    time that was seen moves a tiny part of X only, unless that is multiplied by a large one.

    Args:
        term: the flow.
        window: the last window.
        time: the time reached.
        factor: U there.
        fits: whether the targets are met.

    Returns:
        The distance.
    """
    tiny = jnp.finfo(time.dtype).tiny
    linear, _ = _to_come(term, factor, lambda rates: rates + 1 / jnp.maximum(time, tiny))
    seen = jnp.maximum(window.remainder, _distance(term.whole(factor), window.factor))
    drift = jnp.where(fits, jnp.maximum(seen, linear), seen)
    if term.rows is None:
        return drift
    # Of targets that are rounded themselves as much may be unseen.
    rounded = _cosine(term) * float(jnp.finfo(time.dtype).eps) ** 0.5
    of_rows = _drift_of_rows(term, factor) + rounded
    return jnp.where(fits & (_cosine(term) > _ORTHOGONAL), of_rows, drift)


def _cosine(term: CongruenceTerm) -> Float[Array, ""]:
    """Between the two rows of U that are furthest from orthogonal; 0 where rows are coupled.

    Where it is not 0, X has products of large and small rows, and what has yet to become of a small
    one shows in X by its length, and not by the square of that, as it does in the residual.
    """
    if term.rows is None:
        return jnp.zeros((), term.scale.dtype)
    products = term.rows @ term.rows.T
    return jnp.max(jnp.abs(products - jnp.diag(jnp.diagonal(products))))


def rows_at_rest(
    term: CongruenceTerm,
    factor: Float[Array, "n p"],
    allowed: Float[Array, ""],
    fits: Bool[Array, ""],
    otherwise: Bool[Array, ""],
) -> Bool[Array, ""]:
    """Whether rows that move alone and are not orthogonal have arrived.

    Args:
        term: the flow.
        factor: the lengths of the rows.
        allowed: relative drift of X.
        fits: whether the targets are met.
        otherwise: what holds where they are not met, and for all other U.

    Returns:
        Whether they are at rest, or the force is at rounding and says no more of what is left.
    """

    def settled():
        misfit = jnp.linalg.norm(term.residual(term.predict(factor)))
        sunken = misfit <= _SUNKEN * jnp.finfo(factor.dtype).eps * term.scale
        return sunken | (_drift_of_rows(term, factor) <= allowed)

    if term.rows is None:
        return otherwise
    asked = fits & (_cosine(term) > _ORTHOGONAL)
    return jax.lax.cond(asked, settled, lambda: otherwise)


def _drift_of_rows(term: CongruenceTerm, factor: Float[Array, "n p"]) -> Float[Array, ""]:
    r"""How far X may still move, relatively, where `rows` are given and the targets are met.

    What is left to integrate of the force is $K^{-1} r$ if $\dot r = -K r$. Directions of K that
    are lost in rounding belong to rows so small that nothing of them is seen in r; they may yet
    grow until they are, to a squared length of |r|.

    Args:
        term: the flow.
        factor: the lengths of the rows.

    Returns:
        The distance.
    """
    seen, unseen = _to_come(term, factor, _floor)
    tiny = jnp.finfo(factor.dtype).tiny
    return seen + _cosine(term) * jnp.sqrt(unseen / jnp.maximum(term.scale, tiny))


def _floor(rates: Float[Array, " m"]) -> Float[Array, ""]:
    """The rate below which a direction of K is lost in rounding."""
    floor = rates.shape[0] * jnp.finfo(rates.dtype).eps * jnp.max(rates)
    return jnp.maximum(floor, jnp.finfo(rates.dtype).tiny)


def _to_come(
    term: CongruenceTerm, factor: Float[Array, "n p"], lost: Callable[[Array], Array]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""What $\dot r = -K r$ has left of the way of X, relatively.

    Args:
        term: the flow.
        factor: U, or the lengths of its rows.
        lost: the rates to use where those of K are lost in rounding.

    Returns:
        The change, and the size of the residual in the directions that are lost.
    """
    matrix = NewtonMatrix.build(term, factor)
    force = matrix.coordinates(term.residual(term.predict(factor))[None])[0]
    rates = matrix.eigenvalues
    known = rates > _floor(rates)
    decay = jnp.where(known, rates, lost(rates))
    integral, unseen = matrix.residuals(jnp.stack([force / decay, jnp.where(known, 0.0, force)]))
    whole = term.whole(factor)
    size = jnp.maximum(jnp.linalg.norm(whole.T @ whole), jnp.finfo(factor.dtype).tiny)
    change = 2 * jnp.linalg.norm(term.adjoint_times(integral, whole) @ whole.T) / size
    return change, jnp.linalg.norm(unseen)
