"""The scale of the initialization, given as alpha or as its logarithm."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool

from . import _checks
from ._no_derivative import no_derivative_unless
from ._types import Scalar


def log_scale(
    alpha: ArrayLike | None, log10_alpha: ArrayLike | None, dtype: Any
) -> tuple[Scalar, Bool[Array, ""]]:
    """The natural logarithm of alpha, from exactly one of its two forms.

    Args:
        alpha: the scale of X0, positive, a scalar.
        log10_alpha: its logarithm to base 10, which may reach below what floats hold.
        dtype: the floating-point type of the problem.

    Returns:
        (log alpha, whether it is valid). Where alpha is traced and not valid, log alpha is 0.

    Raises:
        ValueError: both or neither given; not a finite positive scalar; or an alpha that the
            type cannot hold.
    """
    if (alpha is None) == (log10_alpha is None):
        got = "neither is given" if alpha is None else "both are given"
        raise ValueError(
            f"Exactly one of the arguments `alpha` and `log10_alpha` must be given, but {got}. "
            "alpha is the scale of X0 (that of U0 is its square root)."
        )
    if alpha is not None:
        _check_alpha(alpha, dtype)
        value = _checks.array(alpha, "alpha", dtype)
        known = _checks.concrete(alpha)
        if known is not None:
            # In double precision, whatever the type of the problem.
            return jnp.asarray(math.log(float(known)), dtype), jnp.array(True)
        valid = (value > 0) & jnp.isfinite(value)
        return jnp.log(jnp.where(valid, no_derivative_unless(valid, value), 1)), valid
    value = _checks.array(log10_alpha, "log10_alpha", dtype)
    _checks.shape(value, "log10_alpha", ())
    _checks.finite(value, "log10_alpha")
    known = _checks.concrete(value)
    if known is not None:
        return jnp.asarray(float(known) * math.log(10), dtype), jnp.array(True)
    valid = jnp.isfinite(value)
    value = no_derivative_unless(valid, value)
    return jnp.where(valid, value, 0) * np.asarray(math.log(10), dtype), valid


def _check_alpha(alpha: ArrayLike, dtype: Any) -> None:
    value = _checks.array(alpha, "alpha")
    _checks.shape(value, "alpha", ())
    known = _checks.concrete(alpha)
    if known is None:
        return
    number = float(known)
    if not number > 0:
        cure = "It is the scale of X0."
        if number == 0:
            cure += " Below the smallest float, give `log10_alpha` instead, such as -400."
        _checks.refuse("alpha", "be positive", f"is {number}", cure)
    if math.isinf(number):
        _checks.refuse("alpha", "be finite", f"is {number}")
    info = jnp.finfo(dtype)
    if not float(info.tiny) <= number <= float(info.max):
        _checks.refuse(
            "alpha",
            f"be a normal number in {jnp.dtype(dtype).name}, "
            f"between {float(info.tiny):.2g} and {float(info.max):.2g}",
            f"is {number:g}",
            f"Give `log10_alpha={math.log10(number):.6g}`, which has no such limit, or turn on "
            "float64: `jax.config.update('jax_enable_x64', True)`.",
        )
