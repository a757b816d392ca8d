"""The factor flow of commuting measurements beside the mirror flow of the entropy."""

from typing import Any

import diffrax
import jax.numpy as jnp
import numpy as np

from .._compiled import compiled
from .._simulate import simulate
from ..flows import FactorFlow
from ..measurements import CommutingMeasurement, DiagonalMeasurement
from ..problems import Problem


# The scale at which both start.
ALPHA = 0.1
# Times of the comparison, in units of 1 / the steepness of the start.
TIMES = (0.5, 2.0, 8.0)


def vector_problem(rows: Any, targets: Any) -> Problem:
    """A x = y.

    Args:
        rows: A, shape (m, n).
        targets: y, shape (m,).

    Returns:
        The problem on diagonal matrices.
    """
    return Problem(DiagonalMeasurement(rows), targets)


def times_of(A: Any, y: Any) -> Any:
    """Times of the comparison, on the clock of the factor flow.

    Args:
        A: shape (m, n).
        y: shape (m,).

    Returns:
        Shape (3,).
    """
    return jnp.asarray(TIMES) / jnp.max(jnp.abs(A.T @ y))


def factor_path(A: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """The factor flow on matrices with common eigenvectors.

    Args:
        A: the eigenvalues of the matrices, shape (m, n).
        y: targets, shape (m,).
        seed: of the eigenvectors.

    Returns:
        X at the times, shape (3, n, n).
    """
    basis = _basis(A.shape[1], seed)

    @compiled
    def factor(A: Any, y: Any) -> Any:
        problem, times = Problem(CommutingMeasurement(basis, A), y), times_of(A, y)
        # To a given time, where nothing is stiff: a stock solver, as for the mirror flow.
        options = {"saveat": times, "t1": times[-1], "solver": diffrax.Tsit5(), "rtol": 1e-8}
        options["adjoint"] = diffrax.ForwardMode()
        return simulate(problem, FactorFlow(), alpha=ALPHA, **options)

    return np.asarray(factor(A, y).Xs)


def distances(path: np.ndarray, entropy: np.ndarray, seed: int) -> np.ndarray:
    """Between the factor flow and the mirror flow of the entropy, at the same points of time.

    Args:
        path: of `factor_path`, shape (3, n, n).
        entropy: x of the mirror flow at twice the times, as diagonal matrices, shape (3, n, n).
        seed: as for `factor_path`.

    Returns:
        Relative distances over time, shape (3,).
    """
    basis = _basis(path.shape[1], seed)
    wanted = basis @ entropy @ basis.T
    return np.linalg.norm(path - wanted, axis=(1, 2)) / np.linalg.norm(wanted, axis=(1, 2))


def _basis(dim: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng([seed, 1]).normal(size=(dim, dim)))[0]
