"""Closed forms for vectors written as powers, of any depth."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _checks
from .._types import PRECISION, Matrix, Residual, Scalar, Vector
from ..problems import Problem
from ._door import check, diagonal, refuse_misfit
from ._in_time import dual_at
from ._manifold import AbstractManifold, ExponentialManifold, PowerManifold
from ._newton import solve, solve_semidefinite
from ._start import final_time, log_scale, positive_vector


def hadamard(
    problem: Problem,
    *,
    depth: int = 2,
    alpha: ArrayLike | None = None,
    log10_alpha: ArrayLike | None = None,
    init: ArrayLike | None = None,
    t: ArrayLike | None = None,
) -> Matrix:
    r"""Where the flow of $x = u^N$ goes, $du_i/dt = -(A^\top r)_i u_i^{N-1}$.

    For N = 2 the limit is $\mathrm{argmin} \sum x\log(x/(\alpha\tilde x)) - x$ over $Ax = y$; for
    N > 2 it is $u^{-(N-2)} = u_0^{-(N-2)} - (N-2)A^\top s$ with the one s that meets the targets,
    the minimizer of $\sum x_k u_{0k}^{-(N-2)} - \tfrac N2 x_k^{2/N}$.

    Valid when: the measurement is diagonal, some $x \ge 0$ meets the targets, and, for finite t,
    the loss is the squared one and N = 2. Works under `jit`, `vmap` and `grad`.

    Args:
        problem: with a diagonal measurement.
        depth: N, at least 2.
        alpha: scale of x0 = alpha x~. Exactly one of this and the next.
        log10_alpha: its decimal logarithm, as far down as you like.
        init: u~ of shape (n,), positive, x~ = u~^N; ones if None.
        t: a time (N = 2 only), or None for the limit t -> infinity.

    Returns:
        X = diag(x), shape (n, n).

    Raises:
        ValueError: another kind of measurement, targets that no x >= 0 meets, a finite t for N > 2.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DiagonalMeasurement(jnp.array([[2.0, 1.0]]))
        >>> problem = imf.Problem(A, jnp.array([1.0]))
        >>> X = imf.closed_forms.hadamard(problem, depth=3, log10_alpha=-20)
        >>> round(float(X[1, 1]) * 1e20, 3)  # tends to 2^{1/p}, p = 1 - 2/N
        8.0
    """
    theta, _ = _solved(problem, depth, alpha, log10_alpha, init, t, signed=False)
    return jnp.diag(jnp.exp(theta))


def signed_hadamard(
    problem: Problem,
    *,
    depth: int = 2,
    alpha: ArrayLike | None = None,
    log10_alpha: ArrayLike | None = None,
    init: ArrayLike | None = None,
    t: ArrayLike | None = None,
) -> Matrix:
    r"""Where the flow of $x = u^N - v^N$ goes from $u_0 = v_0$, v driven by the opposite sign.

    For N = 2 it is $x = 2\alpha\tilde x\sinh(2A^\top s)$, the minimizer of the hypentropy: least l1
    as alpha -> 0, least (weighted) l2 as alpha -> infinity.

    Valid when: the measurement is diagonal, some x meets the targets, and, for finite t, the loss
    is the squared one and N = 2. Works under `jit`, `vmap` and `grad`.

    Args:
        problem: with a diagonal measurement.
        depth: N, at least 2.
        alpha: scale of u0^N = v0^N = alpha u~^N. Exactly one of this and the next.
        log10_alpha: its decimal logarithm, as far down as you like.
        init: u~ = v~ of shape (n,), positive; ones if None.
        t: a time (N = 2 only), or None for the limit t -> infinity.

    Returns:
        X = diag(x), shape (n, n).

    Raises:
        ValueError: another kind of measurement, targets that no x meets, a finite t for N > 2.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DiagonalMeasurement(jnp.array([[2.0, 1.0]]))
        >>> problem = imf.Problem(A, jnp.array([-1.0]))
        >>> X = imf.closed_forms.signed_hadamard(problem, log10_alpha=-100)
        >>> bool(jnp.allclose(jnp.diagonal(X), jnp.array([-0.5, 0.0])))
        True

    Reference:
        Woodworth et al. (2020), Kernel and rich regimes in overparametrized models, Theorem 1.
    """
    theta, z = _solved(problem, depth, alpha, log10_alpha, init, t, signed=True)
    positive, negative = jnp.split(theta, 2)
    if t is not None:
        return jnp.diag(jnp.exp(positive) - jnp.exp(negative))
    log_alpha, log_weights = _start(problem, depth, alpha, log10_alpha, init)
    matrix, start = diagonal(problem).matrix, (log_weights, log_alpha)
    return jnp.diag(_difference(_manifold(depth), matrix, theta, z, start, problem.targets))


@functools.partial(jax.jit, static_argnums=0)
def _difference(
    manifold: AbstractManifold,
    matrix: Float[Array, "m n"],
    theta: Float[Array, " 2*n"],
    z: Float[Array, " 2*n"],
    start: tuple[Vector, Scalar],
    targets: Residual,
) -> Vector:
    # At a large alpha both parts are large: their difference is taken before it is rounded away,
    # and one step of Newton's method on it restores the digits of the dual.
    positive, negative = jnp.split(theta, 2)
    close, near = manifold.difference(jnp.split(z, 2)[0], *start)
    x = jnp.where(near, close, jnp.exp(positive) - jnp.exp(negative))
    exponent = (1 + manifold.power) * jnp.maximum(positive, negative)
    weight = jnp.exp(exponent - jax.lax.stop_gradient(jnp.max(exponent)))
    size = jnp.sqrt(jnp.sum(matrix**2, axis=1))
    size = jnp.where(size > 0, size, 1)
    B = matrix / size[:, None]
    missing = (targets - jnp.dot(matrix, x, precision=PRECISION)) / size
    step = solve_semidefinite((B * weight[None, :]) @ B.T, missing)
    return x + weight * (step @ B)


def _manifold(depth: int) -> AbstractManifold:
    return ExponentialManifold() if depth == 2 else PowerManifold(depth)


def _start(
    problem: Problem,
    depth: int,
    alpha: ArrayLike | None,
    log10_alpha: ArrayLike | None,
    init: ArrayLike | None,
) -> tuple[Scalar, Vector]:
    """The logarithms of alpha and of x~."""
    measurement = diagonal(problem)
    _checks.at_least(depth, "depth", 2)
    log_alpha = log_scale(alpha, log10_alpha, measurement.dtype)
    return log_alpha, depth * jnp.log(positive_vector(init, measurement.dim, measurement.dtype))


def _solved(
    problem: Problem,
    depth: int,
    alpha: ArrayLike | None,
    log10_alpha: ArrayLike | None,
    init: ArrayLike | None,
    t: ArrayLike | None,
    *,
    signed: bool,
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    check(problem, in_time=t is not None)
    log_alpha, log_weights = _start(problem, depth, alpha, log10_alpha, init)
    if t is not None and depth > 2:
        _checks.refuse(
            "t",
            "be None for a depth above 2",
            f"is {t} with depth {depth}",
            "Only the limit has a closed form: at a finite time integrate with `simulate`.",
        )
    columns = diagonal(problem).matrix
    if signed:
        # v is a coordinate like u that is measured with the opposite sign.
        columns = jnp.concatenate([columns, -columns], axis=1)
        log_weights = jnp.concatenate([log_weights, log_weights])
    if t is not None:
        time = final_time(t, columns.dtype)
        theta = dual_at(columns, log_weights, log_alpha, problem.targets, time)
        return theta, jnp.zeros_like(theta)
    theta, z = solve(_manifold(depth), columns, log_weights, log_alpha, problem.targets)
    refuse_misfit(columns, theta, problem.targets)
    return theta, z
