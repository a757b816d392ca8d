"""Gradient descent on the factor of a matrix."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _checks
from .._compiled import compiled
from .._types import PRECISION, RandomKey
from ..landscape import Sensing, gradient_descent as descent_on
from ..problems import Problem
from ._recovered import Recovered, check


@compiled
def gradient_descent(
    problem: Problem,
    start: Float[Array, "n r"],
    *,
    rtol: ArrayLike = 1e-6,
    num_steps: ArrayLike = 10_000,
    noise: ArrayLike = 0.0,
    key: RandomKey | None = None,
) -> Recovered:
    r"""Gradient descent on $\tfrac14\|A(UU^\top) - y\|^2$ until the targets are met.

    The steps choose their length themselves; see `landscape.gradient_descent`, also for the noise.
    The loss of the problem does not enter. Works under `jit` and `vmap`.

    Args:
        problem: measurement and targets.
        start: U0, shape (n, r): `spectral_start`, `random_start`, or your own.
        rtol: the misfit $\|A(X) - y\| / \|y\|$ at which to stop.
        num_steps: the largest number of steps.
        noise: relative size of the noise that is added in every step.
        key: needed with noise.

    Returns:
        The end, with its misfit, which tells whether the targets were met.

    Raises:
        ValueError: a start of another shape, noise without a key, or a key that is none.

    Example:
        >>> import jax, jax.numpy as jnp, implicit_flow as imf
        >>> problem = imf.problems.gaussian_sensing(5, 1, 15, key=jax.random.key(0))
        >>> start = imf.recovery.spectral_start(problem, 1)
        >>> found = imf.recovery.gradient_descent(problem, start)
        >>> bool(jnp.linalg.norm(found.X - problem.ground_truth) < 1e-4)
        True

    Reference:
        Tu et al. (2016), Low-rank solutions of linear matrix equations via Procrustes flow.
    """
    start = _checks.array(start, "start", problem.measurement.dtype)
    _checks.shape(start, "start", (problem.dim, "r"))
    check(problem, start.shape[1])
    goal = 0.25 * (rtol * jnp.linalg.norm(problem.targets)) ** 2
    objective = Sensing(problem, start.shape[1])
    end = descent_on(objective, start, num_steps=num_steps, goal=goal, noise=noise, key=key)
    X = jnp.dot(end.point, end.point.T, precision=PRECISION)
    return Recovered(X, problem.misfit(X), end.num_steps)
