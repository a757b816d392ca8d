"""What every parametrization can do."""

import abc
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from .. import _checks
from .._types import Matrix, Scalar, Vector


class AbstractParametrization(eqx.Module):
    r"""A map theta -> X, and the direction in which a generator moves theta. It knows no time.

    The generator is $A^*(r)$: a matrix (n, n), or for vector parametrizations its diagonal (n,).
    """

    @abc.abstractmethod
    def init(
        self, dim: int, log_alpha: Scalar, init: Any, dtype: np.dtype
    ) -> PyTree[Float[Array, "..."]]:
        """The start: theta at scale alpha.

        Args:
            dim: n.
            log_alpha: natural logarithm of alpha, the scale of X.
            init: theta at scale one, in the form that the subclass documents, or None.
            dtype: of theta.

        Returns:
            theta.

        Raises:
            ValueError: an init of the wrong shape, not finite, or with a part that is zero.
        """

    @abc.abstractmethod
    def unknown(self, theta: Any) -> Matrix | Vector:
        """X (n, n), or x (n,) for vector parametrizations."""

    @abc.abstractmethod
    def velocity(self, theta: Any, generator: Matrix | Vector) -> Any:
        r"""$d\theta/dt$ where the generator is $A^*(r)$; minus the gradient that `descend` uses."""

    def underflows(self, theta: Any) -> bool:
        """Whether a part of the start is zero throughout, from which no step leads away.

        Args:
            theta: the start, from a positive alpha.

        Returns:
            True if so. False where it is traced.
        """
        leaves = (_checks.concrete(leaf) for leaf in jax.tree.leaves(theta))
        return any(leaf is not None and not np.any(leaf) for leaf in leaves)
