"""Alternating minimization over the two factors of a matrix."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _checks
from .._compiled import compiled
from .._types import PRECISION
from ..problems import Problem
from ._recovered import Recovered, check


@compiled
def alternating_minimization(
    problem: Problem,
    start: Float[Array, "n r"],
    *,
    rtol: ArrayLike = 1e-6,
    num_steps: ArrayLike = 500,
) -> Recovered:
    r"""Least squares over one factor of $X = QV^\top$, then over the other, and so on.

    As the A_k are symmetric, $A(QV^\top) = A(VQ^\top)$, and both half-steps are the same map. From
    an orthonormal Q, V is found by least squares; the next Q are the top r eigenvectors of the
    symmetric part of $QV^\top$. (The usual next Q, an orthonormal basis of V, crawls here: the
    errors of Q and V are opposite, and cancel in the symmetric part only.) A proximal term of
    relative size 1e-10 (float64) makes each step solvable also where $m < nr$.

    Works under `jit` and `vmap`. A step costs a Cholesky factorization of order nr.

    Args:
        problem: measurement and targets.
        start: U0, shape (n, r), of full column rank, such as `spectral_start`.
        rtol: the misfit $\|A(X) - y\| / \|y\|$ at which to stop.
        num_steps: the largest number of steps.

    Returns:
        The end, with its misfit, which tells whether the targets were met.

    Raises:
        ValueError: a start of another shape.

    Example:
        >>> import jax, jax.numpy as jnp, implicit_flow as imf
        >>> problem = imf.problems.gaussian_sensing(5, 1, 15, key=jax.random.key(0))
        >>> start = imf.recovery.spectral_start(problem, 1)
        >>> found = imf.recovery.alternating_minimization(problem, start)
        >>> bool(jnp.linalg.norm(found.X - problem.ground_truth) < 1e-4)
        True

    Reference:
        Jain, Netrapalli and Sanghavi (2013), Low-rank matrix completion using alternating
        minimization.
    """
    start = _checks.array(start, "start", problem.measurement.dtype)
    _checks.shape(start, "start", (problem.dim, "r"))
    n, r = start.shape
    check(problem, r)
    measurement, y = problem.measurement, problem.targets
    units = jnp.eye(n * r, dtype=start.dtype).reshape(n * r, n, r)
    damping = jnp.sqrt(jnp.finfo(start.dtype).eps) * 1e-2

    def half_step(U: Any) -> Any:
        """The factor of the next X, from that of this one."""
        Q, R = jnp.linalg.qr(U)
        V = jnp.dot(U, R.T, precision=PRECISION)
        columns = jax.vmap(lambda unit: measurement.apply_product(Q, unit))(units)
        normal = jnp.dot(columns, columns.T, precision=PRECISION)
        normal += damping * jnp.trace(normal) / (n * r) * jnp.eye(n * r, dtype=start.dtype)
        down = jnp.dot(columns, measurement.apply_product(U, U) - y, precision=PRECISION)
        V -= jax.scipy.linalg.solve(normal, down, assume_a="pos").reshape(n, r)
        product = jnp.dot(Q, V.T, precision=PRECISION)
        values, vectors = jnp.linalg.eigh((product + product.T) / 2)
        return vectors[:, -r:] * jnp.sqrt(jnp.clip(values[-r:], 0, None))[None, :]

    def unfinished(state: Any) -> Any:
        count, U = state
        rest = jnp.linalg.norm(measurement.apply_product(U, U) - y)
        return (count < num_steps) & (rest > rtol * jnp.linalg.norm(y))

    def advance(state: Any) -> Any:
        count, U = state
        return count + 1, half_step(U)

    count, U = jax.lax.while_loop(unfinished, advance, (jnp.zeros((), int), start))
    X = jnp.dot(U, U.T, precision=PRECISION)
    return Recovered(X, problem.misfit(X), count)
