"""Orthogonal matching pursuit: sparse vectors, one coordinate at a time."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .. import _checks
from .._compiled import compiled
from .._types import PRECISION, Scalar, Vector
from ..measurements import DiagonalMeasurement
from ..problems import Problem


class Pursuit(eqx.Module):
    """A sparse vector that a pursuit came to.

    Attributes:
        x: shape (n,).
        support: the coordinates in the order in which they were chosen, shape (k,).
        misfit: ||B x - y|| / ||y||; absolute where y = 0.
    """

    x: Vector
    support: Int[Array, " k"]
    misfit: Scalar


def orthogonal_matching_pursuit(problem: Problem, sparsity: int) -> Pursuit:
    r"""Least squares on a support that grows by the column that the residual is most aligned with.

    In each of k steps the coordinate j of largest $|\langle B_j, y - Bx\rangle| / \|B_j\|$ joins
    the support, and x becomes the least-squares solution on it. With columns of norm 1 and mutual
    coherence $\mu = \max_{i\ne j}|\langle B_i, B_j\rangle| < 1/(2k - 1)$ every k-sparse x is found.

    Works under `jit` and `vmap`. The loss does not enter.

    Args:
        problem: with a `DiagonalMeasurement` of matrix B.
        sparsity: k, the number of coordinates to choose, at most min(m, n).

    Returns:
        x, its support in the order of choice, and its misfit.

    Raises:
        ValueError: another kind of measurement, or a sparsity that is no integer from 1 to
            min(m, n).

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> B = jnp.array([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
        >>> problem = imf.Problem(imf.measurements.DiagonalMeasurement(B), jnp.array([3.0, 4.0]))
        >>> imf.recovery.orthogonal_matching_pursuit(problem, 1).x.round(9).tolist()
        [0.0, 0.0, 5.0]

    Reference:
        Tropp (2004), Greed is good: algorithmic results for sparse approximation, Theorem 3.1.
    """
    _checks.instance(problem, "problem", Problem, "Make one with `Problem(measurement, targets)`.")
    measurement = problem.measurement
    _checks.instance(
        measurement,
        "problem.measurement",
        DiagonalMeasurement,
        "Sparse vectors need a diagonal measurement.",
    )
    assert isinstance(measurement, DiagonalMeasurement)
    _checks.at_least(sparsity, "sparsity", 1)
    m, n = measurement.matrix.shape
    if sparsity > min(m, n):
        _checks.refuse("sparsity", f"be at most min(m, n) = {min(m, n)}", f"is {sparsity}")
    return _found(problem, sparsity)


@compiled
def _found(problem: Problem, sparsity: int) -> Pursuit:
    measurement = problem.measurement
    assert isinstance(measurement, DiagonalMeasurement)
    support, coefficients = _pursue(measurement.matrix, problem.targets, sparsity)
    x = jnp.zeros(problem.dim, measurement.dtype).at[support].set(coefficients)
    missing = measurement.apply_vector(x) - problem.targets
    return Pursuit(x, support, jnp.linalg.norm(missing) / problem.scale)


def _pursue(
    B: Float[Array, "m n"], y: Float[Array, " m"], sparsity: int
) -> tuple[Int[Array, " k"], Float[Array, " k"]]:
    """The support, and the least-squares coefficients on it."""
    lengths = jnp.linalg.norm(B, axis=0)
    unit = B / jnp.where(lengths > 0, lengths, 1)[None, :]

    def choose(k: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        frame, residual, support, chosen = state
        score = jnp.abs(jnp.dot(residual, unit, precision=PRECISION))
        best = jnp.argmax(jnp.where(chosen, -1, score))
        # Orthogonal to the columns so far; twice, for the digits that the first time loses.
        column = unit[:, best]
        for _ in range(2):
            inside = jnp.dot(column, frame, precision=PRECISION)
            column = column - jnp.dot(frame, inside, precision=PRECISION)
        length = jnp.linalg.norm(column)
        fresh = length > 10 * jnp.finfo(B.dtype).eps
        column = jnp.where(fresh, column / jnp.where(fresh, length, 1), 0)
        residual = residual - column * jnp.dot(column, residual, precision=PRECISION)
        frame, support = frame.at[:, k].set(column), support.at[k].set(best)
        return frame, residual, support, chosen.at[best].set(True)

    frame, chosen = jnp.zeros((B.shape[0], sparsity), B.dtype), jnp.zeros(B.shape[1], bool)
    start = frame, y, jnp.zeros(sparsity, int), chosen
    support = jax.lax.fori_loop(0, sparsity, choose, start)[2]
    return support, jnp.linalg.lstsq(B[:, support], y)[0]
