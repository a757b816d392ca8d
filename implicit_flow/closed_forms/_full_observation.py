"""The closed form with every entry observed: a matrix Riccati equation."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _checks
from .._types import PRECISION, Matrix, Scalar, Vector
from ..losses import Squared
from ..problems import Problem
from ._basis import is_traced
from ._start import final_time, frame, log_scale


def full_observation(
    problem: Problem,
    *,
    alpha: ArrayLike | None = None,
    log10_alpha: ArrayLike | None = None,
    init: ArrayLike | None = None,
    t: ArrayLike | None = None,
) -> Matrix:
    r"""Where the factor flow goes if all of a matrix M is observed: $dU/dt = (M - UU^\top)U$.

    $X_t = e^{tM}U_0\,[I + U_0^\top\,2t\varphi_1(2tM)\,U_0]^{-1}\,U_0^\top e^{tM}$ with
    $2t\varphi_1(2tM) = \int_0^t 2e^{2\tau M}d\tau$, so that M may be singular. It is evaluated in
    the eigenvectors of M with the exponents of all scales apart: any alpha, any t. The limit is the
    positive part of M, or where U0 has d < n columns its part on the d-dimensional space that the
    flow selects.

    Valid when: the loss is the squared one and $A^*A = cI$ on symmetric matrices, as for
    `EntryMeasurement` with all n^2 entries, (i, j) and (j, i) both; M is then $A^*(y)/c$, and time
    runs c times as fast. Works under `jit` and `vmap`; under `grad` where the eigenvalues of M are
    distinct. The limit with an `init` cannot be traced: it turns on ranks.

    Args:
        problem: measurement, targets, loss.
        alpha: scale of X0 = alpha X~. Exactly one of this and the next.
        log10_alpha: its decimal logarithm.
        init: U~ of shape (n, d), X~ = U~U~'; the identity if None.
        t: a time, or None for the limit t -> infinity.

    Returns:
        X, shape (n, n).

    Raises:
        ValueError: a measurement or a loss for which this does not hold.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> rows, cols = jnp.array([0, 0, 1, 1]), jnp.array([0, 1, 0, 1])
        >>> A = imf.measurements.EntryMeasurement(rows, cols, dim=2)
        >>> problem = imf.Problem(A, jnp.array([1.0, 0.0, 0.0, -1.0]))
        >>> imf.closed_forms.full_observation(problem, alpha=0.1).round(12).tolist()
        [[1.0, 0.0], [0.0, 0.0]]

    Reference:
        Yan, Helmke and Moore (1994), Global analysis of Oja's flow for neural networks.
    """
    _checks.instance(problem, "problem", Problem)
    if not isinstance(problem.loss, Squared):
        _checks.refuse(
            "problem",
            "have the loss `losses.Squared()`",
            f"its loss is {type(problem.loss).__name__}",
            "Another loss weighs the entries of M differently.",
        )
    measurement = problem.measurement
    dtype, n = measurement.dtype, measurement.dim
    log_alpha = log_scale(alpha, log10_alpha, dtype)
    start = frame(init, n, dtype)
    speed = _speed(problem)
    M = measurement.adjoint(problem.targets) / speed
    values, vectors = jnp.linalg.eigh((M + M.T) / 2)
    # Descending: the order in which directions grow.
    values, vectors = values[::-1], vectors[:, ::-1]
    rotated = jnp.dot(vectors.T, start, precision=PRECISION)
    if t is not None:
        inner = _in_time(values, rotated, log_alpha, speed * final_time(t, dtype))
    elif init is None:
        inner = jnp.diag(jnp.maximum(values, 0))
    else:
        if is_traced(values, rotated):
            _checks.refuse("init", "be None where t is None under a tracer", "is given")
        inner = jnp.asarray(_limit(np.asarray(values), np.asarray(rotated)), dtype)
    return jnp.dot(jnp.dot(vectors, inner, precision=PRECISION), vectors.T, precision=PRECISION)


@jax.jit
def _in_time(values: Vector, rotated: Float[Array, "n d"], log_alpha: Scalar, t: Scalar) -> Matrix:
    # With B = e^{tM} U0 the formula is B [I + B' D B]^{-1} B', D = (1 - e^{-2tM}) / M.
    # B = Y e^{g} O with O orthogonal, which drops out, and Y lower triangular with no entry large.
    growth = log_alpha / 2 + t * values
    triangular = jnp.linalg.qr(rotated.T)[1].T
    k = triangular.shape[1]
    pivots = growth[:k]
    below = jnp.minimum(growth[:, None] - pivots[None, :], 0)
    small = jnp.minimum(pivots, 0)
    Y = triangular * jnp.exp(below + small[None, :])
    # sqrt(D) of a negative eigenvalue is as large as e^{growth} is small: multiplied first.
    exponent = jnp.where(values < 0, -2 * t * values, 0)
    density = 2 * t * _mean_decay(2 * t * jnp.abs(values))
    weighted = triangular * jnp.exp(below + small[None, :] + exponent[:, None] / 2)
    weighted = weighted * jnp.sqrt(jnp.where(density > 0, density, 1))[:, None]
    weighted = jnp.where(t > 0, weighted, jnp.zeros_like(weighted))
    scale = jnp.exp(-2 * jnp.maximum(pivots, 0))
    core = jnp.diag(scale) + jnp.dot(weighted.T, weighted, precision=PRECISION)
    return jnp.dot(Y, jnp.linalg.solve(core, Y.T), precision=PRECISION)


def _mean_decay(x: Vector) -> Vector:
    """(1 - e^{-x}) / x for x >= 0, with a series near 0 that keeps its derivative."""
    near = x < 1e-3
    safe = jnp.where(near, 1, x)
    series = 1 - x / 2 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5)))
    return jnp.where(near, series, -jnp.expm1(-safe) / safe)


def _limit(values: np.ndarray, rotated: np.ndarray) -> np.ndarray:
    """The part of M on the space that e^{tM} U0 turns to: greedily, from the largest eigenvalue."""
    n = len(values)
    eps = float(np.finfo(values.dtype).eps)
    size, limit = float(np.max(np.abs(values))), np.zeros((n, n))
    free = np.eye(rotated.shape[1])
    first = 0
    while first < n and free.shape[1] > 0 and values[first] > 0:
        last = first + 1
        while last < n and values[first] - values[last] <= 100 * n * eps * size:
            last += 1
        part = rotated[first:last] @ free
        left, sizes, right = np.linalg.svd(part)
        rank = int(np.sum(sizes > 100 * n * eps * np.linalg.norm(rotated)))
        projector = left[:, :rank] @ left[:, :rank].T
        limit[first:last, first:last] = np.mean(values[first:last]) * projector
        free = free @ right[rank:].T
        first = last
    return limit


def _speed(problem: Problem) -> Scalar:
    """c, where A*A = c I on symmetric matrices; refused where it is not of that form."""
    n, dtype = problem.dim, problem.measurement.dtype
    grid = jnp.arange(n * n, dtype=dtype).reshape(n, n)
    # One fixed direction without structure exposes every map that is no multiple of the identity.
    probe = jnp.sin(1 + grid * jnp.sqrt(jnp.asarray(2, dtype)))
    probe = probe + probe.T
    image = problem.measurement.adjoint(problem.measurement.apply(probe))
    speed = jnp.sum(image * probe) / jnp.sum(probe**2)
    error = _checks.concrete(
        jax.lax.stop_gradient(jnp.max(jnp.abs(image - speed * probe)) / jnp.max(jnp.abs(image)))
    )
    if error is not None and not error <= 1e3 * n * float(jnp.finfo(dtype).eps):
        _checks.refuse(
            "problem",
            "observe all of X with equal weight, A*A = c I",
            f"A*A differs from a multiple of the identity by {float(error):.3g}, relatively",
            "An `EntryMeasurement` does with all n^2 entries, (i, j) and (j, i) both.",
        )
    return speed
