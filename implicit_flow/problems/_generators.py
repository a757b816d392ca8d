"""Planted problems: each has a known X that meets the targets, up to the noise asked for."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _checks
from .._random import normal, permutation, uniform
from .._types import PRECISION, RandomKey, Residual
from ..measurements import (
    AbstractMeasurement,
    CommutingMeasurement,
    DenseMeasurement,
    DiagonalMeasurement,
    EntryMeasurement,
    RankOneMeasurement,
    rectangular_entries,
)
from ._problem import Problem


def gaussian_sensing(
    dim: int, rank: int, num_measurements: int, *, key: RandomKey, noise: ArrayLike = 0.0
) -> Problem:
    r"""Gaussian measurement matrices $A_k = (G_k + G_k^\top)/2$ of a planted low-rank matrix.

    The entries of G are standard normal. The planted $X^* = U U^\top$ has U of shape (dim, rank)
    with entries normal of variance 1/dim, so that its eigenvalues are near 1.

    Args:
        dim: n.
        rank: of the planted matrix.
        num_measurements: m.
        key: `jax.random.key(...)`.
        noise: standard deviation of the Gaussian noise added to each target.

    Returns:
        The problem, with its ground truth.

    Raises:
        ValueError: sizes below 1, rank above dim, or negative noise.

    Example:
        >>> import jax, implicit_flow as imf
        >>> problem = imf.problems.gaussian_sensing(4, 1, 6, key=jax.random.key(0))
        >>> problem.dim, problem.num_measurements
        (4, 6)

    Reference:
        Gunasekar et al. (2017), Implicit regularization in matrix factorization.
    """
    _sizes(dim=dim, rank=rank, num_measurements=num_measurements)
    measured, truth, noisy = jax.random.split(_checks.random_key(key), 3)
    G = normal(measured, (num_measurements, dim, dim))
    A = DenseMeasurement((G + jnp.swapaxes(G, 1, 2)) / 2)
    return _planted(A, _low_rank(truth, dim, rank), noisy, noise)


def matrix_completion(
    dim: int, rank: int, num_measurements: int, *, key: RandomKey, noise: ArrayLike = 0.0
) -> Problem:
    """Entries of a planted low-rank matrix, on and above the diagonal, drawn without repeats.

    Args:
        dim: n.
        rank: of the planted matrix.
        num_measurements: m, at most n (n + 1) / 2.
        key: `jax.random.key(...)`.
        noise: standard deviation of the Gaussian noise added to each target.

    Returns:
        The problem, with its ground truth.

    Raises:
        ValueError: impossible sizes, or negative noise.

    Example:
        >>> import jax, implicit_flow as imf
        >>> problem = imf.problems.matrix_completion(5, 1, 9, key=jax.random.key(0))
        >>> problem.num_measurements
        9
    """
    _sizes(dim=dim, rank=rank, num_measurements=num_measurements)
    most = dim * (dim + 1) // 2
    if num_measurements > most:
        _checks.refuse(
            "num_measurements",
            f"be at most the {most} entries on and above the diagonal",
            f"is {num_measurements}",
        )
    measured, truth, noisy = jax.random.split(_checks.random_key(key), 3)
    rows, cols = (jnp.asarray(side) for side in np.triu_indices(dim))
    chosen = permutation(measured, most)[:num_measurements]
    A = EntryMeasurement(rows[chosen], cols[chosen], dim)
    return _planted(A, _low_rank(truth, dim, rank), noisy, noise)


def rectangular_completion(
    shape: tuple[int, int],
    rank: int,
    num_measurements: int,
    *,
    key: RandomKey,
    noise: ArrayLike = 0.0,
) -> Problem:
    """Entries of a planted rectangular matrix, embedded in a positive semidefinite one.

    Args:
        shape: (p, q), the shape of W.
        rank: of the planted W.
        num_measurements: m, at most p q.
        key: `jax.random.key(...)`.
        noise: standard deviation of the Gaussian noise added to each target.

    Returns:
        The problem, of dimension p + q; its ground truth is the embedded matrix, whose trace is
        twice the nuclear norm of W.

    Raises:
        ValueError: impossible sizes, or negative noise.

    Example:
        >>> import jax, implicit_flow as imf
        >>> key = jax.random.key(0)
        >>> imf.problems.rectangular_completion((3, 4), 1, 6, key=key).dim
        7
    """
    p, q = _checks.sides(shape, "shape")
    _sizes(rank=rank, num_measurements=num_measurements)
    if rank > min(p, q):
        _checks.refuse("rank", f"be at most min(p, q) = {min(p, q)}", f"is {rank}")
    if num_measurements > p * q:
        _checks.refuse("num_measurements", f"be at most p q = {p * q}", f"is {num_measurements}")
    measured, left, right, noisy = jax.random.split(_checks.random_key(key), 4)
    chosen = permutation(measured, p * q)[:num_measurements]
    A = rectangular_entries(chosen // q, chosen % q, (p, q))
    U = normal(left, (p, rank)) / jnp.sqrt(p)
    V = normal(right, (q, rank)) / jnp.sqrt(q)
    # The balanced factors of W = U V' give the embedding of least trace.
    P, sizes, Qt = jnp.linalg.svd(jnp.dot(U, V.T, precision=PRECISION), full_matrices=False)
    factor = jnp.concatenate([P, Qt.T])[:, :rank] * jnp.sqrt(sizes[:rank])[None, :]
    return _planted(A, factor, noisy, noise)


def phase_retrieval(
    dim: int, num_measurements: int, *, key: RandomKey, noise: ArrayLike = 0.0
) -> Problem:
    r"""Squared inner products $(a_k^\top z)^2$ of a planted unit vector with Gaussian vectors.

    Args:
        dim: n.
        num_measurements: m.
        key: `jax.random.key(...)`.
        noise: standard deviation of the Gaussian noise added to each target.

    Returns:
        The problem, with its ground truth z z'.

    Raises:
        ValueError: sizes below 1, or negative noise.

    Example:
        >>> import jax, implicit_flow as imf
        >>> imf.problems.phase_retrieval(3, 8, key=jax.random.key(0)).num_measurements
        8
    """
    _sizes(dim=dim, num_measurements=num_measurements)
    measured, truth, noisy = jax.random.split(_checks.random_key(key), 3)
    z = normal(truth, (dim, 1))
    A = RankOneMeasurement(normal(measured, (num_measurements, dim)))
    return _planted(A, z / jnp.linalg.norm(z), noisy, noise)


def commuting_sensing(
    dim: int, num_measurements: int, *, key: RandomKey, noise: ArrayLike = 0.0
) -> Problem:
    """Measurement matrices with one random set of eigenvectors, and Gaussian eigenvalues.

    The planted matrix has the same eigenvectors; half of its eigenvalues (rounded up) are
    uniform in [1/2, 3/2], the others are zero.

    Args:
        dim: n.
        num_measurements: m.
        key: `jax.random.key(...)`.
        noise: standard deviation of the Gaussian noise added to each target.

    Returns:
        The problem, with its ground truth.

    Raises:
        ValueError: sizes below 1, or negative noise.

    Example:
        >>> import jax, implicit_flow as imf
        >>> imf.problems.commuting_sensing(4, 2, key=jax.random.key(0)).dim
        4
    """
    _sizes(dim=dim, num_measurements=num_measurements)
    rotated, spectral, truth, noisy = jax.random.split(_checks.random_key(key), 4)
    basis = jnp.linalg.qr(normal(rotated, (dim, dim)))[0]
    spectra = normal(spectral, (num_measurements, dim))
    values = _half_zero(truth, dim)
    factor = basis * jnp.sqrt(values)[None, :]
    return _planted(CommutingMeasurement(basis, spectra), factor, noisy, noise)


def nonnegative_least_squares(
    dim: int, num_measurements: int, *, key: RandomKey, noise: ArrayLike = 0.0
) -> Problem:
    """Gaussian diagonal measurements of a planted nonnegative vector, half of it zero.

    Args:
        dim: n.
        num_measurements: m.
        key: `jax.random.key(...)`.
        noise: standard deviation of the Gaussian noise added to each target.

    Returns:
        The problem, with its ground truth diag(x).

    Raises:
        ValueError: sizes below 1, or negative noise.

    Example:
        >>> import jax, implicit_flow as imf
        >>> imf.problems.nonnegative_least_squares(4, 2, key=jax.random.key(0)).dim
        4
    """
    _sizes(dim=dim, num_measurements=num_measurements)
    measured, truth, noisy = jax.random.split(_checks.random_key(key), 3)
    A = DiagonalMeasurement(normal(measured, (num_measurements, dim)))
    return _planted(A, jnp.diag(jnp.sqrt(_half_zero(truth, dim))), noisy, noise)


def single_measurement(dim: int, *, key: RandomKey, noise: ArrayLike = 0.0) -> Problem:
    """One Gaussian measurement of a planted rank-one matrix, with a positive target.

    Args:
        dim: n.
        key: `jax.random.key(...)`.
        noise: standard deviation of the Gaussian noise added to the target.

    Returns:
        The problem, with its ground truth.

    Raises:
        ValueError: dim below 1, or negative noise.

    Example:
        >>> import jax, implicit_flow as imf
        >>> imf.problems.single_measurement(3, key=jax.random.key(0)).num_measurements
        1
    """
    _sizes(dim=dim)
    measured, noisy = jax.random.split(_checks.random_key(key), 2)
    G = normal(measured, (dim, dim))
    values, vectors = jnp.linalg.eigh((G + G.T) / 2)
    # A matrix without a positive eigenvalue measures no positive target: turn it around.
    turned = values[-1] <= 0
    matrix = jnp.where(turned, -1.0, 1.0) * (G + G.T) / 2
    top = jnp.where(turned, vectors[:, 0], vectors[:, -1])
    return _planted(DenseMeasurement(matrix[None]), top[:, None], noisy, noise)


def _sizes(**sizes: int) -> None:
    for name, value in sizes.items():
        _checks.at_least(value, name, 1)
    if "dim" in sizes and sizes.get("rank", 0) > sizes["dim"]:
        _checks.refuse("rank", f"be at most dim = {sizes['dim']}", f"is {sizes['rank']}")


def _low_rank(key: RandomKey, dim: int, rank: int) -> Float[Array, "n r"]:
    return normal(key, (dim, rank)) / jnp.sqrt(dim)


def _half_zero(key: RandomKey, dim: int) -> Float[Array, " n"]:
    values = uniform(key, (dim,), minval=0.5, maxval=1.5)
    return jnp.where(jnp.arange(dim) < (dim + 1) // 2, values, jnp.zeros_like(values))


def _planted(
    measurement: AbstractMeasurement,
    factor: Float[Array, "n r"],
    key: RandomKey,
    noise: ArrayLike,
) -> Problem:
    noise = _checks.array(noise, "noise", dtype=measurement.dtype)
    _checks.shape(noise, "noise", ())
    known = _checks.concrete(noise)
    if known is not None and not 0 <= known < float("inf"):
        _checks.refuse("noise", "be a finite number, at least 0", f"is {known}")
    exact: Residual = measurement.apply_product(factor, factor)
    targets = exact + noise * normal(key, exact.shape, exact.dtype)
    return Problem(
        measurement, targets, ground_truth=jnp.dot(factor, factor.T, precision=PRECISION)
    )
