"""The flows of vectors written as powers, integrated in logarithms."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .._types import RealLike, Residual, Scalar, Vector
from ..parametrizations import Hadamard, SignedHadamard
from ..problems import Problem
from ._base import AbstractFlow, generator, positive_part_of


# Of the logarithm of an entry, in units of rounding: what the steps leave in it.
_ROUNDINGS = 16


class HadamardFlow(AbstractFlow):
    r"""$x = u^N$, $du_i/dt = -(A^\top r)_i u_i^{N-1}$. The state is log u: no alpha underflows it.

    Attributes:
        depth: N, at least 2.

    Example:
        >>> import implicit_flow as imf
        >>> imf.flows.HadamardFlow().depth
        2
    """

    depth: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        """Refuse a depth below 2."""
        self.parametrization.__check_init__()

    @property
    def parametrization(self) -> Hadamard:
        """X = u^N."""
        return Hadamard(self.depth)

    @property
    def is_vector(self) -> bool:
        """True."""
        return True

    @property
    def ladder(self) -> tuple[float, ...]:
        """Deeper than 2 the gap is O(alpha), and the time grows like alpha^(2/N - 1)."""
        return super().ladder if self.depth == 2 else (-2.0, -4.0, -6.0, -8.0)

    @property
    def solver(self) -> diffrax.AbstractSolver:
        """An L-stable method: at tiny alpha the flow is stiff, and n unknowns are few."""
        return diffrax.Kvaerno5()

    def start(self, problem: Problem, log_alpha: Scalar, init: ArrayLike | None) -> Vector:
        r"""$\log u_0 = \log(\alpha)/N + \log\tilde u$."""
        at_scale_one = self.parametrization.init(
            problem.dim, jnp.zeros_like(log_alpha), init, problem.measurement.dtype
        )
        return jnp.log(at_scale_one) + log_alpha / self.depth

    def velocity(self, state: Vector, r: Residual, problem: Problem) -> Vector:
        r"""$-(A^\top r)\,u^{N-2}$."""
        g = generator(problem, r, vector=True)
        return -g * jnp.exp((self.depth - 2) * state)

    def unknown(self, state: Vector, problem: Problem) -> Vector:
        r"""$u^N$."""
        return jnp.exp(self.depth * state)

    def tolerances(self, rtol: RealLike, log_alpha: Scalar) -> tuple[Any, Any]:
        """An absolute error of log u is a relative one of x."""
        return 0.0, rtol

    def violation(self, state: Vector, r: Residual, problem: Problem) -> Scalar:
        r"""The most negative entry of $A^\top r$, along which a small seed still grows."""
        return positive_part_of(-generator(problem, r, vector=True))


class SignedHadamardFlow(AbstractFlow):
    r"""$x = u^N - v^N$; u as for `HadamardFlow`, v with the opposite sign of the residual.

    Attributes:
        depth: N, at least 2.

    Example:
        >>> import implicit_flow as imf
        >>> imf.flows.SignedHadamardFlow(depth=3).depth
        3

    Reference:
        Woodworth et al. (2020), Kernel and rich regimes in overparametrized models.
    """

    depth: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        """Refuse a depth below 2."""
        self.parametrization.__check_init__()

    @property
    def parametrization(self) -> SignedHadamard:
        """X = u^N - v^N."""
        return SignedHadamard(self.depth)

    @property
    def is_vector(self) -> bool:
        """True."""
        return True

    @property
    def is_semidefinite(self) -> bool:
        """False: the entries of x have signs."""
        return False

    @property
    def ladder(self) -> tuple[float, ...]:
        """Deeper than 2 the gap is O(alpha), and the time grows like alpha^(2/N - 1)."""
        return super().ladder if self.depth == 2 else (-2.0, -4.0, -6.0, -8.0)

    @property
    def solver(self) -> diffrax.AbstractSolver:
        """An L-stable method: at tiny alpha the flow is stiff, and 2n unknowns are few."""
        return diffrax.Kvaerno5()

    def start(
        self, problem: Problem, log_alpha: Scalar, init: ArrayLike | None
    ) -> tuple[Vector, Vector]:
        r"""$\log u_0 = \log v_0 = \log(\alpha)/N + \log\tilde u$."""
        start = HadamardFlow(self.depth).start(problem, log_alpha, init)
        return start, start

    def velocity(
        self, state: tuple[Vector, Vector], r: Residual, problem: Problem
    ) -> tuple[Vector, Vector]:
        r"""$\mp(A^\top r)\,u^{N-2}$."""
        g = generator(problem, r, vector=True)
        power = self.depth - 2
        return -g * jnp.exp(power * state[0]), g * jnp.exp(power * state[1])

    def unknown(self, state: tuple[Vector, Vector], problem: Problem) -> Vector:
        r"""$u^N - v^N$."""
        return jnp.exp(self.depth * state[0]) - jnp.exp(self.depth * state[1])

    def lost(self, state: tuple[Vector, Vector], problem: Problem) -> Scalar:
        r"""What rounding of $u^N$ and $v^N$, which may be much larger than x, is of x."""
        x = self.unknown(state, problem)
        terms = jnp.exp(self.depth * state[0]) + jnp.exp(self.depth * state[1])
        size = jnp.linalg.norm(x)
        rounding = _ROUNDINGS * jnp.finfo(x.dtype).eps * self.depth * jnp.linalg.norm(terms)
        return jax.lax.stop_gradient(rounding / jnp.where(size > 0, size, 1))

    def tolerances(self, rtol: RealLike, log_alpha: Scalar) -> tuple[Any, Any]:
        """An absolute error of log u is a relative one of u^N."""
        return 0.0, rtol
