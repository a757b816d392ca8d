"""What every potential can do."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from ... import _checks
from ..._types import RealLike, Scalar, Vector


class AbstractPotential(eqx.Module):
    r"""A strictly convex function psi of vectors, with its gradient and the inverse of that.

    The dual point of x is $\theta = \nabla\psi(x)$, and $x = \nabla\psi^*(\theta)$. A potential
    either has its minimum at x = 0, and then a mirror flow starts there, or it is one of positive
    vectors with no minimum at a positive x, and then the flow starts at a scale alpha.
    """

    @property
    def needs_alpha(self) -> bool:
        """Whether a flow starts at a scale alpha. False unless x must be positive."""
        return False

    @property
    def is_nonnegative(self) -> bool:
        """Whether x stays nonnegative."""
        return False

    @abc.abstractmethod
    def value(self, x: Vector) -> Scalar:
        """The potential psi.

        Args:
            x: shape (n,).

        Returns:
            psi(x), a scalar.
        """

    @abc.abstractmethod
    def dual(self, x: Vector) -> Vector:
        r"""The dual point $\theta = \nabla\psi(x)$.

        Args:
            x: shape (n,).

        Returns:
            theta, shape (n,).
        """

    @abc.abstractmethod
    def primal(self, theta: Vector) -> Vector:
        r"""The point with a given dual, $x = \nabla\psi^*(\theta)$: the inverse of `dual`.

        Args:
            theta: shape (n,).

        Returns:
            x, shape (n,).
        """

    @abc.abstractmethod
    def unit(self, size: Scalar) -> Scalar:
        """How large an error of theta may be for the error of x to be relative to its size.

        Args:
            size: of x, a positive scalar.

        Returns:
            The unit in which theta is integrated, positive, at most of the order of theta itself.
        """

    def tolerances(self, rtol: RealLike) -> tuple[Any, Any]:
        """Relative and absolute tolerance of theta, in its unit, for an error `rtol` of x.

        Args:
            rtol: relative error of x.

        Returns:
            The two tolerances.
        """
        return rtol, rtol

    def start(self, init: ArrayLike | None, log_alpha: Scalar, dim: int, dtype: np.dtype) -> Vector:
        r"""The dual of the start.

        Args:
            init: x0 itself, shape (n,), or None for 0. Where `needs_alpha` it is x~ instead,
                positive, ones if None, and x0 = alpha x~.
            log_alpha: natural logarithm of alpha, where `needs_alpha`.
            dim: n.
            dtype: of the result.

        Returns:
            theta_0, shape (n,).

        Raises:
            ValueError: an init of the wrong shape, or not finite.
        """
        del log_alpha
        if init is None:
            return jnp.zeros(dim, dtype)
        x = _checks.array(init, "init", dtype)
        _checks.shape(x, "init", (dim,))
        _checks.finite(x, "init")
        return self.dual(x)

    def divergence(self, x: Vector, start: Vector) -> Scalar:
        r"""$D_\psi(x, x_0) = \psi(x) - \psi(x_0) - \langle\nabla\psi(x_0), x - x_0\rangle$.

        Args:
            x: shape (n,).
            start: x0, shape (n,).

        Returns:
            The Bregman divergence, a scalar: at least 0, and 0 only at x = x0.
        """
        return self.value(x) - self.value(start) - jnp.sum(self.dual(start) * (x - start))
