"""The cone of a measurement in coordinates, and bounds on spectra that hold in floats."""

import abc
import dataclasses
import functools

import jax
import numpy as np
import scipy.sparse as sp

from .. import _checks
from ..measurements import (
    AbstractMeasurement,
    CommutingMeasurement,
    DiagonalMeasurement,
    EntryMeasurement,
)


EPS = float(np.finfo(float).eps)


@dataclasses.dataclass(frozen=True, eq=False)
class AbstractCone(abc.ABC):
    """Symmetric matrices as vectors, in which the trace inner product is the usual one.

    Attributes:
        rows: the measurement matrices, one a row, sparse, shape (m, size).
        dim: n.
        defect: by how much, relatively, the basis behind the coordinates fails to be orthogonal.
    """

    rows: sp.csr_array
    dim: int
    defect: float

    @property
    @abc.abstractmethod
    def one(self) -> np.ndarray:
        """The identity matrix."""

    @abc.abstractmethod
    def vector(self, X: np.ndarray) -> np.ndarray:
        """The part of X that is measured, as a vector."""

    @abc.abstractmethod
    def matrix(self, z: np.ndarray) -> np.ndarray:
        """The symmetric matrix that the vector stands for."""

    @abc.abstractmethod
    def spectrum(self, z: np.ndarray) -> np.ndarray:
        """Its eigenvalues, in ascending order."""

    @abc.abstractmethod
    def clip(self, z: np.ndarray) -> np.ndarray:
        """The nearest positive semidefinite matrix."""

    @abc.abstractmethod
    def fit_identity(self, X: np.ndarray, base: np.ndarray) -> np.ndarray:
        r"""The nu nearest to `base` with $A^*(\\nu)X \approx X$ in least squares."""

    @property
    def num_rows(self) -> int:
        """m, the number of measurements."""
        return len(self.norms)

    @property
    def size(self) -> int:
        """The number of coordinates."""
        return len(self.one)

    @functools.cached_property
    def norms(self) -> np.ndarray:
        """The Frobenius norms of the measurement matrices, shape (m,)."""
        return np.sqrt(np.asarray(self.rows.multiply(self.rows).sum(axis=1)).reshape(-1))

    def apply(self, z: np.ndarray) -> np.ndarray:
        """A(X)."""
        return self.rows @ z

    def adjoint(self, nu: np.ndarray) -> np.ndarray:
        """A*(nu)."""
        return self.rows.T @ nu

    def trace(self, z: np.ndarray) -> float:
        """Tr X."""
        return float(self.one @ z)

    def extremes(self, nu: np.ndarray) -> tuple[float, float]:
        r"""A lower bound of $\lambda_{\min}(A^*(\nu))$ and an upper bound of $\lambda_{\max}$.

        Rounding is inside the bounds: that of the sum of m terms, of the eigenvalue solver (whose
        backward error is a modest multiple of n eps), and of the basis.
        """
        z = self.adjoint(nu)
        values = self.spectrum(z)
        if not np.all(np.isfinite(values)):
            return -np.inf, np.inf
        m = self.num_rows
        summed = float(np.linalg.norm(abs(self.rows).T @ np.abs(nu)))
        largest = float(np.linalg.norm(z))
        margin = EPS * ((m + 8) * summed + 4 * (self.dim + 4) * largest) + self.defect * largest
        return float(values[0]) - margin, float(values[-1]) + margin

    def apply_error(self, z: np.ndarray) -> np.ndarray:
        """A bound of the rounding of `apply`, shape (m,)."""
        return EPS * (self.size + 8) * (abs(self.rows) @ np.abs(z))


