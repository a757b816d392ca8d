"""What every measurement can do."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import PRECISION, Matrix, Residual, Stack


class AbstractMeasurement(eqx.Module):
    r"""A linear map $A(X)_k = \langle A_k, X\rangle$ with symmetric $A_k$.

    A subclass has the properties `dim`, `num_measurements` and `dtype`, and the methods `apply`
    and `adjoint`. The other methods follow from these; a subclass with structure writes them again
    where the structure makes them cheaper. None of them forms the stack unless it says so.
    """

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """The number of rows of X: the measurement matrices have shape (n, n)."""

    @property
    @abc.abstractmethod
    def num_measurements(self) -> int:
        """The number of measurement matrices: the targets have shape (m,)."""

    @property
    @abc.abstractmethod
    def dtype(self) -> jnp.dtype:
        """The floating-point type in which this measurement works."""

    @abc.abstractmethod
    def apply(self, X: Matrix) -> Residual:
        r"""$A(X)$, with $A(X)_k = \langle A_k, X\rangle$.

        Args:
            X: symmetric, shape (n, n).

        Returns:
            The predictions, shape (m,).
        """

    @abc.abstractmethod
    def adjoint(self, r: Residual) -> Matrix:
        r"""$A^*(r) = \sum_k r_k A_k$.

        Args:
            r: shape (m,).

        Returns:
            A symmetric matrix, shape (n, n).
        """

    def apply_product(self, U: Float[Array, "n d"], V: Float[Array, "n d"]) -> Residual:
        r"""$\langle A_k, U V^\top\rangle$, without forming $U V^\top$ where possible.

        Args:
            U: shape (n, d).
            V: shape (n, d); the same object as U for $A(U U^\top)$, which is cheaper.

        Returns:
            The predictions at the symmetric part of $U V^\top$, shape (m,).
        """
        product = jnp.dot(U, V.T, precision=PRECISION)
        return self.apply((product + product.T) / 2)

    def adjoint_times(self, r: Residual, V: Float[Array, "n d"]) -> Float[Array, "n d"]:
        r"""$A^*(r) V$, without forming $A^*(r)$ where possible.

        Args:
            r: shape (m,).
            V: shape (n, d).

        Returns:
            The product, shape (n, d).
        """
        return jnp.dot(self.adjoint(r), V, precision=PRECISION)

    def gram(self, W: Float[Array, "n d"], V: Float[Array, "n d"]) -> Float[Array, "m m"]:
        r"""The matrix $\langle A_i W, A_j V\rangle$; for $W = V = I$ this is $A A^*$.

        Args:
            W: shape (n, d).
            V: shape (n, d); the same object as W where they are equal, which is cheaper.

        Returns:
            The matrix, shape (m, m), with i in rows.
        """
        # One column at a time: all at once would hold as many numbers as the stack.
        identity = jnp.eye(self.num_measurements, dtype=self.dtype)
        rows = jax.lax.map(lambda e: self.apply_product(W, self.adjoint_times(e, V)), identity)
        return rows.T

    def as_stack(self) -> Stack:
        """The measurement matrices themselves, shape (m, n, n). Formed only here."""
        return jax.vmap(self.adjoint)(jnp.eye(self.num_measurements, dtype=self.dtype))
