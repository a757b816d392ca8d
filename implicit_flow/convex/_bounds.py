"""Lower bounds on the minimum, and proofs that no X fits; rounding included."""

import numpy as np

from ._coordinates import EPS, AbstractCone


def inner_below(y: np.ndarray, nu: np.ndarray) -> float:
    r"""A number at most $\langle y, \nu\rangle$."""
    with np.errstate(over="ignore", invalid="ignore"):
        inner = float(y @ nu) - EPS * (len(y) + 2) * float(np.abs(y) @ np.abs(nu))
    # Where the sums overflow nothing is known.
    return inner if np.isfinite(inner) else -float("inf")


def lower_bound(cone: AbstractCone, targets: np.ndarray, nu: np.ndarray) -> float:
    r"""A number at most $\min\{\mathrm{tr}X : X \ge 0, A(X) = y\}$, from any nu.

    $\mathrm{tr}X \ge \langle X, A^*(\nu)\rangle/\lambda = \langle y, \nu\rangle/\lambda$ for any
    $\lambda \ge \lambda_{\max}(A^*(\nu))$, $\lambda > 0$; and the trace is at least 0.

    Args:
        cone: measurement matrices in coordinates.
        targets: y, shape (m,).
        nu: any vector, shape (m,); it need not be feasible.

    Returns:
        The bound, at least 0. It grows without bound, up to what floats resolve, where -nu proves
        that no X fits.
    """
    if not np.all(np.isfinite(nu)):
        return 0.0
    inner = inner_below(targets, nu)
    if inner <= 0:
        return 0.0
    _, top = cone.extremes(nu)
    return inner / top * (1 - 4 * EPS) if top > 0 else float("inf")


def scaled(cone: AbstractCone, nu: np.ndarray) -> np.ndarray:
    r"""$\nu/\lambda$ with $A^*(\nu/\lambda) \le I$ in spite of rounding; 0 if impossible."""
    _, top = cone.extremes(nu)
    return nu / top * (1 - 4 * EPS) if 0 < top < np.inf else np.zeros_like(nu)


def scale(cone: AbstractCone, targets: np.ndarray) -> float:
    r"""A lower bound of the Frobenius norm of any X that fits: $\max |y_k|/\|A_k\|$."""
    seen = cone.norms > 0
    return float(np.max(np.abs(targets[seen]) / cone.norms[seen], initial=0.0))


def sharpen(cone: AbstractCone, targets: np.ndarray, nu: np.ndarray) -> np.ndarray:
    r"""Bring $A^*(\nu)$ nearer to a semidefinite matrix, for a proof that no X fits.

    A solver leaves negative eigenvalues of about 1e-9. Alternating projections between the range
    of A* and the matrices of the rank that shows bring them to rounding, where they can be.

    Args:
        cone: measurement matrices in coordinates.
        targets: y, shape (m,).
        nu: a vector with $A^*(\nu) \gtrsim 0$ and $\langle y, \nu\rangle < 0$.

    Returns:
        Such a vector; the one given, if nothing is gained.
    """
    rows = cone.rows.toarray() / np.where(cone.norms > 0, cone.norms, 1)[:, None]
    y = targets / np.where(cone.norms > 0, cone.norms, 1)
    weights = nu * cone.norms
    # The part of y outside the range of A is a proof by itself, and exact to rounding.
    inside = np.linalg.lstsq(rows.T, rows.T @ weights, rcond=1e-12)[0]
    best, best_reach = nu, reach(cone, targets, nu)
    outside = np.linalg.lstsq(rows, y, rcond=1e-12)[0]
    candidates = [rows @ outside - y]
    pull = np.linalg.pinv(rows.T, rcond=1e-12)
    for level in (0.0, 1e-7, 1e-5):
        moved = inside
        for _ in range(30):
            z = rows.T @ moved
            target = cone.clip(z - level * np.linalg.norm(z) * cone.one)
            moved = moved + pull @ (target - z)
        candidates.append(moved)
    for candidate in candidates:
        vector = np.divide(candidate, cone.norms, where=cone.norms > 0, out=candidate.copy())
        there = reach(cone, targets, vector)
        if there > best_reach:
            best, best_reach = vector, there
    return best


def reach(cone: AbstractCone, targets: np.ndarray, nu: np.ndarray) -> float:
    r"""How far nu proves that no X fits: each X that fits has $\mathrm{tr}X \ge$ this.

    With $A^*(\nu) \ge -\varepsilon I$ it is $|\langle y, \nu\rangle|/\varepsilon$: infinite where
    $\varepsilon = 0$ in spite of rounding, 0 where $\langle y, \nu\rangle \ge 0$.

    Args:
        cone: measurement matrices in coordinates.
        targets: y, shape (m,).
        nu: any vector, shape (m,).

    Returns:
        The reach.
    """
    return lower_bound(cone, targets, -nu)
