"""The limit alpha -> 0 for measurement matrices that commute."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike
from scipy.optimize import linprog

from .. import _checks
from .._types import PRECISION, Matrix
from ..problems import Problem
from ._basis import common_basis, is_traced
from ._commuting import assemble, log_diagonal
from ._door import check, refuse_infeasible, refuse_misfit
from ._manifold import ExponentialManifold
from ._newton import solve
from ._start import frame


def commuting_limit(problem: Problem, *, init: ArrayLike | None = None) -> Matrix:
    r"""Where the factor flow goes as alpha -> 0 if the measurement matrices commute.

    The diagonal x of X in the common basis has the least sum, and where several have it, the
    largest entropy relative to that of $\tilde X$: the minimizer of $\sum x\log(x/\tilde x)$. Off
    the diagonal $X_{kl} = \sqrt{x_k x_l}\,\tilde X_{kl}/\sqrt{\tilde x_k\tilde x_l}$, as at every
    alpha. With one measurement and y > 0 that is
    $(y/\lambda)\,P\tilde X P/\mathrm{tr}(P\tilde X P)$.

    Valid when: the $A_k$ commute (by their kind, m = 1, or to rounding) and some $X \ge 0$ in the
    range of the start meets the targets. A host function (linear programs and one Newton solve): it
    cannot be traced.

    Args:
        problem: measurement, targets, loss.
        init: U~ of shape (n, d), X~ = U~U~'; the identity if None.

    Returns:
        X, shape (n, n).

    Raises:
        ValueError: matrices that do not commute, targets that cannot be met (with the vector that
            proves it), a loss without a finite minimizer, or a tracer.

    Example:
        >>> import jax.numpy as jnp, numpy as np, implicit_flow as imf
        >>> A = imf.measurements.DiagonalMeasurement(jnp.array([[1.0, 1.0]]))
        >>> problem = imf.Problem(A, jnp.array([1.0]))
        >>> start = jnp.diag(jnp.sqrt(jnp.array([1.0, 3.0])))
        >>> X = imf.closed_forms.commuting_limit(problem, init=start)
        >>> np.diagonal(X).round(12).tolist()
        [0.25, 0.75]

    Reference:
        Gunasekar et al. (2017), Implicit regularization in matrix factorization, Theorem 1.
    """
    check(problem, in_time=False)
    if is_traced(problem, init):
        _checks.refuse(
            "problem",
            "have known values",
            "it is traced",
            "`closed_forms.commuting` at a small `log10_alpha` can be traced.",
        )
    measurement = problem.measurement
    start = frame(init, measurement.dim, measurement.dtype)
    basis, spectra = common_basis(measurement)
    rotated = jnp.dot(basis.T, start, precision=PRECISION)
    log_weights = log_diagonal(rotated)
    present = np.asarray(log_weights) > -np.inf
    support = _support(np.asarray(spectra, float), np.asarray(problem.targets, float), present)
    # On the optimal face the sum of x is fixed, and alpha = 1 does as well as any.
    restricted = jnp.where(jnp.asarray(support), log_weights, -jnp.inf)
    one = jnp.zeros((), measurement.dtype)
    theta, _ = solve(ExponentialManifold(), spectra, restricted, one, problem.targets)
    refuse_misfit(spectra, theta, problem.targets)
    return assemble(basis, rotated, restricted, theta)


def _support(A: np.ndarray, y: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The coordinates that are positive at some x >= 0 of least sum with A x = y."""
    rows = np.linalg.norm(A, axis=1)
    rows = np.where(rows > 0, rows, 1)
    B, size = (A / rows[:, None])[:, present], np.linalg.norm(y / rows)
    if size == 0:
        return np.zeros(A.shape[1], bool)
    b = y / rows / size
    least = linprog(np.ones(B.shape[1]), A_eq=B, b_eq=b, bounds=(0, None))
    if least.status != 0:
        refuse_infeasible(A[:, present], y)
    # Where the dual is tight every feasible x is optimal, and only there.
    tight = least.eqlin.marginals @ B > 1 - 1e-7
    C = B[:, tight]
    k = C.shape[1]
    # Largest support (Freund, Roundy and Todd): scaling x and y together makes small entries large.
    # Unknowns: t <= x - t' >= 0 with 0 <= t <= 1, x = t + t', and the scale of y.
    found = linprog(
        np.concatenate([-np.ones(k), np.zeros(k + 1)]),
        A_eq=np.concatenate([C, C, -b[:, None]], axis=1),
        b_eq=np.zeros(len(b)),
        bounds=[(0, 1)] * k + [(0, None)] * k + [(1, None)],
    )
    if found.status != 0:
        refuse_infeasible(A[:, present], y)
    support = np.zeros(A.shape[1], bool)
    chosen = np.zeros(B.shape[1], bool)
    chosen[tight] = found.x[:k] > 0.5
    support[present] = chosen
    return support
