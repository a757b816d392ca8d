"""The kinds of measurements on which the conjecture is tried, and its known counterexamples."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..measurements import CommutingMeasurement, DenseMeasurement
from ..problems import Problem


def counterexamples() -> dict[str, Problem]:
    """Problems whose flow from the identity is known not to end at the least nuclear norm.

    Returns:
        Name -> problem. "3 x 3": least norm 1.674316024366309, that of the limit
        1.678507352080517. "4 x 4" (X13 = 1, X14 = X23 = 2): 8, and 10 in the limit, of rank one.
    """
    first = [[2.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    second = [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 3.0]]
    entries = _entries(np.array([0, 0, 1]), np.array([2, 3, 2]), 4)
    return {
        "3 x 3": Problem(DenseMeasurement(jnp.array([first, second])), [4.0, 3.0]),
        "4 x 4": Problem(DenseMeasurement(entries), [1.0, 2.0, 2.0]),
    }


def instance(
    kind: str, dim: int, rank: int, num_measurements: int, rng: np.random.Generator
) -> Problem:
    """A problem with a planted X of low rank.

    Args:
        kind: one of `KINDS`.
        dim: n.
        rank: of the planted X.
        num_measurements: m.
        rng: where randomness comes from.

    Returns:
        The problem; all kinds but "commuting" are dense, so that they share one program.
    """
    if kind == "commuting":
        basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
        spectra = rng.normal(size=(num_measurements, dim))
        planted = np.where(np.arange(dim) < rank + 1, rng.uniform(0.5, 1.5, dim), 0)
        truth = (basis * planted) @ basis.T
        return Problem(CommutingMeasurement(basis, spectra), spectra @ planted, ground_truth=truth)
    A, U = _DENSE[kind](dim, rank, num_measurements, rng)
    truth = U @ U.T
    return Problem(DenseMeasurement(A), np.einsum("kij,ij->k", A, truth), ground_truth=truth)


def padded(problem: Problem, dim: int, num_measurements: int) -> Problem:
    """The same problem in a larger size, so that it shares the program of others.

    Matrices of zeros ask for nothing, and rows and columns that no measurement sees stay at the
    start.

    Args:
        problem: dense.
        dim: n, not below that of the problem.
        num_measurements: m, not below that of the problem.

    Returns:
        The larger problem.
    """
    stack, targets = np.asarray(problem.measurement.as_stack()), np.asarray(problem.targets)
    around, more = (0, dim - problem.dim), (0, num_measurements - len(targets))
    truth = problem.ground_truth
    if truth is not None:
        truth = np.pad(np.asarray(truth), around)
    measurement = DenseMeasurement(np.pad(stack, (more, around, around)))
    return Problem(measurement, np.pad(targets, more), ground_truth=truth)


def gaussian(
    dim: int, eigenvalues: Float[np.ndarray, " r"], num_measurements: int, rng: np.random.Generator
) -> Problem:
    """Gaussian sensing of a planted X with given eigenvalues, for the study of recovery.

    Args:
        dim: n.
        eigenvalues: of X, shape (r,).
        num_measurements: m.
        rng: where randomness comes from.

    Returns:
        The problem.
    """
    G = rng.normal(size=(num_measurements, dim, dim))
    A = (G + np.swapaxes(G, 1, 2)) / 2
    V = np.linalg.qr(rng.normal(size=(dim, len(eigenvalues))))[0]
    truth = (V * eigenvalues) @ V.T
    # A common factor of the matrices only sets the clock.
    A = A / np.sqrt(num_measurements)
    return Problem(DenseMeasurement(A), np.einsum("kij,ij->k", A, truth), ground_truth=truth)


def _gaussian(dim, rank, num_measurements, rng):
    G = rng.normal(size=(num_measurements, dim, dim))
    return (G + np.swapaxes(G, 1, 2)) / 2, rng.normal(size=(dim, rank)) / np.sqrt(dim)


def _incoherent(dim, rank, num_measurements, rng):
    return _some_entries(dim, num_measurements, rng), rng.normal(size=(dim, rank))


def _coherent(dim, rank, num_measurements, rng):
    # Most of the planted X stands in one row and one column.
    U = 0.2 * rng.normal(size=(dim, rank))
    U[rng.integers(dim)] += 2
    return _some_entries(dim, num_measurements, rng), U


def _rank_one(dim, rank, num_measurements, rng):
    vectors = rng.normal(size=(num_measurements, dim))
    return np.einsum("ki,kj->kij", vectors, vectors), rng.normal(size=(dim, rank)) / np.sqrt(dim)


_DENSE: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "Gaussian": _gaussian,
    "completion": _incoherent,
    "coherent": _coherent,
    "rank-one": _rank_one,
}
KINDS = (*_DENSE, "commuting")


def _some_entries(dim: int, num_measurements: int, rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.triu_indices(dim)
    chosen = rng.permutation(len(rows))[:num_measurements]
    return _entries(rows[chosen], columns[chosen], dim)


def _entries(rows: np.ndarray, columns: np.ndarray, dim: int) -> np.ndarray:
    A, places = np.zeros((len(rows), dim, dim)), np.arange(len(rows))
    A[places, rows, columns] += 0.5
    A[places, columns, rows] += 0.5
    return A
