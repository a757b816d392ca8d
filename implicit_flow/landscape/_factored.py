"""Objectives of a factor U with X = UU': sensing, completion, principal components, phases."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _checks
from .._types import PRECISION, Matrix, Scalar
from ..measurements import RankOneMeasurement
from ..problems import Problem
from ._base import AbstractObjective, rotations


class Sensing(AbstractObjective):
    r"""$f(U) = \tfrac14\|A(UU^\top) - y\|^2$, whose gradient flow is the factor flow.

    Example:
        >>> import jax, jax.numpy as jnp, implicit_flow as imf
        >>> problem = imf.problems.gaussian_sensing(3, 1, 6, key=jax.random.key(0))
        >>> f = imf.landscape.Sensing(problem, rank=1)
        >>> bool(jnp.isclose(f(jnp.zeros((3, 1))), jnp.sum(problem.targets**2) / 4))
        True
    """

    problem: Problem
    rank: int = eqx.field(static=True)

    def __init__(self, problem: Problem, rank: int):
        """Check and store the parts.

        Args:
            problem: measurement and targets; its loss does not enter.
            rank: the number of columns of U.

        Raises:
            ValueError: not a problem, or a rank below 1.
        """
        _checks.instance(problem, "problem", Problem)
        _checks.at_least(rank, "rank", 1)
        self.problem, self.rank = problem, rank

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, r)."""
        return (self.problem.dim, self.rank)

    @property
    def dtype(self) -> jnp.dtype:
        """That of the measurement."""
        return self.problem.measurement.dtype

    def __call__(self, point: Float[Array, "n r"]) -> Scalar:
        """The value at U, shape (n, r)."""
        rest = self.problem.measurement.apply_product(point, point) - self.problem.targets
        return 0.25 * jnp.sum(rest**2)

    def orbit(self, point: Float[Array, "n r"]) -> Float[Array, "k size"]:
        """Rotations of the columns of U."""
        return rotations(point)

    def image(self, point: Float[Array, "n r"]) -> Matrix:
        """UU'."""
        return jnp.dot(point, point.T, precision=PRECISION)


class Completion(AbstractObjective):
    r"""$\tfrac14\|A(UU^\top) - y\|^2 + \lambda\sum_i(\|U_i\| - a)_+^4$, with rows $U_i$ of U.

    Without the second term points may be critical, or the infimum may be at infinity, because some
    rows are much longer than those of the planted factor: the regularizer bounds them, and is zero
    there.

    Example:
        >>> import jax, jax.numpy as jnp, implicit_flow as imf
        >>> problem = imf.problems.matrix_completion(3, 1, 5, key=jax.random.key(0))
        >>> f = imf.landscape.Completion(problem, rank=1, row_bound=1.0)
        >>> g = imf.landscape.Sensing(problem, rank=1)
        >>> U = jnp.array([[3.0], [0.0], [0.0]])
        >>> bool(jnp.isclose(f(U) - g(U), 16.0))
        True

    Reference:
        Ge, Lee and Ma (2016), Matrix completion has no spurious local minimum.
    """

    problem: Problem
    rank: int = eqx.field(static=True)
    row_bound: Scalar
    weight: Scalar

    def __init__(
        self, problem: Problem, rank: int, *, row_bound: ArrayLike, weight: ArrayLike = 1.0
    ):
        """Check and store the parts.

        Args:
            problem: measurement and targets; its loss does not enter.
            rank: the number of columns of U.
            row_bound: a, positive.
            weight: lambda, positive.

        Raises:
            ValueError: not a problem, a rank below 1, or a bound or weight that is not positive.
        """
        _checks.instance(problem, "problem", Problem)
        _checks.at_least(rank, "rank", 1)
        dtype = problem.measurement.dtype
        row_bound = _checks.array(row_bound, "row_bound", dtype)
        weight = _checks.array(weight, "weight", dtype)
        _checks.positive(row_bound, "row_bound")
        _checks.positive(weight, "weight", "For none, use `landscape.Sensing`.")
        self.problem, self.rank, self.row_bound, self.weight = problem, rank, row_bound, weight

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, r)."""
        return (self.problem.dim, self.rank)

    @property
    def dtype(self) -> jnp.dtype:
        """That of the measurement."""
        return self.problem.measurement.dtype

    def __call__(self, point: Float[Array, "n r"]) -> Scalar:
        """The value at U, shape (n, r)."""
        rest = self.problem.measurement.apply_product(point, point) - self.problem.targets
        squares = jnp.sum(point**2, axis=1)
        long = squares > self.row_bound**2
        # The root has no derivative at a row of zeros, where the term is zero anyway.
        beyond = jnp.sqrt(jnp.where(long, squares, self.row_bound**2)) - self.row_bound
        return 0.25 * jnp.sum(rest**2) + self.weight * jnp.sum(beyond**4)

    def orbit(self, point: Float[Array, "n r"]) -> Float[Array, "k size"]:
        """Rotations of the columns of U, which keep the norms of its rows."""
        return rotations(point)

    def image(self, point: Float[Array, "n r"]) -> Matrix:
        """UU'."""
        return jnp.dot(point, point.T, precision=PRECISION)


