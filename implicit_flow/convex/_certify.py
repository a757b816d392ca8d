"""The door to certificates."""

import dataclasses
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from .. import _checks
from ..problems import Problem
from ._certificate import Certificate
from ._coordinates import AbstractCone, coordinates, host
from ._evidence import is_cheap, point as measure
from ._judge import Judge
from ._units import EXTREME, Units, in_units


@runtime_checkable
class HasDual(Protocol):
    """Anything with a point and a dual: a `Solution`, a `ConvexSolution`, or your own."""

    @property
    def X(self) -> jax.Array:
        """The point, shape (n, n)."""
        ...

    @property
    def dual(self) -> jax.Array:
        """A candidate for the dual, shape (m,)."""
        ...


def certify(
    problem: Problem,
    X_or_solution: ArrayLike | HasDual,
    *,
    dual: ArrayLike | None = None,
    tolerance: float | None = None,
    gap_tolerance: float | None = None,
    error: float = 0.0,
    convex: bool | None = None,
) -> Certificate:
    r"""Decide, with proof, whether X has the least trace among the $X \ge 0$ that fit.

    Each verdict says no more than its bounds:

    - "minimal": X fits to `tolerance`, and its trace exceeds a lower bound on the minimum by at
      most `gap_tolerance`, relatively.
    - "not minimal": X fits to `tolerance`, and matrices of smaller trace are shown to exist that
      fit exactly: one for the targets y and one for the targets A(X). They are found near a point
      of the convex solver and a strictly positive one, so that a correction of the size of their
      residual keeps them positive semidefinite. Where measurement matrices depend on each other,
      "exactly" means: for targets that differ from y by rounding.
    - "infeasible targets": X does not fit, and a vector nu with $A^*(\nu) \ge -\varepsilon I$,
      $\langle y, \nu\rangle < 0$ proves that every X that does has a trace above
      $|\langle y, \nu\rangle|/\varepsilon$, at least 1e10 times the scale of the problem.
    - "not fitted": X does not fit, and nothing of that kind is known.
    - "undecided": anything else; among it, that every X which fits is far larger than this one
      (the norm diverges), and an X that is not positive semidefinite.

    A host function: it cannot be traced; `convex.duality_gap` can. The loss does not enter, as long
    as it is least at the targets.

    Args:
        problem: measurement, targets, loss.
        X_or_solution: shape (n, n), or a `Solution` or anything else with `X` and `dual`.
        dual: a candidate for the dual, shape (m,); by default the solution's.
        tolerance: the largest relative misfit that counts as fitting; raise it for noisy targets.
            By default 1e-6 (1e-4 in float32).
        gap_tolerance: the largest gap that counts as minimal. By default 1e-6, plus what the misfit
            of X accounts for.
        error: a relative Frobenius error of X itself, where X stands for a limit that is known only
            so well: it must not decide the verdict.
        convex: whether to ask the convex solver if nothing cheaper decides. By default where that
            takes seconds (n up to about 30, or commuting measurements).

    Returns:
        The certificate.

    Raises:
        ValueError: wrong shapes, numbers that are not finite, a loss without a finite minimizer, or
            a tracer.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DiagonalMeasurement(jnp.array([[2.0, 1.0]]))
        >>> problem = imf.Problem(A, jnp.array([1.0]))
        >>> imf.convex.certify(problem, jnp.diag(jnp.array([0.5, 0.0]))).verdict
        'minimal'
        >>> worse = imf.convex.certify(problem, jnp.diag(jnp.array([0.4, 0.2])))
        >>> worse.verdict, round(worse.excess_at_least, 8)
        ('not minimal', 0.1)

    Reference:
        Jansson, Chaykin and Keil (2007), Rigorous error bounds for the optimal value in
        semidefinite programming.
    """
    cone, X, targets, given = _read(problem, X_or_solution, dual)
    cone, targets, units = in_units(cone, targets, problem.measurement.dtype, EXTREME)
    eps = float(jnp.finfo(problem.measurement.dtype).eps)
    custom = tolerance is not None
    tolerance = max(1e-6, 1e3 * eps) if tolerance is None else _nonnegative(tolerance, "tolerance")
    if gap_tolerance is not None:
        gap_tolerance = _nonnegative(gap_tolerance, "gap_tolerance")
    # Norms of huge entries are infinite, and the verdict knows what to make of them.
    with np.errstate(over="ignore"):
        here = measure(cone, X / units.X, targets)
        judge = Judge(
            cone,
            here,
            targets,
            tolerance,
            # What the misfit accounts for is forgiven, as long as it stays a small correction.
            max(1e-3, 10 * tolerance) if custom else 1e-3,
            max(1e-6, 1e2 * eps),
            gap_tolerance,
            _nonnegative(error, "error"),
        )
        dual = None if given is None else given * units.rows
        found = judge.certificate(dual, is_cheap(cone) if convex is None else convex)
        return _in_own_units(found, units)


def _in_own_units(found: Certificate, units: Units) -> Certificate:
    if units == (1, 1, 1):
        return found
    # Of what order the reader sees the numbers in the words.
    words = f"{found.explanation} (All numbers are in units of {units.X:.3g}.)"
    return dataclasses.replace(
        found,
        primal_value=found.primal_value * units.X,
        dual_bound=found.dual_bound * units.X,
        upper_bound=found.upper_bound * units.X,
        excess_at_least=found.excess_at_least * units.X,
        slack=found.slack * units.X,
        reach=found.reach * units.X,
        dual=found.dual / units.rows,
        explanation=words,
    )


def _read(
    problem: Problem, X_or_solution: ArrayLike | HasDual, dual: ArrayLike | None
) -> tuple[AbstractCone, np.ndarray, np.ndarray, np.ndarray | None]:
    _checks.instance(problem, "problem", Problem)
    if not problem.loss.has_finite_minimizer:
        _checks.refuse(
            "problem",
            "have a loss with a finite minimizer",
            f"{type(problem.loss).__name__} is least at infinity",
            "No X fits its targets: there is nothing to certify.",
        )
    if isinstance(X_or_solution, HasDual):
        X, dual = X_or_solution.X, X_or_solution.dual if dual is None else dual
    else:
        X = X_or_solution
    host(problem.measurement, problem.targets, X, dual)
    X = np.asarray(_checks.array(X, "X_or_solution"), float)
    n, m = problem.dim, problem.num_measurements
    _checks.shape(X, "X_or_solution", (n, n))
    _checks.finite(X, "X_or_solution")
    given = None
    if dual is not None:
        given = np.asarray(_checks.array(dual, "dual"), float)
        _checks.shape(given, "dual", (m,))
        # A flow that failed hands on what it has: a dual that is not finite proves nothing.
        given = given if np.all(np.isfinite(given)) else None
    return coordinates(problem.measurement), X, np.asarray(problem.targets, float), given


def _nonnegative(value: float, name: str) -> float:
    number = _checks.number(value, name)
    if not 0 <= number < float("inf"):
        _checks.refuse(name, "be finite and at least 0", f"is {value}")
    return number
