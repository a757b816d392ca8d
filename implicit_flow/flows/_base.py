"""What every flow can do: a parametrization, in time."""

import abc
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .. import _checks
from .._random import normal
from .._types import Matrix, RealLike, Residual, Scalar, Vector
from ..measurements import DiagonalMeasurement
from ..parametrizations import AbstractParametrization
from ..problems import Problem


class AbstractFlow(eqx.Module):
    r"""An ordinary differential equation whose unknown is driven by the residual r.

    The state of a flow is whatever is integrated; `unknown` turns it into X (n, n), or into x (n,)
    where `is_vector`. Time is that of $dU/dt = -A^*(r) U$.
    """

    @property
    @abc.abstractmethod
    def parametrization(self) -> AbstractParametrization | None:
        """What `descend` steps on; None where a discrete algorithm makes no sense."""

    @property
    @abc.abstractmethod
    def is_vector(self) -> bool:
        """Whether the unknown is a vector x (n,), which needs diagonal measurements."""

    @property
    def needs_alpha(self) -> bool:
        """Whether the flow has a scale of initialization. True unless it starts from 0."""
        return True

    @property
    def is_semidefinite(self) -> bool:
        """Whether X stays positive semidefinite, so that its nuclear norm is its trace."""
        return True

    @property
    def ladder(self) -> tuple[float, ...]:
        """Logarithms of alpha to base 10, decreasing, along which `limit` goes to zero."""
        return (-10.0, -30.0, -100.0, -300.0)

    @property
    def solver(self) -> diffrax.AbstractSolver:
        """The stock Diffrax solver that measured best for this flow."""
        return diffrax.Dopri8()

    def solver_for(self, problem: Problem, *, to_rest: bool) -> diffrax.AbstractSolver:
        """The stock Diffrax solver to take on a problem: `solver`, unless its size says otherwise.

        Args:
            problem: to be fitted.
            to_rest: whether the flow is integrated to rest, not to a given time.
        """
        del problem, to_rest
        return self.solver

    @abc.abstractmethod
    def start(self, problem: Problem, log_alpha: Scalar, init: Any) -> Any:
        """The state at time zero.

        Args:
            problem: gives the dimension and the type.
            log_alpha: natural logarithm of the scale of X.
            init: the parameter at scale one, or None for the default of the parametrization.

        Returns:
            The state, a pytree.
        """

    @abc.abstractmethod
    def velocity(self, state: Any, r: Residual, problem: Problem) -> Any:
        """The time derivative of the state while the residual is r."""

    @abc.abstractmethod
    def unknown(self, state: Any, problem: Problem) -> Matrix | Vector:
        """X (n, n), or x (n,) where `is_vector`."""

    def drive(self, t: Scalar, state: Any, problem: Problem) -> Residual:
        """The residual that drives the flow at time t: by default that of the problem."""
        del t
        return residual(problem, self.unknown(state, problem))

    def overlooked(self, dual: Residual, t1: Any, problem: Problem) -> Scalar:
        """What a drive that is given in time may have done between the steps.

        Args:
            dual: minus the integral of the drive, along the steps.
            t1: the final time.
            problem: to fit.

        Returns:
            A bound of what that changes in X, relative: 0 where the state drives the flow.
        """
        del t1, problem
        return jnp.zeros((), dual.dtype)

    def lost(self, state: Any, problem: Problem) -> Scalar:
        """What is lost of X, seen from the state alone; two integrations may lose it alike.

        That is rounding, where X is a difference of large terms, and how far it has left a set that
        the flow never leaves.

        Args:
            state: of the flow.
            problem: to fit.

        Returns:
            A bound of the error of X from it, relative; by default 0.
        """
        del state
        return jnp.zeros((), problem.measurement.dtype)

    def tolerances(self, rtol: RealLike, log_alpha: Scalar) -> tuple[Any, Any]:
        """Relative and absolute tolerance of the state. Absolute ones scale with the start."""
        del log_alpha
        return rtol, rtol

    def log_size_of_start(self, log_alpha: float) -> float:
        """Natural logarithm of the size of the state at time zero, where floats may lose it.

        Args:
            log_alpha: natural logarithm of alpha.

        Returns:
            That of the state; 0 for states, such as logarithms, that no alpha makes small.
        """
        del log_alpha
        return 0.0

    def rounding_seed(self, start: Any, end: Any, size: float) -> Any:
        """The start with a seed of the given relative size, as rounding would plant it.

        Rounding errors of a step are relative to the largest entries of the state. In directions
        that are smaller than that they act like a larger alpha. Integrated again from this start,
        a flow shows how much that matters. By default nothing is added: a flow that is integrated
        in logarithms plants no seeds.

        Args:
            start: the state at time zero.
            end: the state at the end of an integration.
            size: of the seed, relative to the largest entry of `end`.

        Returns:
            The start, with the seed.
        """
        del end, size
        return start

    def violation(self, state: Any, r: Residual, problem: Problem) -> Scalar:
        r"""By how much the first-order condition fails: 0 where no direction still grows.

        By default the condition is $A^*(r) = 0$, that of an unconstrained minimum.

        Args:
            state: of the flow.
            r: the residual there.
            problem: to fit.

        Returns:
            The violation, in the unit of the generator.
        """
        del state
        return jnp.max(jnp.abs(generator(problem, r, vector=self.is_vector)))

    def check(self, problem: Problem, *, t1: Any) -> None:
        """Refuse a problem that this flow cannot run on.

        Args:
            problem: to be run on.
            t1: the final time, or None.

        Raises:
            ValueError: vector flows without diagonal measurements.
        """
        del t1
        if self.is_vector and not isinstance(problem.measurement, DiagonalMeasurement):
            _checks.refuse(
                "problem",
                f"have a DiagonalMeasurement for {type(self).__name__}, whose unknown is a vector",
                f"has a {type(problem.measurement).__name__}",
            )


