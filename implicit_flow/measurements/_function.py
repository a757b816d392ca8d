"""A user's own linear map."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks
from .._types import Matrix, Residual
from ._base import AbstractMeasurement


class FunctionMeasurement(AbstractMeasurement):
    """A linear map given as a function; its adjoint is its transpose. Made by `from_function`.

    Attributes:
        function: of a symmetric X, shape (n, n); gives shape (m,).
    """

    function: Callable[[Matrix], Residual]
    dim_: int = eqx.field(static=True)
    num_measurements_: int = eqx.field(static=True)
    dtype_: np.dtype = eqx.field(static=True)

    @property
    def dim(self) -> int:
        """The number of rows of X."""
        return self.dim_

    @property
    def num_measurements(self) -> int:
        """The number of values that the function returns."""
        return self.num_measurements_

    @property
    def dtype(self) -> jnp.dtype:
        """The type that the function returns."""
        return jnp.dtype(self.dtype_)

    def apply(self, X: Matrix) -> Residual:
        """The function, on the symmetric part of X."""
        _checks.shape(X, "X", (self.dim, self.dim))
        return self.function((X + X.T) / 2)

    def adjoint(self, r: Residual) -> Matrix:
        """The transpose of `apply`."""
        _checks.shape(r, "r", (self.num_measurements,))
        zero = jnp.zeros((self.dim, self.dim), self.dtype)
        (matrix,) = jax.vjp(self.apply, zero)[1](r)
        return matrix


def from_function(
    apply: Callable[[Matrix], Residual],
    dim: int,
    num_measurements: int,
    *,
    dtype: np.dtype | type | None = None,
) -> FunctionMeasurement:
    """A measurement from any linear function of a symmetric matrix.

    Linearity is tested on two fixed matrices: enough to expose an affine or a quadratic map, but
    no proof.

    Args:
        apply: a linear JAX function, (n, n) -> (m,). An `equinox.Module` with `__call__` makes its
            arrays differentiable.
        dim: n.
        num_measurements: m.
        dtype: floating-point type of X; JAX's default if None.

    Returns:
        The measurement. Its measurement matrices are the symmetric parts of those of `apply`.

    Raises:
        ValueError: the function cannot be traced, does not return real numbers of shape (m,), or
            is not linear.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.from_function(lambda X: jnp.sum(X, axis=1), 3, 3)
        >>> A.adjoint(jnp.array([2.0, 0.0, 0.0])).tolist()
        [[2.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    _checks.at_least(dim, "dim", 1)
    _checks.at_least(num_measurements, "num_measurements", 1)
    wanted = np.dtype(jax.dtypes.canonicalize_dtype(float if dtype is None else dtype))
    _checks.floating(wanted, "dtype")
    out = _traced(apply, jax.ShapeDtypeStruct((dim, dim), wanted), int(num_measurements))
    _linear(apply, int(dim), wanted)
    if jax.tree_util.all_leaves([apply]):
        apply = _as_tree(apply, jax.ShapeDtypeStruct((dim, dim), wanted))
    return FunctionMeasurement(apply, int(dim), int(num_measurements), np.dtype(out.dtype))


def _as_tree(apply: Callable[[Matrix], Residual], X: jax.ShapeDtypeStruct) -> Any:
    """A bare function is no JAX type; as a tree it may pass through `jit`.

    What it closes over has to be a leaf where it is being differentiated: custom derivatives do not
    see other tracers, and would leave them out. Elsewhere the tree has no leaves, so that one
    function makes one program, however often a measurement is made of it.
    """
    closed, captured = jax.closure_convert(apply, X)
    if not captured:
        return jax.tree_util.Partial(apply)
    return jax.tree_util.Partial(lambda captured, X: closed(X, *captured), captured)


def _traced(
    apply: Callable[[Matrix], Residual], X: jax.ShapeDtypeStruct, num_measurements: int
) -> jax.ShapeDtypeStruct:
    """The shape and type of the result, without computing it."""
    if not callable(apply):
        _checks.refuse("apply", "be a function of X", f"is of type {type(apply).__name__}")
    try:
        out = jax.eval_shape(apply, X)
    except Exception as error:
        # Whatever a user's function raises is shown below this message.
        raise ValueError(
            f"Argument `apply` must be a JAX function of X, shape {X.shape}, but tracing it "
            f"raises {type(error).__name__}. Write it with `jax.numpy`."
        ) from error
    returned = getattr(out, "shape", None)
    if returned != (num_measurements,):
        got = f"shape {returned}" if returned is not None else type(out).__name__
        _checks.refuse(
            "apply",
            f"return shape (num_measurements,) = ({num_measurements},)",
            f"returns {got}",
        )
    if out.dtype != X.dtype:
        _checks.refuse("apply", f"return the type of X, {X.dtype}", f"returns {out.dtype}")
    return out


def _linear(apply: Callable[[Matrix], Residual], dim: int, dtype: np.dtype) -> None:
    """Refuse a function that is not linear between two fixed matrices."""
    grid = jnp.arange(dim * dim, dtype=dtype).reshape(dim, dim)
    first, second = jnp.cos(grid + grid.T), jnp.sin(1 + grid + grid.T)
    at_first, at_second = apply(first), apply(second)
    together, apart = apply(first - 2 * second), at_first - 2 * at_second
    known = _checks.concrete(jnp.max(jnp.abs(together - apart)))
    scale = _checks.concrete(jnp.max(jnp.abs(at_first)) + 2 * jnp.max(jnp.abs(at_second)))
    if known is None or scale is None:
        return
    # n^2 rounded terms that may cancel, and room for a function that is itself a few products.
    if not known <= 1e3 * dim * float(jnp.finfo(dtype).eps) * float(scale):
        _checks.refuse(
            "apply",
            "be linear",
            f"apply(X - 2 Y) differs from apply(X) - 2 apply(Y) by {known:.3g}",
            "Move constants to the targets and nonlinearities to the loss.",
        )
