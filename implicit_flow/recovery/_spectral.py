"""Starts for local search: spectral, and random."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _checks
from .._compiled import compiled
from .._random import normal
from .._types import RandomKey, Residual, Scalar
from ..measurements import AbstractMeasurement
from ..problems import Problem
from ._recovered import check


def spectral_start(problem: Problem, rank: int) -> Float[Array, "n r"]:
    r"""The top eigenvectors of the back-projected targets, scaled to fit them.

    $X_0 = c\,P_r\bigl(\sum_k y_k A_k / \|A_k\|_F^2\bigr)$, where $P_r$ keeps the r largest
    eigenvalues, negative ones replaced by zero, and c is the scale of least squares,
    $\min_c\|cA(P) - y\|$. For Gaussian measurements the sum is close to a multiple of X*, for
    entries it is the matrix with zeros where nothing was seen.

    Works under `jit` and `vmap`. Where eigenvalues coincide it has no derivative.

    Args:
        problem: measurement and targets.
        rank: r.

    Returns:
        U0 with $X_0 = U_0U_0^\top$, shape (n, r). All zeros where no positive multiple of the
        projection fits better than zero does.

    Raises:
        ValueError: a rank that is no integer from 1 to n.

    Example:
        >>> import jax, jax.numpy as jnp, implicit_flow as imf
        >>> problem = imf.problems.matrix_completion(4, 2, 10, key=jax.random.key(0))
        >>> U = imf.recovery.spectral_start(problem, 2)
        >>> bool(jnp.allclose(U @ U.T, problem.ground_truth))  # everything is observed
        True

    Reference:
        Keshavan, Montanari and Oh (2010), Matrix completion from a few entries.
    """
    check(problem, rank)
    return _largest(problem, rank)


def random_start(problem: Problem, rank: int, *, key: RandomKey) -> Float[Array, "n r"]:
    r"""A Gaussian $U_0$, scaled such that $\|A(U_0U_0^\top)\| = \|y\|$.

    Args:
        problem: measurement and targets.
        rank: r, the number of columns.
        key: `jax.random.key(...)`.

    Returns:
        U0, shape (n, r).

    Raises:
        ValueError: a rank that is no integer from 1 to n, or a key that is none.

    Example:
        >>> import jax, jax.numpy as jnp, implicit_flow as imf
        >>> problem = imf.problems.gaussian_sensing(4, 1, 8, key=jax.random.key(0))
        >>> U = imf.recovery.random_start(problem, 1, key=jax.random.key(1))
        >>> size = jnp.linalg.norm(problem.measurement.apply(U @ U.T))
        >>> bool(jnp.isclose(size, jnp.linalg.norm(problem.targets)))
        True
    """
    check(problem, rank)
    U = normal(_checks.random_key(key), (problem.dim, rank), problem.measurement.dtype)
    size = jnp.linalg.norm(problem.measurement.apply_product(U, U))
    wanted = jnp.linalg.norm(problem.targets)
    return U * jnp.sqrt(wanted / jnp.where(size > 0, size, 1))


@compiled
def _largest(problem: Problem, rank: int) -> Float[Array, "n r"]:
    sizes = _squared_norms(problem.measurement)
    weights = jnp.where(sizes > 0, 1 / jnp.where(sizes > 0, sizes, 1), 0)
    values, vectors = jnp.linalg.eigh(problem.measurement.adjoint(problem.targets * weights))
    top = jnp.clip(values[-rank:], 0, None)
    U = vectors[:, -rank:] * jnp.sqrt(top)[None, :]
    return U * jnp.sqrt(jnp.clip(_best_scale(problem, U), 0, None))


def _best_scale(problem: Problem, U: Float[Array, "n r"]) -> Scalar:
    seen = problem.measurement.apply_product(U, U)
    square = jnp.sum(seen**2)
    return jnp.sum(seen * problem.targets) / jnp.where(square > 0, square, 1)


def _squared_norms(measurement: AbstractMeasurement) -> Residual:
    """||A_k||_F^2, one matrix at a time."""
    units = jnp.eye(measurement.num_measurements, dtype=measurement.dtype)
    return jax.lax.map(lambda unit: jnp.sum(measurement.adjoint(unit) ** 2), units)
