"""The flow of a symmetric factorization, in the factor and in the product."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._types import PRECISION, Matrix, RealLike, Residual, Scalar
from ..parametrizations import Factor
from ..problems import Problem
from ._base import AbstractFlow, gaussian_seed, negative_part_of, outside_of_cone


class FactorFlow(AbstractFlow):
    r"""$dU/dt = -A^*(r) U$ with $X = U U^\top$: the default.

    Attributes:
        rank: the number of columns of a seeded Gaussian start, or None for the identity. Where it
            is below n, theorems about full rank do not apply.
        seed: of the Gaussian start.

    Example:
        >>> import implicit_flow as imf
        >>> imf.flows.FactorFlow(rank=3).rank
        3

    Reference:
        Gunasekar et al. (2017), Implicit regularization in matrix factorization, eq. (3).
    """

    rank: int | None = eqx.field(static=True, default=None)
    seed: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        """Refuse a rank below 1."""
        self.parametrization.__check_init__()

    @property
    def parametrization(self) -> Factor:
        """X = U U'."""
        return Factor(self.rank, self.seed)

    @property
    def is_vector(self) -> bool:
        """False."""
        return False

    def start(
        self, problem: Problem, log_alpha: Scalar, init: ArrayLike | None
    ) -> Float[Array, "n d"]:
        r"""$\sqrt\alpha\,\tilde U$."""
        return self.parametrization.init(problem.dim, log_alpha, init, problem.measurement.dtype)

    def velocity(
        self, state: Float[Array, "n d"], r: Residual, problem: Problem
    ) -> Float[Array, "n d"]:
        r"""$-A^*(r) U$."""
        return self.parametrization.velocity(state, problem.measurement.adjoint(r))

    def unknown(self, state: Float[Array, "n d"], problem: Problem) -> Matrix:
        r"""$U U^\top$."""
        return self.parametrization.unknown(state)

    def drive(self, t: Scalar, state: Float[Array, "n d"], problem: Problem) -> Residual:
        r"""The residual, measured on the factor: $U U^\top$ is not formed where that is cheaper."""
        prediction = problem.measurement.apply_product(state, state)
        return problem.loss.residual(prediction, problem.targets)

    def log_size_of_start(self, log_alpha: float) -> float:
        """That of alpha, to the power that the state has."""
        return log_alpha / 2

    def tolerances(self, rtol: RealLike, log_alpha: Scalar) -> tuple[Any, Any]:
        """Absolute tolerance in units of the start, sqrt(alpha)."""
        return rtol, jnp.asarray(rtol) * jnp.exp(jax.lax.stop_gradient(log_alpha) / 2)

    def rounding_seed(
        self, start: Float[Array, "n d"], end: Float[Array, "n d"], size: float
    ) -> Float[Array, "n d"]:
        """A Gaussian matrix added to U."""
        return gaussian_seed(start, end, size)

    def violation(self, state: Float[Array, "n d"], r: Residual, problem: Problem) -> Scalar:
        r"""The most negative eigenvalue of $A^*(r)$, along which a small seed still grows."""
        return negative_part_of(problem.measurement.adjoint(r))


class MatrixFlow(AbstractFlow):
    r"""$dX/dt = -(A^*(r) X + X A^*(r))$: the same path of X, integrated in X itself.

    Example:
        >>> import implicit_flow as imf
        >>> imf.flows.MatrixFlow().parametrization is None
        True
    """

    @property
    def parametrization(self) -> None:
        """None: the path has no discrete algorithm of its own."""
        return

    @property
    def is_vector(self) -> bool:
        """False."""
        return False

    def start(self, problem: Problem, log_alpha: Scalar, init: ArrayLike | None) -> Matrix:
        r"""$\alpha\,\tilde U \tilde U^\top$."""
        frame = Factor().frame(problem.dim, init, problem.measurement.dtype)
        return jnp.exp(log_alpha) * jnp.dot(frame, frame.T, precision=PRECISION)

    def velocity(self, state: Matrix, r: Residual, problem: Problem) -> Matrix:
        r"""$-(A^*(r) X + X A^*(r))$."""
        product = jnp.dot(problem.measurement.adjoint(r), state, precision=PRECISION)
        return -(product + product.T)

    def unknown(self, state: Matrix, problem: Problem) -> Matrix:
        """The state."""
        return state

    def log_size_of_start(self, log_alpha: float) -> float:
        """That of alpha, to the power that the state has."""
        return log_alpha

    def tolerances(self, rtol: RealLike, log_alpha: Scalar) -> tuple[Any, Any]:
        """Absolute tolerance in units of the start, alpha."""
        return rtol, jnp.asarray(rtol) * jnp.exp(jax.lax.stop_gradient(log_alpha))

    def rounding_seed(self, start: Matrix, end: Matrix, size: float) -> Matrix:
        """A multiple of the identity added to X, which keeps it positive semidefinite."""
        seed = jax.lax.stop_gradient(size * jnp.max(jnp.abs(end)))
        return start + seed * jnp.eye(start.shape[0], dtype=start.dtype)

    def lost(self, state: Matrix, problem: Problem) -> Scalar:
        """How far X is from positive semidefinite, which it stays."""
        return outside_of_cone(state)

    def violation(self, state: Matrix, r: Residual, problem: Problem) -> Scalar:
        r"""The most negative eigenvalue of $A^*(r)$, along which a small seed still grows."""
        return negative_part_of(problem.measurement.adjoint(r))
