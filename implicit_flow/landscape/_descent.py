"""Gradient descent on any objective, with noise if asked for, with no step size to choose."""

from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

from .. import _checks
from .._compiled import compiled
from .._types import RandomKey, Scalar


Point: TypeAlias = Float[Array, "..."]
Function: TypeAlias = Callable[[Any], Shaped[Array, ""]]

# An accepted step is followed by a longer one, a rejected one by a shorter one.
_LONGER, _SHORTER = 1.25, 0.5


class Descent(eqx.Module):
    """Where gradient descent came to.

    Attributes:
        point: the last iterate, of the shape of the start.
        value: of the objective there.
        gradient_norm: the Euclidean norm of its gradient there.
        num_steps: how often a step was tried; at most the number allowed.
    """

    point: Point
    value: Scalar
    gradient_norm: Scalar
    num_steps: Int[Array, ""]


@compiled
def gradient_descent(
    objective: Function,
    start: Point,
    *,
    num_steps: ArrayLike = 10_000,
    goal: ArrayLike | None = None,
    gradient_tolerance: ArrayLike = 0.0,
    noise: ArrayLike = 0.0,
    infimum: ArrayLike = 0.0,
    key: RandomKey | None = None,
) -> Descent:
    r"""Gradient descent whose steps are halved until the objective falls as it should.

    A step h is taken where $f(\theta - h g) \le f(\theta) - \tfrac h2\|g\|^2$, which on a quadratic
    allows h up to 1 / (largest eigenvalue). With noise, a Gaussian of norm about
    `noise` $\|\theta\|\sqrt{(f(\theta) - f_{\inf}) / (f(\theta_0) - f_{\inf})}$ is added after
    every step: like that of sampling it vanishes where everything is fitted, but not at saddles.

    Works under `jit` and `vmap`; its loop has no reverse-mode derivative.

    Args:
        objective: a function of one array.
        start: where to begin, any shape.
        num_steps: the largest number of tries.
        goal: stop at a value this low.
        gradient_tolerance: stop at a gradient of this norm; not used where there is noise.
        noise: relative size, per step.
        infimum: of the objective, or a lower bound; noise vanishes there.
        key: needed with noise.

    Returns:
        The end. It is what was reached: look at its gradient before calling it a critical point.

    Raises:
        ValueError: noise without a key, or a key that is none.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> f = lambda x: jnp.sum((x - 1.0) ** 2)
        >>> end = imf.landscape.gradient_descent(f, jnp.zeros(3), goal=1e-12)
        >>> bool(jnp.max(jnp.abs(end.point - 1)) < 1e-6)
        True

    Reference:
        Ge, Huang, Jin and Yuan (2015), Escaping from saddle points.
    """
    known = _checks.concrete(noise)
    noisy = known is None or bool(known > 0)
    if noisy and key is None:
        _checks.refuse("key", "be given where there is noise", "is None", "`jax.random.key(0)`.")
    key = jax.random.key(0) if key is None else key
    _checks.random_key(key)
    dtype = start.dtype
    eps = jnp.finfo(dtype).eps
    noise, infimum = jnp.asarray(noise, dtype), jnp.asarray(infimum, dtype)
    lowest = jnp.asarray(-jnp.inf if goal is None else goal, dtype)
    tolerance = jnp.asarray(gradient_tolerance, dtype)
    slope = jax.value_and_grad(objective)
    first, gradient = slope(start)
    size, steep = jnp.linalg.norm(start), jnp.linalg.norm(gradient)
    # The first step moves by a tenth; two more tries for each factor 2 that this is wrong by.
    length = 0.1 * jnp.where(size > 0, size, 1.0) / jnp.where(steep > 0, steep, 1.0)

    def unfinished(state: Any) -> Any:
        count, _, value, gradient, _ = state
        going = (count < num_steps) & (value > lowest) & jnp.isfinite(value)
        if not noisy:
            going &= jnp.linalg.norm(gradient) > tolerance
        return going

    def attempt(state: Any) -> Any:
        count, point, value, gradient, length = state
        trial = point - length * gradient
        fall = 0.5 * length * jnp.sum(gradient**2)
        # Where the fall is below the rounding of the value, the step is given the benefit.
        accepted = objective(trial) <= value - fall + 4 * eps * jnp.abs(value)
        moved = trial
        if noisy:
            share = jnp.sqrt(jnp.clip((value - infimum) / (first - infimum), 0, None))
            draw = jax.random.normal(jax.random.fold_in(key, count), point.shape, dtype)
            reach = (
                noise * jnp.linalg.norm(point) * share / jnp.sqrt(jnp.asarray(point.size, dtype))
            )
            moved = trial + reach * draw
        point = jnp.where(accepted, moved, point)
        length = length * jnp.where(accepted, _LONGER, _SHORTER).astype(dtype)
        value, gradient = slope(point)
        return count + 1, point, value, gradient, length

    begin = (jnp.zeros((), int), start, first, gradient, length)
    count, point, value, gradient, _ = jax.lax.while_loop(unfinished, attempt, begin)
    return Descent(point, value, jnp.linalg.norm(gradient), count)
