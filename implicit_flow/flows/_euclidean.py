"""Plain gradient flow on X, from zero."""

from typing import Any

import diffrax
import jax.numpy as jnp

from .. import _checks
from .._types import Matrix, Residual, Scalar
from ..parametrizations import Identity
from ..problems import Problem
from ._base import AbstractFlow


class EuclideanFlow(AbstractFlow):
    r"""$dX/dt = -A^*(r)$ from $X = 0$, whose limit is the minimum Frobenius norm.

    X never leaves the range of $A^*$, so the state is s in R^m with $X = A^*(s)$ and ds/dt = -r.
    It takes neither alpha nor init.

    Example:
        >>> import implicit_flow as imf
        >>> imf.flows.EuclideanFlow().needs_alpha
        False
    """

    @property
    def parametrization(self) -> Identity:
        """X itself."""
        return Identity()

    @property
    def is_vector(self) -> bool:
        """False."""
        return False

    @property
    def needs_alpha(self) -> bool:
        """False: it starts from zero."""
        return False

    @property
    def is_semidefinite(self) -> bool:
        """False."""
        return False

    @property
    def solver(self) -> diffrax.AbstractSolver:
        """An L-stable method: the spread of A A* makes this flow stiff."""
        return diffrax.Kvaerno5()

    def start(self, problem: Problem, log_alpha: Scalar, init: Any) -> Residual:
        """Zero.

        Raises:
            ValueError: where an init is given.
        """
        if init is not None:
            _checks.refuse("init", "be None for EuclideanFlow, which starts from 0", "is given")
        return jnp.zeros_like(problem.targets)

    def velocity(self, state: Residual, r: Residual, problem: Problem) -> Residual:
        """Minus the residual."""
        return -r

    def unknown(self, state: Residual, problem: Problem) -> Matrix:
        r"""$A^*(s)$."""
        return problem.measurement.adjoint(state)
