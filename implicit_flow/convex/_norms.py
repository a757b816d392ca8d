"""Solutions of least norm, as references."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _checks
from .._types import Matrix, Residual
from ..measurements import DiagonalMeasurement
from ..problems import Problem
from ._bounds import inner_below, lower_bound, reach, scaled, sharpen
from ._cone import ConeAnswer, least_l1, least_trace
from ._coordinates import AbstractCone, coordinates, host
from ._feasible import Fitter
from ._units import in_units, refuse_units


class InfeasibleTargetsError(ValueError):
    r"""No X meets the targets, and here is the proof.

    Attributes:
        vector: nu with $\langle y, \nu\rangle < 0$ and $A^*(\nu) \ge -\varepsilon I$.
        reach: how far it proves that in floats: every X >= 0 that fits has a trace above this.
    """

    def __init__(self, message: str, vector: np.ndarray, reach: float):
        """Keep the proof with the message."""
        super().__init__(message)
        self.vector, self.reach = vector, reach


class ConvexSolution(eqx.Module):
    """The solution of a problem of least norm.

    Attributes:
        X: the minimizer, shape (n, n).
        dual: nu, shape (m,), feasible for the dual problem to the rounding of its type.
        value: the norm of X.
        gap: how far the value may lie above the minimum, relatively; computed from X and nu in
            float64, not the solver's word.
        feasibility: ||A(X) - y|| / ||y||.
    """

    X: Matrix
    dual: Residual
    value: float
    gap: float
    feasibility: float

    @property
    def x(self) -> Float[Array, " n"]:
        """The diagonal of X: the solution of a vector problem."""
        return jnp.diagonal(self.X)


def min_nuclear_norm(problem: Problem) -> ConvexSolution:
    r"""The minimum of $\mathrm{tr}X$ over $X \ge 0$ with $A(X) = y$.

    A rectangular problem (`rectangular_entries`) is solved through its embedding: the value is
    then twice the nuclear norm of W. The loss does not enter. A host function: it cannot be traced.

    It costs a few dense factorizations of order m + n (n + 1) / 2: 0.1 s at n = 20, m = 120 and
    10 s at n = 40, m = 400; sparse entries are a few times cheaper, and commuting measurements are
    a linear program. It is meant for n up to about 60.

    Args:
        problem: measurement and targets.

    Returns:
        The solution, with its dual and its gap.

    Raises:
        InfeasibleTargetsError: no X fits; the proof is its `vector`.
        ValueError: the minimum is not attained (the norm diverges), or the solver failed.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DiagonalMeasurement(jnp.array([[2.0, 1.0]]))
        >>> solution = imf.convex.min_nuclear_norm(imf.Problem(A, jnp.array([1.0])))
        >>> round(solution.value, 8), solution.gap < 1e-8
        (0.5, True)

    Reference:
        Fazel (2002), Matrix rank minimization with applications.
    """

    def least(cone: AbstractCone, y: np.ndarray) -> _Pair:
        answer = least_trace(cone, y)
        refuse_infeasible(cone, y, answer)
        fitter = Fitter(cone)
        z = answer.point
        for _ in range(3):
            z = cone.clip(fitter.project(z, y))
        bound = lower_bound(cone, y, answer.dual)
        return _Pair(z, scaled(cone, answer.dual), cone.trace(z), bound)

    return _solved(problem, least)


def min_frobenius(problem: Problem) -> ConvexSolution:
    r"""The minimum of $\|X\|_F$ over all symmetric X with $A(X) = y$, semidefinite or not.

    It is where Euclidean gradient flow from 0 goes: $X = A^*((AA^*)^{+}y)$.

    Args:
        problem: measurement and targets.

    Returns:
        The solution. Its dual has $\|A^*(\nu)\|_F \le 1$.

    Raises:
        InfeasibleTargetsError: no X fits.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DiagonalMeasurement(jnp.array([[2.0, 1.0]]))
        >>> solution = imf.convex.min_frobenius(imf.Problem(A, jnp.array([1.0])))
        >>> solution.x.round(8).tolist()
        [0.4, 0.2]
    """

    def least(cone: AbstractCone, y: np.ndarray) -> _Pair:
        fitter = _fitter(cone, y)
        z = fitter.project(np.zeros(cone.size), y)
        value = float(np.linalg.norm(z))
        inverse = fitter.left @ ((fitter.right @ z) / fitter.values) / fitter.size
        nu = inverse / value if value > 0 else np.zeros_like(y)
        nu = nu / max(1.0, float(np.linalg.norm(cone.adjoint(nu))) * (1 + 1e-15 * len(z)))
        return _Pair(z, nu, value, inner_below(y, nu))

    return _solved(problem, least)


def min_l1(problem: Problem, *, nonnegative: bool = False) -> ConvexSolution:
    r"""The minimum of $\sum|x_i|$ over vectors with $Bx = y$.

    Args:
        problem: with a `DiagonalMeasurement` of matrix B.
        nonnegative: minimize over $x \ge 0$ only. By default over all x, as for signed flows.

    Returns:
        The solution x, as `.x` and on the diagonal of `.X`. Its dual has $|B^\top\nu| \le 1$
        ($B^\top\nu \le 1$ where nonnegative).

    Raises:
        InfeasibleTargetsError: no x fits.
        ValueError: another kind of measurement.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DiagonalMeasurement(jnp.array([[-2.0, 1.0]]))
        >>> problem = imf.Problem(A, jnp.array([1.0]))
        >>> round(imf.convex.min_l1(problem).value, 8)
        0.5
        >>> round(imf.convex.min_l1(problem, nonnegative=True).value, 8)
        1.0

    Reference:
        Chen, Donoho and Saunders (1998), Atomic decomposition by basis pursuit.
    """
    _refuse_matrices(problem)
    if nonnegative:
        return min_nuclear_norm(problem)

    def least(cone: AbstractCone, y: np.ndarray) -> _Pair:
        fitter = _fitter(cone, y)
        answer = least_l1(cone.rows.toarray(), y)
        x = fitter.project(answer.point, y)
        low, high = cone.extremes(answer.dual)
        nu = answer.dual / max(-low, high, 1e-300)
        return _Pair(x, nu, float(np.sum(np.abs(x))), inner_below(y, nu))

    return _solved(problem, least)


def min_l2(problem: Problem) -> ConvexSolution:
    r"""The minimum of $\|x\|_2$ over all vectors with $Bx = y$.

    Args:
        problem: with a `DiagonalMeasurement` of matrix B.

    Returns:
        The solution x, as `.x` and on the diagonal of `.X`. Its dual has $\|B^\top\nu\|_2 \le 1$.

    Raises:
        InfeasibleTargetsError: no x fits.
        ValueError: another kind of measurement.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DiagonalMeasurement(jnp.array([[3.0, 4.0]]))
        >>> round(imf.convex.min_l2(imf.Problem(A, jnp.array([10.0]))).value, 8)
        2.0
    """
    _refuse_matrices(problem)
    return min_frobenius(problem)


def refuse_infeasible(cone: AbstractCone, targets: np.ndarray, answer: ConeAnswer) -> None:
    """Raise where the solver's answer is a proof that no X fits, or is no answer at all.

    Args:
        cone: measurement matrices in coordinates.
        targets: y, shape (m,).
        answer: what the solver returned.

    Raises:
        InfeasibleTargetsError: no X fits.
        ValueError: nothing was found and nothing proved.
    """
    if answer.claims_infeasible:
        vector = sharpen(cone, targets, -answer.dual)
        raise infeasible(vector, inner_below(targets, vector), reach(cone, targets, vector))
    size = np.linalg.norm(targets)
    missing = float(np.linalg.norm(cone.apply(answer.point) - targets) / (size if size > 0 else 1))
    if missing > 1e-5:
        least = lower_bound(cone, targets, answer.dual)
        raise _NotAttainedError(answer.status, missing, cone.trace(answer.point), least)


class _NotAttainedError(ValueError):
    """The solver ended far from the targets, without a proof."""

    def __init__(self, status: str, missing: float, trace: float, least: float):
        super().__init__(
            "Argument `problem` must have a minimum that is attained, but the convex solver ended "
            f"with `{status}` at trace {trace:.3g} and misfit {missing:.3g}, and every X that fits "
            f"has a trace of at least {least:.3g}: the norm probably diverges. "
            "`implicit_flow.certify` says what can be proved."
        )
        self.numbers = status, missing, trace, least

    def in_units(self, unit: float) -> "_NotAttainedError":
        status, missing, trace, least = self.numbers
        return _NotAttainedError(status, missing, trace * unit, least * unit)


def infeasible(vector: np.ndarray, inner: float, far: float) -> InfeasibleTargetsError:
    """The error that says that no X fits, and how far that is proved."""
    return InfeasibleTargetsError(
        "Argument `problem` must have targets that some X meets, but nu = "
        f"{np.array2string(vector, precision=4, threshold=8)} has <y, nu> = {inner:.4g} < 0 "
        f"and A*(nu) >= 0 as far as floats tell: every X >= 0 that fits has a trace above "
        f"{far:.3g}. Check the targets, or drop the measurements that contradict each other.",
        vector,
        far,
    )


class _Pair(NamedTuple):
    """A point in coordinates, a dual, and the values of both."""

    z: np.ndarray
    nu: np.ndarray
    value: float
    bound: float


def _solved(problem: Problem, least: Callable[[AbstractCone, np.ndarray], _Pair]) -> ConvexSolution:
    """Solve in units in which no square overflows or vanishes, and give the answer in its own."""
    _checks.instance(problem, "problem", Problem)
    host(problem.measurement, problem.targets)
    data = coordinates(problem.measurement), np.asarray(problem.targets, float)
    dtype = problem.measurement.dtype
    # The convex solver and what is called zero beside its answer have a scale: that of one.
    cone, y, units = in_units(*data, dtype, extreme=1.0)
    if not np.any(y):
        n, m = problem.dim, problem.num_measurements
        return ConvexSolution(jnp.zeros((n, n), dtype), jnp.zeros(m, dtype), 0.0, 0.0, 0.0)
    try:
        pair = least(cone, y)
    except InfeasibleTargetsError as error:
        inner = inner_below(y, error.vector) * units.targets
        raise infeasible(error.vector, inner, error.reach * units.X) from None
    except _NotAttainedError as error:
        raise error.in_units(units.X) from None
    size = float(np.linalg.norm(y)) or 1.0
    gap = (pair.value - pair.bound) / max(abs(pair.bound), float(np.finfo(float).tiny))
    with np.errstate(over="ignore"):
        X = (cone.matrix(pair.z) * units.X).astype(dtype)
        nu = (pair.nu / units.rows).astype(dtype)
    if not (np.all(np.isfinite(X)) and np.all(np.isfinite(nu))):
        refuse_units(units, dtype)
    return ConvexSolution(
        jnp.asarray(X),
        jnp.asarray(nu),
        pair.value * units.X,
        float(gap) if pair.value > 0 else 0.0,
        float(np.linalg.norm(cone.apply(pair.z) - y)) / size,
    )


def _refuse_matrices(problem: Problem) -> None:
    _checks.instance(problem, "problem", Problem)
    _checks.instance(
        problem.measurement,
        "problem.measurement",
        DiagonalMeasurement,
        "Norms of vectors need a diagonal measurement.",
    )


def _fitter(cone: AbstractCone, targets: np.ndarray) -> Fitter:
    fitter = Fitter(cone)
    if fitter.outside(targets) > 1e-9:
        y = targets / fitter.size
        vector = (fitter.left @ (fitter.left.T @ y) - y) / fitter.size
        raise infeasible(vector, inner_below(targets, vector), reach(cone, targets, vector))
    return fitter
