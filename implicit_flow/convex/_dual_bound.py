"""Lower bounds that can be traced, for sweeps."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _checks
from .._types import Matrix, Residual, Scalar
from ..measurements import (
    AbstractMeasurement,
    CommutingMeasurement,
    DenseMeasurement,
    DiagonalMeasurement,
    EntryMeasurement,
    RankOneMeasurement,
)
from ..problems import Problem


def dual_bound(problem: Problem, nu: Residual) -> Scalar:
    r"""A lower bound on $\min\{\mathrm{tr}X : X \ge 0, A(X) = y\}$, from any nu.

    It is $\langle y, \nu\rangle/\lambda_{\max}(A^*(\nu))$, with a margin for the rounding of the
    sum, of the eigenvalues and of the inner product, and at least 0. It is largest at a dual
    solution; the accumulated dual of a flow is a natural candidate. Works under `jit`, `vmap` and
    `grad`. In float32 the margin is about 1e-4 of the bound.

    Args:
        problem: measurement and targets.
        nu: any vector, shape (m,); it need not be feasible.

    Returns:
        The bound, a scalar.

    Raises:
        ValueError: `nu` has another shape.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DiagonalMeasurement(jnp.array([[2.0, 1.0]]))
        >>> problem = imf.Problem(A, jnp.array([1.0]))
        >>> round(float(imf.convex.dual_bound(problem, jnp.array([7.0]))), 8)
        0.5

    Reference:
        Jansson, Chaykin and Keil (2007), Rigorous error bounds for the optimal value in
        semidefinite programming.
    """
    measurement, y = problem.measurement, problem.targets
    eps = jnp.finfo(measurement.dtype).eps
    n, m = measurement.dim, measurement.num_measurements
    _checks.shape(nu, "nu", (m,))
    nu = nu.astype(measurement.dtype)
    if isinstance(measurement, DiagonalMeasurement):
        top = jnp.max(measurement.adjoint_vector(nu))
    else:
        top = jnp.linalg.eigvalsh(measurement.adjoint(nu))[-1]
    summed = jnp.dot(jnp.abs(nu), _norms(measurement))
    top = top + eps * (m + 5 * n + 24) * summed
    inner = jnp.dot(y, nu) - eps * (m + 2) * jnp.dot(jnp.abs(y), jnp.abs(nu))
    positive = (inner > 0) & (top > 0)
    bound = inner / jnp.where(positive, top, 1) * (1 - 4 * eps)
    # Where A*(nu) < 0 in spite of the margin, nothing fits and the minimum is infinite.
    return jnp.where(positive, bound, jnp.where(inner > 0, jnp.inf, 0))


def duality_gap(problem: Problem, X: Matrix, nu: Residual) -> Scalar:
    r"""$(\mathrm{tr}X - b)/b$ with b the `dual_bound` of nu: how far X may be from the minimum.

    It says nothing about the misfit of X: see `Problem.misfit`. Works under `jit`, `vmap`, `grad`.

    Args:
        problem: measurement and targets.
        X: positive semidefinite, shape (n, n).
        nu: any vector, shape (m,).

    Returns:
        The relative gap, a scalar.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DiagonalMeasurement(jnp.array([[2.0, 1.0]]))
        >>> problem = imf.Problem(A, jnp.array([1.0]))
        >>> X = jnp.diag(jnp.array([0.4, 0.2]))
        >>> round(float(imf.convex.duality_gap(problem, X, jnp.array([0.5]))), 8)
        0.2
    """
    bound = dual_bound(problem, nu)
    tiny = jnp.finfo(bound.dtype).tiny
    return (jnp.trace(X) - bound) / jnp.maximum(jnp.abs(bound), tiny)


def _norms(measurement: AbstractMeasurement) -> Float[Array, " m"]:
    """The Frobenius norms of the measurement matrices, or a little more."""
    if isinstance(measurement, DenseMeasurement):
        return jnp.sqrt(jnp.sum(measurement.stack**2, axis=(1, 2)))
    if isinstance(measurement, EntryMeasurement):
        return jnp.ones(measurement.num_measurements, measurement.dtype)
    if isinstance(measurement, RankOneMeasurement):
        return jnp.sum(measurement.vectors**2, axis=1)
    if isinstance(measurement, DiagonalMeasurement):
        return jnp.sqrt(jnp.sum(measurement.matrix**2, axis=1))
    if isinstance(measurement, CommutingMeasurement):
        return jnp.sqrt(jnp.sum(measurement.spectra**2, axis=1))
    return jnp.sqrt(jnp.sum(measurement.as_stack() ** 2, axis=(1, 2)))
