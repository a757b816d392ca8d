"""The stage equations of one step, and their solution by a simplified Newton method."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..linalg import taylor_expm
from ._congruence_term import CongruenceTerm
from ._newton_matrix import NewtonMatrix
from ._radau import ResidualRadau
from ._tableau import COEFFICIENTS, EXPONENT_WEIGHTS


_MAX_REFRESHES = 4
# Contraction beyond which the Newton matrix is formed anew, and that of a hopeless iteration.
_SLOW = 0.4
_DIVERGING = 2.5
# Growth beyond which the rounding of U exceeds the floor of the iteration.
_NOISE_SHARE = 10.0
# Relative change of U below which a new Newton matrix is no better than the old one.
_YOUNG = 0.02
# Increments that the acceleration combines.
_DEPTH = 4
# Share of the collocation value at the end of a step by which the residual there may differ from
# it. Measured on 384 small runs, `rtol` 1e-6 and 1e-4: 18 percent fewer steps than with no bound.
_DISAGREEMENT = 0.2
# Power of rounding, relative to A(X), below which the difference is left: nobody asks for more.
_UNASKED = 0.75
# Noise of the residual, relative, up to which directions may grow in one step while all are far
# from their targets; and by how much where none is coupled to another, so that there is no noise.
_NOISE, _UNCOUPLED_GROWTH = 4e-11, 200.0


def most_growth(term: CongruenceTerm, solver: ResidualRadau) -> float:
    """Largest exponent by which a direction may grow in one step while all wait.

    The rounding of the largest direction reaches the residual multiplied by the growth, unless
    directions are not coupled.

    Args:
        term: the flow.
        solver: its options.

    Returns:
        The exponent.
    """
    eps = float(jnp.finfo(term.scale.dtype).eps)
    most = math.log(_NOISE / eps) if term.rows is None else _UNCOUPLED_GROWTH
    return max(most, solver.growth_per_step)


class Stages(eqx.Module):
    """Solution of the stage equations of one step."""

    residuals: Float[Array, "3 m"]
    predictions: Float[Array, "3 m"]
    last_factor: Float[Array, "n d"]
    matrix: NewtonMatrix
    converged: Bool[Array, ""]
    num_iterations: Int[Array, ""]
    num_factorizations: Int[Array, ""]


class History(eqx.Module):
    """Differences of the last iterates, and of the Newton increments at them."""

    iterate: Float[Array, "3 m"]
    increment: Float[Array, "3 m"]
    iterates: Float[Array, "q 3 m"]
    increments: Float[Array, "q 3 m"]
    count: Int[Array, ""]


def _no_history(residuals: Float[Array, "3 m"]) -> History:
    zeros = jnp.zeros((_DEPTH, *residuals.shape), residuals.dtype)
    return History(residuals, residuals, zeros, zeros, jnp.zeros((), jnp.int32))


def _accelerate(
    history: History,
    matrix: NewtonMatrix,
    iterate: Float[Array, "3 m"],
    increment: Float[Array, "3 m"],
) -> tuple[Float[Array, "3 m"], History]:
    """Anderson's combination of the last increments, in the norm of their effect on U.

    The frozen matrix does not see that a rotation of U into a growing or decaying direction is
    amplified or damped within the step. Those are few directions: GMRES on them, for free.
    """
    slot = jnp.mod(history.count - 1, _DEPTH)
    write = history.count > 0
    iterates = jnp.where(
        write, history.iterates.at[slot].set(iterate - history.iterate), history.iterates
    )
    increments = jnp.where(
        write, history.increments.at[slot].set(increment - history.increment), history.increments
    )
    weight = jnp.sqrt(matrix.eigenvalues)[None, None, :]
    flat = (increments * weight).reshape(_DEPTH, -1)
    right = (increment * weight[0]).reshape(-1)
    gram = flat @ flat.T
    diagonal = jnp.diagonal(gram)
    used = jnp.arange(_DEPTH, dtype=jnp.int32) < history.count
    scale = jnp.where(
        used & (diagonal > 0), 1 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1.0)), 0.0
    )
    ridge = jnp.diag(1e-10 + jnp.where(scale > 0, 0.0, 1.0))
    gram = gram * scale[:, None] * scale[None, :] + ridge
    mixture = jnp.linalg.solve(gram, scale * (flat @ right)) * scale
    correction = jnp.tensordot(mixture, iterates + increments, 1)
    new = History(iterate, increment, iterates, increments, history.count + 1)
    return increment - correction, new


class _Iteration(eqx.Module):
    residuals: Float[Array, "3 m"]
    predictions: Float[Array, "3 m"]
    last_factor: Float[Array, "n d"]
    matrix: NewtonMatrix
    history: History
    previous_change: Float[Array, ""]
    fresh: Int[Array, ""]
    count: Int[Array, ""]
    refreshes: Int[Array, ""]
    converged: Bool[Array, ""]
    failed: Bool[Array, ""]


def exponents(
    term: CongruenceTerm, residuals: Float[Array, "3 m"], step: Float[Array, ""]
) -> Float[Array, "6 n n"]:
    """The six symmetric exponents of a step, from the residuals at its nodes."""
    weights = jnp.asarray(EXPONENT_WEIGHTS, residuals.dtype)
    return jax.vmap(term.adjoint)(-step * (weights @ residuals))


def stage_factors(
    term: CongruenceTerm,
    residuals: Float[Array, "3 m"],
    step: Float[Array, ""],
    factor: Float[Array, "n d"],
) -> tuple[Float[Array, "3 n d"], Float[Array, ""]]:
    """U at the three nodes, for a residual that follows its collocation polynomial.

    Args:
        term: the flow.
        residuals: its values at the nodes.
        step: h.
        factor: U at the start.

    Returns:
        U at the nodes, and the log of the largest growth of any direction.
    """
    e = taylor_expm(exponents(term, residuals, step), radius=0.8)
    # Three products of pairs at once, and not one after the other: fewer and larger operations.
    intervals = e[1::2] @ e[::2]
    first = intervals[0] @ factor
    second = intervals[1] @ first
    third = intervals[2] @ second
    # The largest entry of a positive definite matrix is on its diagonal and at most its norm.
    growth = jnp.sum(jnp.log(jnp.max(jnp.abs(e), axis=(1, 2))))
    return jnp.stack([first, second, third]), growth


def defect(
    term: CongruenceTerm,
    residuals: Float[Array, "3 m"],
    step: Float[Array, ""],
    factor: Float[Array, "n d"],
) -> Float[Array, "3 m"]:
    """k_i - r(U_i), which vanishes at the solution of the stage equations."""
    factors, _ = stage_factors(term, residuals, step, factor)
    return residuals - jax.vmap(lambda u: term.residual(term.predict(u)))(factors)


def effect(
    term: CongruenceTerm,
    factors: Float[Array, "3 n d"],
    step: Float[Array, ""],
    update: Float[Array, "3 m"],
    residuals: Float[Array, "3 m"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """What an update of the residuals at the nodes does to U.

    Args:
        term: the flow.
        factors: U at the nodes.
        step: h.
        update: of the residuals.
        residuals: with the update.

    Returns:
        The largest relative change of U at a node, and the relative change of the velocity at the
        end of the step.
    """
    tiny = jnp.finfo(step.dtype).tiny
    coupling = step * jnp.asarray(COEFFICIENTS, step.dtype)
    directions = jnp.concatenate([coupling @ update, update[2:], residuals[2:]])
    at = jnp.concatenate([factors, factors[2:], factors[2:]])
    moved = jnp.linalg.norm(jax.vmap(term.adjoint_times)(directions, at), axis=(1, 2))
    sizes = jnp.maximum(jnp.linalg.norm(factors, axis=(1, 2)), tiny)
    return jnp.max(moved[:3] / sizes), moved[3] / jnp.maximum(moved[4], tiny)


def agrees(
    violation: Float[Array, "3 m"], residuals: Float[Array, "3 m"], predictions: Float[Array, "3 m"]
) -> Bool[Array, ""]:
    """Whether the residual at the end of the step is that of U, and not only in its effect on U.

    In stiff directions a change of U below any tolerance is a residual far above the collocation
    value. It would do no harm in later steps, but no target would count as met.

    Args:
        violation: of the stage equations.
        residuals: the collocation values.
        predictions: A(UU') at the nodes.

    Returns:
        Whether it is.
    """
    floor = float(jnp.finfo(violation.dtype).eps) ** _UNASKED * jnp.linalg.norm(predictions[2])
    allowed = jnp.maximum(_DISAGREEMENT * jnp.linalg.norm(residuals[2]), floor)
    return jnp.linalg.norm(violation[2]) <= allowed


def rounding(growth: Float[Array, ""]) -> Float[Array, ""]:
    """The change of U below which no iteration gets: its rounding grows with its directions.

    Args:
        growth: log of the largest growth of any direction.

    Returns:
        The change.
    """
    floor = 1e3 * jnp.finfo(growth.dtype).eps
    return floor * jnp.maximum(1.0, jnp.exp(jnp.minimum(growth, 12.0)) / _NOISE_SHARE)


def solve_stages(
    term: CongruenceTerm,
    solver: ResidualRadau,
    factor: Float[Array, "n d"],
    step: Float[Array, ""],
    tolerance: Float[Array, ""],
    guess: Float[Array, "3 m"],
    matrix: NewtonMatrix,
    enabled: Bool[Array, ""],
) -> Stages:
    """Solve the stage equations.

    Args:
        term: the flow.
        solver: its options.
        factor: U at the start of the step.
        step: its length h.
        tolerance: of the step; Newton leaves `solver.newton_fraction` of it.
        guess: first residuals at the nodes.
        matrix: Newton matrix to begin with.
        enabled: where false, no iteration is made.

    Returns:
        The stages.
    """
    dtype = factor.dtype
    tiny = jnp.finfo(dtype).tiny
    target = solver.newton_fraction * tolerance

    def iterate(state: _Iteration) -> _Iteration:
        factors, growth = stage_factors(term, state.residuals, step, factor)
        last = factors[2]
        predictions = jax.vmap(term.predict)(factors)
        reached = jax.vmap(term.residual)(predictions)
        violation = state.residuals - reached
        increment = -state.matrix.solve(step, state.matrix.coordinates(violation))
        update = state.matrix.residuals(increment)
        here = state.matrix.coordinates(state.residuals)
        accelerated, history = _accelerate(state.history, state.matrix, here, increment)
        residuals = state.residuals + state.matrix.residuals(accelerated)
        change, relative = effect(term, factors, step, update, residuals)
        measured = change / jnp.maximum(state.previous_change, tiny)
        known = state.fresh >= 1
        contraction = jnp.where(known, measured, 0.0)

        tail = jnp.minimum(contraction, 0.99)
        small = (change < target) | (
            known & (contraction < 1) & (change * tail / (1 - tail) < target)
        )
        # The residual at the end itself must be resolved, not only its effect within this step.
        resolved = relative * jnp.where(known, jnp.minimum(contraction, 1.0), 1.0) < 0.05
        resolved &= agrees(violation, state.residuals, predictions)
        converged = (small & resolved) | ((change < rounding(growth)) & (state.count >= 1))

        finite = jnp.all(jnp.isfinite(residuals)) & (growth < 2 * most_growth(term, solver))
        count = state.count + 1
        # What a matrix of this very place does not resolve is left to the acceleration.
        fresh = state.matrix.age(last) < _YOUNG
        tried = (state.refreshes >= 2) | (fresh & (state.fresh > _DEPTH))
        hopeless = known & (contraction > _DIVERGING) & tried
        failed = ~finite | (~converged & (hopeless | (count >= solver.max_newton_iterations)))
        slow = (known & (contraction > _SLOW)) | (change > 1.0)
        refresh = slow & ~fresh & ~converged & ~failed & (state.refreshes < _MAX_REFRESHES)
        new_matrix = jax.lax.cond(
            refresh, lambda: NewtonMatrix.build(term, last), lambda: state.matrix
        )
        return _Iteration(
            residuals=residuals,
            predictions=predictions,
            last_factor=last,
            matrix=new_matrix,
            history=eqx.tree_at(lambda h: h.count, history, jnp.where(refresh, 0, history.count)),
            previous_change=change,
            # A contraction measured across a change of matrix means nothing.
            fresh=jnp.where(refresh, 0, state.fresh + 1),
            count=count,
            refreshes=state.refreshes + refresh.astype(jnp.int32),
            converged=converged & finite,
            failed=failed,
        )

    zero = jnp.zeros((), jnp.int32)
    state = _Iteration(
        residuals=guess,
        predictions=guess,
        last_factor=factor,
        matrix=matrix,
        history=_no_history(guess),
        previous_change=jnp.ones((), dtype),
        fresh=zero,
        count=zero,
        refreshes=zero,
        converged=jnp.zeros((), bool),
        failed=~enabled,
    )
    state = jax.lax.while_loop(lambda s: ~s.converged & ~s.failed, iterate, state)
    return Stages(
        residuals=state.residuals,
        predictions=state.predictions,
        last_factor=state.last_factor,
        matrix=state.matrix,
        converged=state.converged,
        num_iterations=state.count,
        num_factorizations=state.refreshes,
    )
