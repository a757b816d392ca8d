"""Restricted isometry constants: bounds that hold, and what is only an estimate."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _checks
from .._compiled import compiled
from .._types import PRECISION, Matrix, RandomKey, Scalar
from ..linalg import each
from ..measurements import AbstractMeasurement


class Isometry(eqx.Module):
    r"""How far a measurement is from an isometry on matrices of low rank.

    With $q(X) = c\|A(X)\|^2 / \|X\|_F^2$ the constant $\delta_r$ is the largest $|q(X) - 1|$ over
    symmetric X of rank r or less.

    Attributes:
        lower: $\delta_r$ is at least this: a matrix of rank r that attains it is in hand.
        upper: $\delta_r$ is at most this: no symmetric matrix, of whatever rank, is stretched
            further. It is the best bound here, and far above $\delta_r$ where $m < n(n+1)/2$.
        smallest: q at `X_smallest`, the smallest that was found; an upper bound of the minimum.
        largest: q at `X_largest`, the largest that was found; a lower bound of the maximum.
        X_smallest: shape (n, n), of rank r and Frobenius norm 1.
        X_largest: shape (n, n), of rank r and Frobenius norm 1.
        spread: how far the best constants of the single starts of the search lie apart, from the
            worst to the best. It is no error bar of $\delta_r$: all starts may end at the same
            local maximum, and `lower` be below $\delta_r$ by far more than a small `spread`.
            Nothing but `upper` says how far.
    """

    lower: Scalar
    upper: Scalar
    smallest: Scalar
    largest: Scalar
    X_smallest: Matrix
    X_largest: Matrix
    spread: Scalar

    @property
    def scaled_lower(self) -> Scalar:
        r"""A lower bound of $\min_c\delta_r$: the constant if A may be rescaled at will."""
        return (self.largest - self.smallest) / (self.largest + self.smallest)


def isometry(
    measurement: AbstractMeasurement,
    rank: int,
    *,
    key: RandomKey,
    scale: ArrayLike | None = None,
    num_starts: int = 8,
    num_steps: int = 300,
) -> Isometry:
    r"""Bounds of the restricted isometry constant $\delta_r$ of a measurement.

    $(1 - \delta_r)\|X\|_F^2 \le c\|A(X)\|^2 \le (1 + \delta_r)\|X\|_F^2$ for symmetric X of rank r.

    Computing $\delta_r$ is NP-hard, so it is bracketed. From below by local search: projected
    gradient steps $X \leftarrow P_r(X \pm h\,c A^*A(X))$, normalized, from random matrices of rank
    r, upwards and downwards; whatever the search ends in is a proof, as it is a matrix of rank r.
    From above by the extreme eigenvalues of $c A^*A$ on all symmetric matrices. The rounding of
    both evaluations is taken off and added, respectively, by a bound on it.

    Works under `jit` and `vmap`. It forms $A^*A$ as a matrix of order n(n+1)/2.

    Args:
        measurement: A.
        rank: r, from 1 to n. The theorems on rank r ask for the constants of 2r and 4r; beyond n
            take n.
        key: of the random starts.
        scale: c; 1 / m if None.
        num_starts: how many starts the search makes in each direction.
        num_steps: how many steps it takes from each.

    Returns:
        Both bounds, with their witnesses.

    Raises:
        ValueError: a rank that is no integer from 1 to n, counts below 1, a scale that is not
            positive, a measurement of zeros, or a key that is none.

    Example:
        >>> import jax, implicit_flow as imf
        >>> problem = imf.problems.gaussian_sensing(4, 1, 400, key=jax.random.key(0))
        >>> found = imf.recovery.isometry(problem.measurement, 2, key=jax.random.key(1))
        >>> bool(0 < found.lower <= found.upper < 1)
        True

    Reference:
        Recht, Fazel and Parrilo (2010), Guaranteed minimum-rank solutions. Tillmann and Pfetsch
        (2014), The computational complexity of the restricted isometry property.
    """
    _checks.instance(measurement, "measurement", AbstractMeasurement)
    _checks.at_least(rank, "rank", 1)
    if rank > measurement.dim:
        _checks.refuse("rank", f"be at most dim = {measurement.dim}", f"is {rank}")
    _checks.at_least(num_starts, "num_starts", 1)
    _checks.at_least(num_steps, "num_steps", 1)
    _checks.random_key(key)
    if scale is None:
        scale = 1 / measurement.num_measurements
    _checks.finite(scale, "scale")
    _checks.positive(scale, "scale")
    stack = _checks.concrete(measurement.as_stack())
    if stack is not None and not np.any(stack):
        _checks.refuse("measurement", "measure something", "is zero on all matrices")
    c = jnp.asarray(scale, measurement.dtype)
    return _bracket(measurement, rank, key, c, num_starts, num_steps)


@compiled
def _bracket(
    measurement: AbstractMeasurement,
    rank: int,
    key: RandomKey,
    c: Scalar,
    num_starts: int,
    num_steps: int,
) -> Isometry:
    m, n, dtype = measurement.num_measurements, measurement.dim, measurement.dtype
    normal = c * _normal_matrix(measurement)
    values = jnp.linalg.eigvalsh(normal)

    def quotient(X: Matrix) -> Scalar:
        return c * jnp.sum(measurement.apply(X) ** 2) / jnp.sum(X**2)

    def search(direction: Scalar, key: RandomKey) -> tuple[Array, Matrix]:
        shift = jnp.where(direction < 0, values[-1], jnp.zeros_like(values[-1]))

        def step(X: Matrix, _: Any) -> tuple[Matrix, None]:
            # Both matrices are semidefinite, so that the truncated power step never goes back.
            image = _unpack(jnp.dot(normal, _pack(X), precision=PRECISION), n)
            return _truncate(shift * X + direction * image, rank), None

        draw = jax.random.normal(key, (n, n), dtype)
        X, _ = jax.lax.scan(step, _truncate(draw + draw.T, rank), None, length=num_steps)
        return quotient(X), X

    keys = jnp.concatenate([jax.random.split(key, num_starts)] * 2)
    down = jnp.arange(2 * num_starts) < num_starts
    ends, points = each(search, jnp.where(down, -1, 1).astype(dtype), keys)
    low, high = ends[:num_starts], ends[num_starts:]
    lows, highs = points[:num_starts], points[num_starts:]
    smallest, largest = jnp.min(low), jnp.max(high)
    # m inner products of n^2 terms each, which may cancel: their error is relative to the sum of
    # all ||A_k||^2. Forming A*A and its eigenvalues, and the rank of X, cost no more.
    mass = jnp.sqrt(jnp.trace(normal) * values[-1])
    rounding = 4 * (m + n * n) * jnp.finfo(dtype).eps * mass
    found = jnp.maximum(largest - 1, 1 - smallest)
    single = jnp.maximum(high - 1, 1 - low)
    return Isometry(
        lower=jnp.clip(found - rounding, 0, None),
        upper=jnp.maximum(values[-1] - 1, 1 - values[0]) + rounding,
        smallest=smallest,
        largest=largest,
        X_smallest=lows[jnp.argmin(low)],
        X_largest=highs[jnp.argmax(high)],
        spread=found - jnp.min(single),
    )


def _truncate(X: Matrix, rank: int) -> Matrix:
    """The nearest matrix of this rank, normalized."""
    values, vectors = jnp.linalg.eigh(X)
    kept = jnp.argsort(jnp.abs(values))[-rank:]
    columns, sizes = vectors[:, kept], values[kept]
    sizes = sizes / jnp.where(jnp.any(sizes != 0), jnp.linalg.norm(sizes), 1)
    return jnp.dot(columns * sizes[None, :], columns.T, precision=PRECISION)


def _normal_matrix(measurement: AbstractMeasurement) -> Float[Array, "k k"]:
    """A*A on symmetric matrices, in coordinates in which the Frobenius norm is Euclidean."""
    n = measurement.dim
    units = jnp.eye(n * (n + 1) // 2, dtype=measurement.dtype)
    columns = jax.vmap(lambda unit: measurement.apply(_unpack(unit, n)))(units)
    return jnp.dot(columns, columns.T, precision=PRECISION)


def _pack(X: Matrix) -> Float[Array, " k"]:
    rows, cols = jnp.triu_indices(X.shape[0])
    root = jnp.sqrt(jnp.asarray(2, X.dtype))
    return X[rows, cols] * jnp.where(rows == cols, jnp.ones_like(root), root)


def _unpack(z: Float[Array, " k"], n: int) -> Matrix:
    rows, cols = jnp.triu_indices(n)
    root = jnp.sqrt(jnp.asarray(2, z.dtype))
    upper = jnp.zeros((n, n), z.dtype)
    upper = upper.at[rows, cols].set(z / jnp.where(rows == cols, 2 * jnp.ones_like(root), root))
    return upper + upper.T
