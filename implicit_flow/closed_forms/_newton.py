"""Newton's method on the convex dual of a manifold, followed down to any alpha."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._types import Residual, Scalar
from ._manifold import AbstractManifold, Columns, Coordinates


# Most solves take 3 to 10; a target on the boundary of the cone is approached by a factor e a step.
_MAX_STEPS = 120
_MAX_STAGES = 400
_MAX_HALVINGS = 60


@functools.partial(jax.jit, static_argnums=0)
def solve(
    manifold: AbstractManifold,
    columns: Columns,
    log_weights: Coordinates,
    log_alpha: Scalar,
    targets: Residual,
) -> tuple[Coordinates, Coordinates]:
    r"""$\log x$ for the point x of the manifold with $A x = y$, and the z that leads to it.

    Differentiable to any order in every argument, by the implicit function theorem. Where the
    targets cannot be met the result misses them: check it.

    Args:
        manifold: which points the flow can reach.
        columns: A, shape (m, k).
        log_weights: $\log w$ of the start at scale one, -inf for coordinates that start at zero.
        log_alpha: the scale of the start.
        targets: y, shape (m,).

    Returns:
        $\log x$, shape (k,), -inf where x starts at zero; and z, shape (k,).
    """
    present = log_weights > -jnp.inf
    columns = jnp.where(present[None, :], columns, jnp.zeros_like(columns))
    size = jnp.sqrt(jnp.sum(jax.lax.stop_gradient(columns) ** 2, axis=1))
    size = jnp.where(size > 0, size, jnp.ones_like(size))
    weights = jnp.where(present, log_weights, jnp.zeros_like(log_weights))
    columns = columns / size[:, None]
    theta, dual = _root(manifold, columns, weights, log_alpha, targets / size)
    return jnp.where(present, theta, -jnp.inf), dual @ columns


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _root(
    manifold: AbstractManifold,
    columns: Columns,
    log_weights: Coordinates,
    log_alpha: Scalar,
    targets: Residual,
) -> tuple[Coordinates, Residual]:
    # In units in which the start at alpha = 1 measures about what the targets do.
    ratio = jnp.linalg.norm(targets) / jnp.linalg.norm(jnp.abs(columns) @ jnp.exp(log_weights))
    log_unit = jnp.where(jnp.isfinite(ratio) & (ratio > 0), jnp.log(ratio), log_alpha)
    y = targets * jnp.exp(-log_unit)
    goal = manifold.level(log_alpha - log_unit)
    eps = float(jnp.finfo(columns.dtype).eps)
    last = jnp.maximum(goal, manifold.floor(eps))
    search = functools.partial(_search, manifold, columns, y)

    def advance(state):
        level, theta, dual, stage = state
        # The first stage stays where the start is about as large as the solution.
        begins = stage == 0
        step = jnp.clip(0.5 * jnp.abs(level), manifold.stride, None)
        step = jnp.where(goal > level, jnp.minimum(step, 20), step)
        # Long strides only where the dual grows with the level.
        step = step if manifold.floor(eps) == -jnp.inf else jnp.full_like(step, manifold.stride)
        following = jnp.where(last > level, level + step, level - step)
        following = jnp.where(jnp.abs(last - level) <= step, last, following)
        following = jnp.where(begins, level, following)
        theta, dual = manifold.lower(theta, dual, columns, log_weights, (level, following))
        theta, dual = search(theta, dual, following)
        return following, theta, dual, stage + 1

    def unfinished(state):
        level, theta, _, stage = state
        going = (level != last) & jnp.all(jnp.isfinite(theta))
        return (stage == 0) | (going & (stage < _MAX_STAGES))

    start = jnp.zeros_like(goal)
    level, theta, dual, _ = jax.lax.while_loop(
        unfinished,
        advance,
        (start, log_weights, jnp.zeros_like(targets), jnp.zeros((), jnp.int32)),
    )
    theta = jnp.where(goal < last, manifold.below_floor(theta, level, goal), theta)
    return theta + log_unit, dual


@_root.defjvp
def _root_jvp(manifold: AbstractManifold, primals, tangents):
    columns, log_weights, log_alpha, _ = primals
    columns_dot, weights_dot, alpha_dot, targets_dot = tangents
    theta, dual = _root(*((manifold,) + primals))
    level = manifold.level(log_alpha)
    x, weight = jnp.exp(theta), manifold.weight(theta, level)
    still = (jnp.zeros_like(theta),) * 2 + (jnp.zeros_like(log_alpha),)

    def moved(z, weights=still[1], alpha=still[2]):
        return manifold.tangent(theta, level, log_weights, (z, weights, alpha))

    fixed = moved(dual @ columns_dot, weights_dot, alpha_dot)
    rest = targets_dot - columns_dot @ x - columns @ (x * fixed)
    dual_dot = solve_semidefinite((columns * weight[None, :]) @ columns.T, rest)
    return (theta, dual), (fixed + moved(dual_dot @ columns), dual_dot)


def _search(
    manifold: AbstractManifold,
    columns: Columns,
    targets: Residual,
    theta: Coordinates,
    dual: Residual,
    level: Scalar,
) -> tuple[Coordinates, Residual]:
    eps = jnp.finfo(columns.dtype).eps
    sizes = jnp.abs(columns)

    def missing(theta):
        return targets - columns @ jnp.exp(theta)

    def unfinished(state):
        theta, _, steps, stuck = state
        noise = 2 * eps * (sizes @ jnp.exp(theta) + jnp.abs(targets))
        return jnp.any(jnp.abs(missing(theta)) > noise) & (steps < _MAX_STEPS) & ~stuck

    def step(state):
        theta, dual, steps, _ = state
        gap = missing(theta)
        weight = manifold.weight(theta, level)
        direction = solve_semidefinite((columns * weight[None, :]) @ columns.T, gap)
        z = direction @ columns
        slope = gap @ direction

        # The dual is convex along the line: a small slope of the other sign is a small overshoot.
        def too_far(trial) -> Bool[Array, ""]:
            length, halvings = trial
            ahead = missing(manifold.move(theta, length * z, level)) @ direction
            return ~(ahead >= -0.5 * slope) & (halvings < _MAX_HALVINGS)

        length, halvings = jax.lax.while_loop(
            too_far, lambda trial: (trial[0] / 2, trial[1] + 1), (jnp.ones_like(slope), 0)
        )
        stuck = ~(slope > 0) | (halvings == _MAX_HALVINGS)
        length = jnp.where(stuck, jnp.zeros_like(length), length)
        stepped = jnp.where(stuck, theta, manifold.move(theta, length * z, level))
        return stepped, dual + length * direction, steps + 1, stuck

    state = theta, dual, jnp.zeros((), jnp.int32), jnp.zeros((), bool)
    theta, dual, _, _ = jax.lax.while_loop(unfinished, step, state)
    return theta, dual


def solve_semidefinite(matrix: Float[Array, "m m"], right: Residual) -> Residual:
    """Solve with a ridge at rounding level, for dependent rows and vanished coordinates.

    Args:
        matrix: positive semidefinite, shape (m, m).
        right: the right-hand side, shape (m,).

    Returns:
        The solution, shape (m,).
    """
    size = jnp.sqrt(jnp.diagonal(matrix))
    size = jnp.where(size > 0, size, jnp.ones_like(size))
    m = matrix.shape[0]
    ridge = 4 * m * jnp.finfo(matrix.dtype).eps * jnp.eye(m, dtype=matrix.dtype)
    scaled = matrix / (size[:, None] * size[None, :]) + ridge
    return jnp.linalg.solve(scaled, right / size) / size
