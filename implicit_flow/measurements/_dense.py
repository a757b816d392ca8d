"""Measurement matrices given one by one."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _checks
from .._types import PRECISION, Matrix, Residual, Stack
from ._base import AbstractMeasurement


class DenseMeasurement(AbstractMeasurement):
    r"""$A(X)_k = \langle A_k, X\rangle$ with the $A_k$ stored as one stack.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DenseMeasurement(jnp.array([[[2.0, 0.0], [0.0, 1.0]]]))
        >>> A.apply(jnp.eye(2)).tolist()
        [3.0]
    """

    stack: Stack

    def __init__(self, stack: _checks.RealArrayLike):
        """Check and store the stack.

        Args:
            stack: the symmetric matrices, shape (m, n, n). Asymmetry at the level of rounding is
                averaged away; anything larger is refused.

        Raises:
            ValueError: wrong shape, m = 0, not finite, or not symmetric.
        """
        given = stack
        stack = _checks.array(given, "stack")
        _checks.shape(stack, "stack", ("m", "n", "n"))
        _checks.nonempty(stack, "stack", ("m", "n", "n"))
        _checks.finite(stack, "stack")
        _symmetric(stack)
        # JAX compiles three programs for each shape, NumPy none; an array of JAX stays where it is.
        known = None if isinstance(given, Array) else _checks.concrete(stack)
        both = stack if known is None else known
        # Halved first: the sum of two large numbers overflows.
        self.stack = jnp.asarray(both / 2 + both.swapaxes(1, 2) / 2)

    @property
    def dim(self) -> int:
        """The number of rows of X."""
        return self.stack.shape[1]

    @property
    def num_measurements(self) -> int:
        """The number of measurement matrices."""
        return self.stack.shape[0]

    @property
    def dtype(self) -> jnp.dtype:
        """That of the stack."""
        return self.stack.dtype

    @property
    def _rows(self) -> Float[Array, "m n_squared"]:
        return self.stack.reshape(self.num_measurements, -1)

    def apply(self, X: Matrix) -> Residual:
        r"""$A(X)$, for symmetric X."""
        _checks.shape(X, "X", (self.dim, self.dim))
        return jnp.dot(self._rows, X.reshape(-1), precision=PRECISION)

    def adjoint(self, r: Residual) -> Matrix:
        r"""$\sum_k r_k A_k$."""
        _checks.shape(r, "r", (self.num_measurements,))
        return jnp.dot(r, self._rows, precision=PRECISION).reshape(self.dim, self.dim)

    def gram(self, W: Float[Array, "n d"], V: Float[Array, "n d"]) -> Float[Array, "m m"]:
        r"""The matrix $\langle A_i W, A_j V\rangle$."""
        left = jnp.einsum("kij,jd->kid", self.stack, W, precision=PRECISION)
        right = left if W is V else jnp.einsum("kij,jd->kid", self.stack, V, precision=PRECISION)
        m = self.num_measurements
        return jnp.dot(left.reshape(m, -1), right.reshape(m, -1).T, precision=PRECISION)

    def as_stack(self) -> Stack:
        """The stack as stored."""
        return self.stack


def _symmetric(stack: Stack) -> None:
    known = _checks.concrete(stack)
    if known is None:
        return
    with np.errstate(over="ignore"):
        asymmetry = np.max(np.abs(known - np.swapaxes(known, 1, 2)), axis=(1, 2))
    # Room for the rounding of a sum that was taken in another order, as in B @ B.T.
    allowed = 64 * float(jnp.finfo(stack.dtype).eps) * np.max(np.abs(known), axis=(1, 2))
    if np.any(asymmetry > allowed):
        first = int(np.argmax(asymmetry > allowed))
        _checks.refuse(
            "stack",
            "hold symmetric matrices",
            f"stack[{first}] differs from its transpose by {asymmetry[first]:.3g}",
            "For symmetric X the measurement is that of (stack + stack^T) / 2: pass that.",
        )
