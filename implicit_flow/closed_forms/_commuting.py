"""Closed forms for measurement matrices that commute."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _checks
from .._types import PRECISION, Matrix
from ..problems import Problem
from ._basis import common_basis
from ._door import check, refuse_misfit
from ._in_time import dual_at
from ._manifold import ExponentialManifold
from ._newton import solve
from ._start import final_time, frame, log_scale


def commuting(
    problem: Problem,
    *,
    alpha: ArrayLike | None = None,
    log10_alpha: ArrayLike | None = None,
    init: ArrayLike | None = None,
    t: ArrayLike | None = None,
) -> Matrix:
    r"""Where the factor flow goes if the measurement matrices commute.

    The flow moves on $X = e^{A^*(s)} X_0 e^{A^*(s)}$, s in R^m, and s follows the gradient of the
    convex dual $\psi(s) = \tfrac12\mathrm{tr}(e^{2A^*(s)} X_0) - \langle y, s\rangle$. The limit is
    the minimum of psi, found by Newton's method on $\log X$, so that no alpha underflows; it is the
    same for every loss that is least at the targets.

    Valid when: the $A_k$ commute (by their kind, m = 1, or to rounding), some $X \ge 0$ in the
    range of the start meets the targets, and, for finite t, the loss is the squared one.

    Works under `jit`, `vmap` and `grad` where the measurement stores its structure
    (`CommutingMeasurement`, `DiagonalMeasurement`, or m = 1). Under a tracer infeasible targets
    cannot be refused: the result then misses them.

    Args:
        problem: measurement, targets, loss.
        alpha: scale of X0 = alpha X~. Exactly one of this and the next.
        log10_alpha: its decimal logarithm, as far down as you like.
        init: U~ of shape (n, d), X~ = U~U~'; the identity if None.
        t: a time, or None for the limit t -> infinity.

    Returns:
        X, shape (n, n).

    Raises:
        ValueError: matrices that do not commute (with the size of the commutator), targets that
            cannot be met (with the vector that proves it), or a loss for which this does not hold.

    Example:
        >>> import jax.numpy as jnp, numpy as np, implicit_flow as imf
        >>> A = imf.measurements.DiagonalMeasurement(jnp.array([[1.0, 1.0]]))
        >>> problem = imf.Problem(A, jnp.array([1.0]))
        >>> start = jnp.diag(jnp.sqrt(jnp.array([1.0, 3.0])))
        >>> X = imf.closed_forms.commuting(problem, log10_alpha=-3000, init=start)
        >>> np.diagonal(X).round(12).tolist()
        [0.25, 0.75]

    Reference:
        Gunasekar et al. (2017), Implicit regularization in matrix factorization, Theorem 1.
    """
    check(problem, in_time=t is not None)
    measurement = problem.measurement
    log_alpha = log_scale(alpha, log10_alpha, measurement.dtype)
    start = frame(init, measurement.dim, measurement.dtype)
    basis, spectra = common_basis(measurement)
    rotated = jnp.dot(basis.T, start, precision=PRECISION)
    log_weights = log_diagonal(rotated)
    if t is None:
        theta, _ = solve(ExponentialManifold(), spectra, log_weights, log_alpha, problem.targets)
        refuse_misfit(spectra, theta, problem.targets)
    else:
        time = final_time(t, measurement.dtype)
        theta = dual_at(spectra, log_weights, log_alpha, problem.targets, time)
    return assemble(basis, rotated, log_weights, theta)


def single_measurement(
    problem: Problem,
    *,
    alpha: ArrayLike | None = None,
    log10_alpha: ArrayLike | None = None,
    init: ArrayLike | None = None,
    t: ArrayLike | None = None,
) -> Matrix:
    r"""Where the factor flow goes with one measurement: $X = e^{sA} X_0 e^{sA}$, s a number.

    As alpha -> 0 the limit tends to $(y/\lambda)\,P\tilde X P/\mathrm{tr}(P\tilde X P)$ with P the
    eigenprojector of the largest eigenvalue (y > 0).

    Valid when: m = 1, some $X \ge 0$ in the range of the start meets the target, and, for finite t,
    the loss is the squared one. Works under `jit`, `vmap` and `grad` (with respect to the matrix
    only where its eigenvalues are distinct).

    Args:
        problem: measurement, targets, loss.
        alpha: scale of X0 = alpha X~. Exactly one of this and the next.
        log10_alpha: its decimal logarithm, as far down as you like.
        init: U~ of shape (n, d), X~ = U~U~'; the identity if None.
        t: a time, or None for the limit t -> infinity.

    Returns:
        X, shape (n, n).

    Raises:
        ValueError: m > 1, a target that cannot be met, or a loss for which this does not hold.

    Example:
        >>> import jax.numpy as jnp, numpy as np, implicit_flow as imf
        >>> A = imf.measurements.DenseMeasurement(jnp.array([[[2.0, 0.0], [0.0, 1.0]]]))
        >>> problem = imf.Problem(A, jnp.array([1.0]))
        >>> X = imf.closed_forms.single_measurement(problem, alpha=0.1)
        >>> np.asarray(X).round(12).tolist()
        [[0.4, 0.0], [0.0, 0.2]]
    """
    _checks.instance(problem, "problem", Problem)
    if problem.num_measurements != 1:
        _checks.refuse(
            "problem",
            "have one measurement",
            f"it has {problem.num_measurements}",
            "If they commute, `closed_forms.commuting` has the answer.",
        )
    return commuting(problem, alpha=alpha, log10_alpha=log10_alpha, init=init, t=t)


@jax.jit
def log_diagonal(rotated: Float[Array, "n d"]) -> Float[Array, " n"]:
    """The logarithm of the diagonal of X~ in the common basis.

    Args:
        rotated: U~ in that basis, shape (n, d).

    Returns:
        Shape (n,); -inf where X~ vanishes, and X for ever with it.
    """
    weights = jnp.sum(rotated**2, axis=1)
    # A row that vanishes but for rounding would grow into something that is not there.
    noise = (8 * rotated.shape[0] * jnp.finfo(rotated.dtype).eps) ** 2 * jnp.max(weights)
    present = weights > noise
    return jnp.where(present, jnp.log(jnp.where(present, weights, 1)), -jnp.inf)


@jax.jit
def assemble(
    basis: Float[Array, "n n"],
    rotated: Float[Array, "n d"],
    log_weights: Float[Array, " n"],
    theta: Float[Array, " n"],
) -> Matrix:
    r"""X from its diagonal in the common basis.

    Args:
        basis: the common eigenvectors.
        rotated: U~ in that basis, shape (n, d).
        log_weights: the logarithm of the diagonal of X~.
        theta: the logarithm of the diagonal of X; -inf where it is zero.

    Returns:
        X, shape (n, n).
    """
    # x_k / w_k = exp(2 (A*(s))_k + log alpha): each factor alone may be out of the range of floats.
    present = log_weights > -jnp.inf
    growth = jnp.where(present, theta - jnp.where(present, log_weights, 0), 0)
    size = jnp.where(present, jnp.exp(growth / 2), 0)
    factor = jnp.dot(basis, rotated * size[:, None], precision=PRECISION)
    return jnp.dot(factor, factor.T, precision=PRECISION)
