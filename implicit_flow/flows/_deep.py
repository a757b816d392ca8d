"""The flow of a product of N matrices."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._types import PRECISION, Matrix, RealLike, Residual, Scalar
from ..parametrizations import Deep
from ..problems import Problem
from ._base import AbstractFlow, gaussian_seed, negative_part_of, outside_of_cone


# Of a method with a dense Jacobian. Measured on sensing, alpha = 1e-2: with up to 200 unknowns
# Kvaerno5 is at rest after 240 to 540 steps and 0.5 to 11 s, and Dopri8 is not after 100,000 and 12
# to 40 s; with 512 Kvaerno5 was not after 280 s either.
_FEW_UNKNOWNS = 200
# Up to this, relative, factors from a general start count as balanced, and X as symmetric.
_BALANCED = 1e-5

# All factors, or the first half of them: with W_{N+1-j} = W_j^T they determine the others.
Factors = Float[Array, "N n n"] | tuple[Float[Array, "n n"], ...]


class DeepFlow(AbstractFlow):
    r"""$X = W_N \cdots W_1$, $dW_j/dt = -(\partial X/\partial W_j)^* A^*(r)$.

    From identities at scale alpha^(1/N) the factors stay balanced:
    $W_{j+1}^\top W_{j+1} = W_j W_j^\top$, and mirror images of each other: $W_{N+1-j} = W_j^\top$,
    so that X stays symmetric. Rounding plants what is not, and it grows; so half of the factors are
    integrated there, and the others are their transposes.

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
        few = (self.depth + 1) // 2 * problem.dim**2 <= _FEW_UNKNOWNS
        return diffrax.Kvaerno5() if to_rest and few else self.solver

    def start(self, problem: Problem, log_alpha: Scalar, init: ArrayLike | None) -> Factors:
        r"""$\alpha^{1/N}\tilde W_j$, or the half of them that a symmetric start needs."""
        dtype = problem.measurement.dtype
        factors = self.parametrization.init(problem.dim, log_alpha, init, dtype)
        return factors if init is not None else tuple(factors[: (self.depth + 1) // 2])

    def velocity(self, state: Factors, r: Residual, problem: Problem) -> Factors:
        """Minus the gradient in each factor."""
        factors = self._factors(state)
        velocity = self.parametrization.velocity(factors, problem.measurement.adjoint(r))
        return tuple(velocity[: len(state)]) if isinstance(state, tuple) else velocity

    def unknown(self, state: Factors, problem: Problem) -> Matrix:
        """The product of the factors."""
        return self.parametrization.unknown(self._factors(state))

    def _factors(self, state: Factors) -> Float[Array, "N n n"]:
        r"""All factors: from a symmetric start $W_{N+1-j} = W_j^\top$ for ever."""
        if not isinstance(state, tuple):
            return state
        halves = list(state[: self.depth // 2])
        middle = [(W + W.T) / 2 for W in state[self.depth // 2 :]]
        return jnp.stack([*halves, *middle, *(W.T for W in reversed(halves))])

    def log_size_of_start(self, log_alpha: float) -> float:
        """That of alpha, to the power that the state has."""
        return log_alpha / self.depth

    def tolerances(self, rtol: RealLike, log_alpha: Scalar) -> tuple[Any, Any]:
        """Absolute tolerance in units of the start, alpha^(1/N)."""
        return rtol, jnp.asarray(rtol) * jnp.exp(jax.lax.stop_gradient(log_alpha) / self.depth)

    def lost(self, state: Factors, problem: Problem) -> Scalar:
        """How far X is from positive semidefinite, which it stays from identities."""
        if self.depth == 1 or not isinstance(state, tuple):
            return super().lost(state, problem)
        return outside_of_cone(self.unknown(state, problem))

    def violation(self, state: Factors, r: Residual, problem: Problem) -> Scalar:
        r"""The largest entry of $A^*(r)$; its most negative eigenvalue where X stays PSD.

        It does where it is and the factors are balanced, so that it never becomes singular.
        """
        if self.depth == 1:
            return super().violation(state, r, problem)
        generator = problem.measurement.adjoint(r)
        confined = negative_part_of(generator)
        if isinstance(state, tuple):
            return confined
        X = self.unknown(state, problem)
        size = jnp.max(jnp.sum(state**2, axis=(1, 2)))
        grams = jnp.einsum("kji,kjl->kil", state[1:], state[1:], precision=PRECISION)
        mirrored = jnp.einsum("kij,klj->kil", state[:-1], state[:-1], precision=PRECISION)
        balanced = jnp.max(jnp.abs(grams - mirrored)) <= _BALANCED * size
        stays = balanced & (jnp.linalg.norm(X - X.T) <= _BALANCED * jnp.linalg.norm(X))
        stays = stays & (outside_of_cone(X) <= _BALANCED)
        return jnp.where(stays, confined, jnp.max(jnp.abs(generator)))

    def rounding_seed(self, start: Factors, end: Factors, size: float) -> Factors:
        """A Gaussian matrix added to each factor."""
        return jax.tree.map(lambda first, last: gaussian_seed(first, last, size), start, end)