def predict(problem: Problem, unknown: Matrix | Vector) -> Residual:
    """The measurement of X (n, n), or of diag(x) for x (n,)."""
    if unknown.ndim == 1:
        assert isinstance(problem.measurement, DiagonalMeasurement)  # seen to by `check`
        return problem.measurement.apply_vector(unknown)
    return problem.measurement.apply((unknown + unknown.T) / 2)


def residual(problem: Problem, unknown: Matrix | Vector) -> Residual:
    """The residual at X (n, n), or at diag(x) for x (n,)."""
    return problem.loss.residual(predict(problem, unknown), problem.targets)


def generator(problem: Problem, r: Residual, *, vector: bool) -> Matrix | Vector:
    r"""$A^*(r)$, or its diagonal where the unknown is a vector."""
    if vector:
        assert isinstance(problem.measurement, DiagonalMeasurement)  # seen to by `check`
        return problem.measurement.adjoint_vector(r)
    return problem.measurement.adjoint(r)


def positive_part_of(value: Array) -> Scalar:
    """The largest entry if it is positive, else 0."""
    return jnp.maximum(jnp.max(value), 0)


def negative_part_of(matrix: Matrix) -> Scalar:
    """Minus the lowest eigenvalue of the symmetric part if that is negative, else 0."""
    return positive_part_of(-jnp.linalg.eigvalsh((matrix + matrix.T) / 2))


def outside_of_cone(X: Matrix) -> Scalar:
    """How far a matrix that has to be positive semidefinite is not, relative to its size."""
    X = jax.lax.stop_gradient(X)
    size = jnp.linalg.norm(X)
    return negative_part_of(X) / jnp.where(size > 0, size, 1)


def gaussian_seed(start: Array, end: Array, size: float) -> Array:
    """A fixed Gaussian matrix added to the start, `size` times the largest entry of the end."""
    noise = normal(jax.random.key(0), start.shape, start.dtype)
    return start + jax.lax.stop_gradient(size * jnp.max(jnp.abs(end)) * noise)
