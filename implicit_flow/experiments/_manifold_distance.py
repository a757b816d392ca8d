"""The distance from the manifold of a commuting flow, and its first-order theory."""

from typing import Any, NamedTuple, cast

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

from .. import _checks
from ..problems import Problem


# Relative residual at which a flow counts as at rest.
_AT_REST = 1e-9
# In units in which A*(y) is of order one.
_FOR_EVER = 1e6


class FirstOrder(NamedTuple):
    """What the flow itself says about the steps that follow it.

    Attributes:
        constant: distance of log X from M over the step size, as the step goes to zero.
        time: when the residual of the flow has become small.
    """

    constant: float
    time: float


def first_order(problem: Problem, alpha: float, frame: Any) -> FirstOrder:
    r"""Integrates the flow in the common eigenvectors, with SciPy.

    A step multiplies U by I - hG, G = A*(r), and log(1 - hg) = -hg - h^2 g^2/2 - ...: the first
    term stays in the span of the measurement matrices, the second sums to (h/2) int G^2 dt.

    Args:
        problem: with a `CommutingMeasurement`.
        alpha: scale of X0.
        frame: U~ (n, d).

    Returns:
        The constant and the time.

    Raises:
        ValueError: if the flow does not come to rest.
    """
    spectra, start = _in_basis(problem, alpha, frame)
    targets = np.asarray(problem.targets)
    n, size = start.size, float(np.linalg.norm(targets))

    def residual(state: np.ndarray) -> np.ndarray:
        # A step that overshoots must stay a number to be refused.
        return spectra @ np.exp(np.minimum(state[:n], 50)) - targets

    def field(t: float, state: np.ndarray) -> np.ndarray:
        g = residual(state) @ spectra
        return np.concatenate([-2 * g, g**2])

    def rest(t: float, state: np.ndarray) -> float:
        return float(np.linalg.norm(residual(state))) / size - _AT_REST

    cast(Any, rest).terminal = True
    state, begin = np.concatenate([np.log(start), np.zeros(n)]), 0.0
    # Before the escape all is constant, and steps that grow until then would jump past it.
    rate = float(np.max(np.abs(targets @ spectra)))
    escape = max(1.0, -float(np.min(np.log(start)))) / rate
    for end, longest in ((escape, escape / 50), (_FOR_EVER, np.inf)):
        found = solve_ivp(
            field,
            (begin, end),
            state,
            method="LSODA",
            rtol=1e-9,
            atol=1e-11,
            max_step=longest,
            events=rest,
        )
        if found.status == 1:
            break
        state, begin = found.y[:, -1], end
    else:
        _checks.refuse(
            "seed",
            "give a flow that comes to rest",
            f"is such that it does not until t = {_FOR_EVER:g}",
        )
    squares = found.y[n:, -1]
    return FirstOrder(float(np.linalg.norm(_off_span(spectra, squares))), float(found.t[-1]))


def log_distance(problem: Problem, X: Any, alpha: float, frame: Any) -> float:
    r"""The least-squares distance over s of $\log X$ from M, in the common eigenvectors.

    With $X = E X_0 E$ and E a function of the measurement matrices it is that of $2\log E$ from
    their span: linear least squares. For $X_0 = \alpha I$ it is that of the matrix $\log X$.

    Args:
        problem: with a `CommutingMeasurement`.
        X: (n, n).
        alpha: scale of X0.
        frame: U~ (n, d).

    Returns:
        The distance; inf where X has left the positive matrices.
    """
    spectra, start = _in_basis(problem, alpha, frame)
    moved = _diagonal(problem, np.asarray(X)) / start
    if not np.all(moved > 0):
        return float("inf")
    return float(np.linalg.norm(_off_span(spectra, np.log(moved))))


def relative_distance(problem: Problem, X: Any, alpha: float, frame: Any) -> float:
    r"""$\min_s \|X - e^{A^*(s)}X_0e^{A^*(s)}\|_F / \|X\|_F$, by nonlinear least squares.

    Args:
        problem: with a `CommutingMeasurement`.
        X: (n, n).
        alpha: scale of X0.
        frame: U~ (n, d).

    Returns:
        The distance.
    """
    measurement: Any = problem.measurement
    basis = np.asarray(measurement.basis)
    spectra, start = _in_basis(problem, alpha, frame)
    inside = basis.T @ np.asarray(X) @ basis
    rotated = basis.T @ np.asarray(frame)
    X0 = alpha * rotated @ rotated.T
    moved = np.maximum(np.diagonal(inside), 1e-300) / start
    guess = np.linalg.lstsq(spectra.T, np.log(moved) / 2, rcond=None)[0]

    def apart(s: np.ndarray) -> np.ndarray:
        grown = np.exp(s @ spectra)
        return ((inside - grown[:, None] * X0 * grown[None, :]) / np.linalg.norm(inside)).ravel()

    found = least_squares(apart, guess, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    return float(np.linalg.norm(found.fun))


def _in_basis(problem: Problem, alpha: float, frame: Any) -> tuple[np.ndarray, np.ndarray]:
    measurement: Any = problem.measurement
    frame = np.asarray(frame)
    return np.asarray(measurement.spectra), alpha * _diagonal(problem, frame @ frame.T)


def _diagonal(problem: Problem, X: np.ndarray) -> np.ndarray:
    measurement: Any = problem.measurement
    basis = np.asarray(measurement.basis)
    return np.einsum("ik,ij,jk->k", basis, X, basis)


def _off_span(spectra: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return vector - spectra.T @ np.linalg.lstsq(spectra.T, vector, rcond=None)[0]
