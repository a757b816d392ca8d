"""The flow of a product of N matrices."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._types import Matrix, RealLike, Residual, Scalar
from ..parametrizations import Deep
from ..problems import Problem
from ._base import AbstractFlow, gaussian_seed


# Of a method with a dense Jacobian. Measured on sensing, alpha = 1e-2, two and three factors: up to
# N n^2 = 200 (n = 10, m = 36) Kvaerno5 comes to rest in 240 to 350 steps and 0.5 to 11 s, where
# Dopri8 has not after 100,000 and 12 to 21 s; with 512 (n = 16) it had not after 280 s either.
_FEW_UNKNOWNS = 200


class DeepFlow(AbstractFlow):
    r"""$X = W_N \cdots W_1$, $dW_j/dt = -(\partial X/\partial W_j)^* A^*(r)$.

    From identities at scale alpha^(1/N) the factors stay balanced:
    $W_{j+1}^\top W_{j+1} = W_j W_j^\top$.

    Attributes:
        depth: N, at least 1.

    Example:
        >>> import implicit_flow as imf
        >>> imf.flows.DeepFlow(3).depth
        3

    Reference:
        Arora et al. (2019), Implicit regularization in deep matrix factorization.
    """

    depth: int = eqx.field(static=True)

    def __check_init__(self):
        """Refuse a depth below 1."""
        self.parametrization.__check_init__()

    @property
    def parametrization(self) -> Deep:
        """X = W_N ... W_1."""
        return Deep(self.depth)

    @property
    def is_vector(self) -> bool:
        """False."""
        return False

    @property
    def is_semidefinite(self) -> bool:
        """False: nothing keeps X symmetric from a general start."""
        return False

    @property
    def ladder(self) -> tuple[float, ...]:
        """As far as an explicit solver walks in reasonable time."""
        return (-2.0, -4.0, -6.0, -8.0)

    def solver_for(self, problem: Problem, *, to_rest: bool) -> diffrax.AbstractSolver:
        """An L-stable method on the way to rest, where the unknowns are few enough for one."""
        few = self.depth * problem.dim**2 <= _FEW_UNKNOWNS
        return diffrax.Kvaerno5() if to_rest and few else self.solver

    def start(
        self, problem: Problem, log_alpha: Scalar, init: ArrayLike | None
    ) -> Float[Array, "N n n"]:
        r"""$\alpha^{1/N}\tilde W_j$."""
        return self.parametrization.init(problem.dim, log_alpha, init, problem.measurement.dtype)

    def velocity(
        self, state: Float[Array, "N n n"], r: Residual, problem: Problem
    ) -> Float[Array, "N n n"]:
        """Minus the gradient in each factor."""
        return self.parametrization.velocity(state, problem.measurement.adjoint(r))

    def unknown(self, state: Float[Array, "N n n"], problem: Problem) -> Matrix:
        """The product of the factors."""
        return self.parametrization.unknown(state)

    def log_size_of_start(self, log_alpha: float) -> float:
        """That of alpha, to the power that the state has."""
        return log_alpha / self.depth

    def tolerances(self, rtol: RealLike, log_alpha: Scalar) -> tuple[Any, Any]:
        """Absolute tolerance in units of the start, alpha^(1/N)."""
        return rtol, jnp.asarray(rtol) * jnp.exp(jax.lax.stop_gradient(log_alpha) / self.depth)

    def rounding_seed(
        self, start: Float[Array, "N n n"], end: Float[Array, "N n n"], size: float
    ) -> Float[Array, "N n n"]:
        """A Gaussian matrix added to each factor."""
        return gaussian_seed(start, end, size)