@dataclasses.dataclass(frozen=True, eq=False)
class SemidefiniteCone(AbstractCone):
    """Any measurement: upper triangles by columns, entries off the diagonal times sqrt 2."""

    @property
    def one(self) -> np.ndarray:
        """The identity matrix."""
        return self.vector(np.eye(self.dim))

    @functools.cached_property
    def _triangle(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return triangle(self.dim)

    def vector(self, X: np.ndarray) -> np.ndarray:
        """Its upper triangle."""
        i, j, weight = self._triangle
        return (X[i, j] + X[j, i]) / 2 * weight

    def matrix(self, z: np.ndarray) -> np.ndarray:
        """Both triangles."""
        i, j, weight = self._triangle
        X = np.zeros((self.dim, self.dim))
        X[i, j] = X[j, i] = z / weight
        return X

    def spectrum(self, z: np.ndarray) -> np.ndarray:
        """By `eigvalsh`."""
        return np.linalg.eigvalsh(self.matrix(z))

    def clip(self, z: np.ndarray) -> np.ndarray:
        """Without its negative eigenvalues."""
        values, vectors = np.linalg.eigh(self.matrix(z))
        return self.vector((vectors * np.maximum(values, 0)) @ vectors.T)

    def fit_identity(self, X: np.ndarray, base: np.ndarray) -> np.ndarray:
        r"""The nu nearest to `base` with $A^*(\nu)X \approx X$ in least squares."""
        values, vectors = np.linalg.eigh(X)
        large = values > 1e-6 * values[-1]
        U = vectors[:, large] * np.sqrt(values[large])
        m, n = self.num_rows, self.dim
        if m * n * n > 5e7:
            return base
        i, j, weight = self._triangle
        stack = np.zeros((m, n, n))
        entries = self.rows.toarray() / weight
        stack[:, i, j] = stack[:, j, i] = entries
        images = (stack @ U).reshape(m, -1)
        return base + np.linalg.lstsq(images.T, U.reshape(-1) - base @ images, rcond=1e-10)[0]


@dataclasses.dataclass(frozen=True, eq=False)
class OrthantCone(AbstractCone):
    """Commuting measurements: the diagonal of X in the common basis is all that is measured.

    Attributes:
        basis: the common eigenvectors.
    """

    basis: np.ndarray

    @property
    def one(self) -> np.ndarray:
        """Ones."""
        return np.ones(self.dim)

    def vector(self, X: np.ndarray) -> np.ndarray:
        """Its diagonal in the basis."""
        return np.sum(self.basis * (X @ self.basis), axis=0)

    def matrix(self, z: np.ndarray) -> np.ndarray:
        """Diagonal in the basis."""
        return (self.basis * z) @ self.basis.T

    def spectrum(self, z: np.ndarray) -> np.ndarray:
        """The sorted entries."""
        return np.sort(z)

    def clip(self, z: np.ndarray) -> np.ndarray:
        """The positive part."""
        return np.maximum(z, 0)

    def fit_identity(self, X: np.ndarray, base: np.ndarray) -> np.ndarray:
        r"""The nu nearest to `base` with $A^*(\nu) = 1$ where X is large."""
        z = self.vector(X)
        large = z > 1e-6 * np.max(z)
        images = self.rows.toarray()[:, large] * np.sqrt(z[large])
        return base + np.linalg.lstsq(images.T, np.sqrt(z[large]) - base @ images, rcond=1e-10)[0]


def triangle(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and weights of the upper triangle, column by column."""
    j, i = np.tril_indices(n)
    return i, j, np.where(i == j, 1.0, np.sqrt(2.0))


def coordinates(measurement: AbstractMeasurement) -> AbstractCone:
    """The cone of a measurement, in float64 on the host.

    Entries stay sparse; other kinds cost m n (n + 1) / 2 numbers, commuting ones m n.

    Args:
        measurement: of any kind, with values that are known.

    Returns:
        The cone.

    Raises:
        ValueError: under a tracer.
    """
    host(measurement)
    n = measurement.dim
    if isinstance(measurement, DiagonalMeasurement):
        rows = sp.csr_array(np.asarray(measurement.matrix, float))
        return OrthantCone(rows, n, 0.0, np.eye(n))
    if isinstance(measurement, CommutingMeasurement):
        rows = sp.csr_array(np.asarray(measurement.spectra, float))
        basis = np.asarray(measurement.basis, float)
        error = float(np.linalg.norm(basis.T @ basis - np.eye(n)))
        return OrthantCone(rows, n, 2 * error + 4 * n * EPS, basis)
    if isinstance(measurement, EntryMeasurement):
        i, j = np.asarray(measurement.rows, int), np.asarray(measurement.cols, int)
        i, j = np.minimum(i, j), np.maximum(i, j)
        values = np.where(i == j, 1.0, np.sqrt(0.5))
        shape = (len(i), n * (n + 1) // 2)
        return SemidefiniteCone(
            sp.csr_array((values, (np.arange(len(i)), j * (j + 1) // 2 + i)), shape=shape), n, 0.0
        )
    stack = np.asarray(measurement.as_stack(), float)
    i, j, weight = triangle(n)
    return SemidefiniteCone(sp.csr_array((stack[:, i, j] + stack[:, j, i]) / 2 * weight), n, 0.0)


def host(*values: object) -> None:
    """Refuse tracers: what follows runs on the host, in NumPy.

    Raises:
        ValueError: where a value is being traced.
    """
    if any(_checks.concrete(leaf) is None for leaf in jax.tree.leaves(values)):
        raise ValueError(
            "This function runs on the host and cannot be traced by `jit`, `vmap` or `grad`. "
            "Call it on the result outside, or use `convex.dual_bound` and `convex.duality_gap`, "
            "which can be traced."
        )
