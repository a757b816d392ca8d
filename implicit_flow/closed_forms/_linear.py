"""The closed form of plain gradient flow on X."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _checks
from .._types import PRECISION, Matrix, Residual, Scalar
from ..losses import Squared
from ..problems import Problem
from ._door import check
from ._start import final_time, frame, log_scale


def linear(
    problem: Problem,
    *,
    alpha: ArrayLike | None = None,
    log10_alpha: ArrayLike | None = None,
    init: ArrayLike | None = None,
    t: ArrayLike | None = None,
) -> Matrix:
    r"""Where Euclidean flow $dX/dt = -A^*(r)$ goes: from 0 to the minimum Frobenius norm.

    $X_t = X_0 + A^*\!\big(G^{-1}(I - e^{-Gt})(y - A(X_0))\big)$ with $G = AA^*$, which may be
    singular. With a diagonal measurement it is gradient flow of least squares.

    Valid when: the loss is the squared one; or t is None and some X, semidefinite or not, meets the
    targets (with any loss that is least there). Works under `jit`, `vmap` and `grad` (with respect
    to the measurement only where G has distinct eigenvalues).

    Args:
        problem: measurement, targets, loss.
        alpha: scale of X0 = alpha X~; X0 = 0 if neither this nor the next is given.
        log10_alpha: its decimal logarithm.
        init: U~ of shape (n, d), X~ = U~U~'; the identity if None.
        t: a time, or None for the limit t -> infinity.

    Returns:
        X, symmetric, shape (n, n).

    Raises:
        ValueError: a loss or targets for which this does not hold, or an init without a scale.

    Example:
        >>> import jax.numpy as jnp, numpy as np, implicit_flow as imf
        >>> A = imf.measurements.DiagonalMeasurement(jnp.array([[2.0, 1.0]]))
        >>> problem = imf.Problem(A, jnp.array([1.0]))
        >>> np.diagonal(imf.closed_forms.linear(problem)).round(12).tolist()
        [0.4, 0.2]

    Reference:
        Gunasekar et al. (2018), Characterizing implicit bias in terms of optimization geometry.
    """
    check(problem, in_time=t is not None)
    measurement = problem.measurement
    dtype, n = measurement.dtype, measurement.dim
    start = jnp.zeros((n, n), dtype)
    if alpha is not None or log10_alpha is not None:
        factor = frame(init, n, dtype)
        scale = jnp.exp(log_scale(alpha, log10_alpha, dtype))
        start = scale * jnp.dot(factor, factor.T, precision=PRECISION)
    elif init is not None:
        _checks.refuse("init", "come with its scale", "neither alpha nor log10_alpha is given")
    missing = problem.targets - measurement.apply(start)
    identity = jnp.eye(n, dtype=dtype)
    gram = measurement.gram(identity, identity)
    values, vectors = jnp.linalg.eigh((gram + gram.T) / 2)
    rounding = 10 * gram.shape[0] * jnp.finfo(dtype).eps * jnp.maximum(values[-1], 0)

    def respond(r: Residual) -> Residual:
        rotated = jnp.dot(vectors.T, r, precision=PRECISION)
        return jnp.dot(vectors, _response(values, rounding, t, dtype) * rotated)

    X = start + measurement.adjoint(respond(missing))
    if t is None:
        # The Gram matrix squares the condition number; refinements take that back.
        for _ in range(4):
            X = X + measurement.adjoint(respond(problem.targets - measurement.apply(X)))
    if t is None and not isinstance(problem.loss, Squared):
        _refuse_misfit(problem, X)
    return X


def _response(
    values: Float[Array, " m"], rounding: Scalar, t: ArrayLike | None, dtype: np.dtype
) -> Float[Array, " m"]:
    """(1 - exp(-g t)) / g for each eigenvalue g of the Gram matrix; t where g = 0."""
    large = values > rounding
    safe = jnp.where(large, values, 1)
    if t is None:
        # A direction that is not measured: the adjoint of it is 0, whatever stands here.
        return jnp.where(large, 1 / safe, 0)
    time = final_time(t, dtype)
    return jnp.where(large, -jnp.expm1(-safe * time) / safe, time)


def _refuse_misfit(problem: Problem, X: Matrix) -> None:
    misfit = _checks.concrete(jax.lax.stop_gradient(problem.misfit(X)))
    if misfit is not None and misfit > float(jnp.finfo(X.dtype).eps) ** 0.5:
        _checks.refuse(
            "problem",
            f"have targets that some X meets, as its loss is {type(problem.loss).__name__}",
            f"the nearest X misses them by {float(misfit):.3g}",
            "With `losses.Squared()` the limit is the least-squares solution.",
        )
