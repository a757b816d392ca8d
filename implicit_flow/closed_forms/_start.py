"""Where a flow starts: the scale alpha and the parameter at scale one."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _checks
from .._types import Scalar, Vector


def log_scale(alpha: ArrayLike | None, log10_alpha: ArrayLike | None, dtype: np.dtype) -> Scalar:
    r"""$\log\alpha$, from whichever of the two was given.

    Args:
        alpha: the scale of X0, positive.
        log10_alpha: its decimal logarithm, which reaches below what floats hold.
        dtype: of the result.

    Returns:
        The natural logarithm, a scalar.

    Raises:
        ValueError: both or none given, or a value that is not finite and positive.
    """
    if (alpha is None) == (log10_alpha is None):
        both = "both are given" if alpha is not None else "neither is given"
        _checks.refuse("alpha", "be given, or else `log10_alpha`, and not both", both)
    if log10_alpha is not None:
        exponent = _checks.array(log10_alpha, "log10_alpha", dtype)
        _checks.shape(exponent, "log10_alpha", ())
        _checks.finite(exponent, "log10_alpha")
        return exponent * math.log(10)
    given = _checks.concrete(alpha)
    if given is not None:
        # Read before the conversion: float32 would turn 1e-50 into a zero.
        _checks.shape(given, "alpha", ())
        _checks.finite(given, "alpha")
        _checks.positive(given, "alpha", "It is the scale of X0.")
        return jnp.asarray(math.log(float(given)), dtype=dtype)
    value = _checks.array(alpha, "alpha", dtype)
    _checks.shape(value, "alpha", ())
    return jnp.log(value)


def frame(init: ArrayLike | None, dim: int, dtype: np.dtype) -> Float[Array, "n d"]:
    """U~ at scale one, of shape (n, d); the identity if None.

    Args:
        init: U~, shape (n, d) with d >= 1, or None.
        dim: n.
        dtype: of the result.

    Returns:
        U~.

    Raises:
        ValueError: the wrong shape, not finite, or a zero column.
    """
    if init is None:
        return jnp.asarray(np.eye(dim, dtype=dtype))
    start = _checks.array(init, "init", dtype)
    if start.ndim != 2 or start.shape[0] != dim or start.shape[1] == 0:
        _checks.refuse(
            "init", f"be U~ of shape (n, d) = ({dim}, d) with d >= 1", f"has shape {start.shape}"
        )
    _checks.finite(start, "init")
    known = _checks.concrete(start)
    if known is not None and not np.all(np.any(known != 0, axis=0)):
        column = int(np.flatnonzero(~np.any(known != 0, axis=0))[0])
        _checks.refuse("init", "have no zero column", f"column {column} is zero", "Leave it out.")
    return start


def positive_vector(init: ArrayLike | None, dim: int, dtype: np.dtype) -> Vector:
    """u~ at scale one, of shape (n,); ones if None.

    Args:
        init: u~, positive, shape (n,), or None.
        dim: n.
        dtype: of the result.

    Returns:
        u~.

    Raises:
        ValueError: the wrong shape, not finite, or not positive.
    """
    if init is None:
        return jnp.asarray(np.ones(dim, dtype))
    start = _checks.array(init, "init", dtype)
    _checks.shape(start, "init", (dim,))
    _checks.finite(start, "init")
    _checks.positive(start, "init", "A coordinate that starts at zero stays there for ever.")
    return start


def final_time(t: ArrayLike, dtype: np.dtype) -> Scalar:
    """A finite time.

    Args:
        t: at least 0.
        dtype: of the result.

    Returns:
        The time, a scalar.

    Raises:
        ValueError: not a finite scalar, or negative.
    """
    time = _checks.array(t, "t", dtype)
    _checks.shape(time, "t", ())
    known = _checks.concrete(time)
    if known is not None and not (0 <= known < np.inf):
        _checks.refuse("t", "be a finite time, at least 0", f"is {known}", "`t=None` is the limit.")
    return time