class PrincipalComponents(AbstractObjective):
    r"""$f(U) = \tfrac14\|UU^\top - M\|_F^2$: sensing with everything observed.

    Its critical points are known: $UU^\top = \sum_{i\in S}\lambda_iv_iv_i^\top$ for any set S of at
    most r eigenvectors with positive eigenvalues. Those with the r largest are the minima, all
    others strict saddles.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> f = imf.landscape.PrincipalComponents(jnp.diag(jnp.array([4.0, 1.0])), rank=1)
        >>> float(f(jnp.array([[2.0], [0.0]])))
        0.25

    Reference:
        Baldi and Hornik (1989), Neural networks and principal component analysis.
    """

    matrix: Matrix
    rank: int = eqx.field(static=True)

    def __init__(self, matrix: _checks.RealArrayLike, rank: int):
        """Check and store the parts.

        Args:
            matrix: M, symmetric, shape (n, n).
            rank: the number of columns of U.

        Raises:
            ValueError: not a finite square matrix, or a rank below 1.
        """
        matrix = _checks.array(matrix, "matrix")
        _checks.shape(matrix, "matrix", ("n", "n"))
        _checks.finite(matrix, "matrix")
        _checks.at_least(rank, "rank", 1)
        self.matrix, self.rank = (matrix + matrix.T) / 2, rank

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, r)."""
        return (self.matrix.shape[0], self.rank)

    @property
    def dtype(self) -> jnp.dtype:
        """That of the matrix."""
        return self.matrix.dtype

    def __call__(self, point: Float[Array, "n r"]) -> Scalar:
        """The value at U, shape (n, r)."""
        return 0.25 * jnp.sum((self.image(point) - self.matrix) ** 2)

    def orbit(self, point: Float[Array, "n r"]) -> Float[Array, "k size"]:
        """Rotations of the columns of U."""
        return rotations(point)

    def image(self, point: Float[Array, "n r"]) -> Matrix:
        """UU'."""
        return jnp.dot(point, point.T, precision=PRECISION)


class PhaseRetrieval(AbstractObjective):
    r"""$f(z) = \tfrac1{2m}\sum_k(y_k^2 - (a_k^\top z)^2)^2$; the problem's targets are $y_k^2$.

    Example:
        >>> import jax, jax.numpy as jnp, implicit_flow as imf
        >>> problem = imf.problems.phase_retrieval(3, 8, key=jax.random.key(0))
        >>> f = imf.landscape.PhaseRetrieval(problem)
        >>> bool(jnp.isclose(f(jnp.zeros(3)), jnp.mean(problem.targets**2) / 2))
        True

    Reference:
        Sun, Qu and Wright (2018), A geometric analysis of phase retrieval.
    """

    problem: Problem

    def __init__(self, problem: Problem):
        """Check and store the problem.

        Args:
            problem: with rank-one measurements; its loss does not enter.

        Raises:
            ValueError: another kind of measurement.
        """
        _checks.instance(problem, "problem", Problem)
        _checks.instance(problem.measurement, "problem.measurement", RankOneMeasurement)
        self.problem = problem

    @property
    def shape(self) -> tuple[int, ...]:
        """(n,)."""
        return (self.problem.dim,)

    @property
    def dtype(self) -> jnp.dtype:
        """That of the measurement."""
        return self.problem.measurement.dtype

    def __call__(self, point: Float[Array, " n"]) -> Scalar:
        """The value at z, shape (n,)."""
        column = point[:, None]
        seen = self.problem.measurement.apply_product(column, column)
        return jnp.mean((self.problem.targets - seen) ** 2) / 2

    def image(self, point: Float[Array, " n"]) -> Matrix:
        """zz', the same for z and -z."""
        return point[:, None] * point[None, :]
