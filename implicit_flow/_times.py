"""When a flow ends, and when it is saved."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from . import _checks
from ._no_derivative import no_derivative_unless


def save_times(saveat: Any, t1: Any, dtype: Any) -> Float[Array, " k"] | None:
    """The times at which to save.

    Args:
        saveat: times, `diffrax.SaveAt(ts=...)`, or None.
        t1: the final time, or None.
        dtype: of the result.

    Returns:
        The times, shape (k,), or None.

    Raises:
        ValueError: times that do not increase, leave [0, t1], or are none; a `SaveAt` of more.
    """
    if saveat is None:
        return None
    if isinstance(saveat, diffrax.SaveAt):
        # Several make a list of parts.
        ts = getattr(saveat.subs, "ts", None)
        plain = diffrax.SaveAt(ts=ts) if ts is not None else None
        if jax.tree.structure(plain) != jax.tree.structure(saveat):
            _checks.refuse("saveat", "be times, or `diffrax.SaveAt(ts=...)`", "asks for more")
        saveat = ts
    times = _checks.array(saveat, "saveat", dtype)
    _checks.shape(times, "saveat", ("k",))
    _checks.finite(times, "saveat")
    known = _checks.concrete(times)
    if known is not None:
        if known.size == 0:
            _checks.refuse("saveat", "hold at least one time", "is empty")
        if np.any(np.diff(known) < 0) or known[0] < 0:
            _checks.refuse("saveat", "hold increasing times, none negative", f"is {known}")
        end = None if t1 is None else _checks.concrete(t1)
        if end is not None and known[-1] > end:
            _checks.refuse("saveat", f"stay within t1 = {end}", f"ends at {known[-1]}")
    return times


def possible(t1: Any, save_ts: Any) -> tuple[Any, Any, Any]:
    """Times that a flow can be asked for, and whether those given are: traced ones may not be.

    Args:
        t1: the final time, or None.
        save_ts: times at which to save, shape (k,), or None.

    Returns:
        Both, and whether they are what was given.
    """
    times = [time for time in (t1, save_ts) if isinstance(time, Tracer)]
    if not times:
        return t1, save_ts, True
    fits = jnp.array(True)
    if t1 is not None:
        fits = fits & (t1 > 0) & jnp.isfinite(t1)
    if save_ts is not None:
        end = jnp.inf if t1 is None else t1
        fits = fits & jnp.all(jnp.isfinite(save_ts) & (save_ts >= 0) & (save_ts <= end))
        fits = fits & jnp.all(jnp.diff(save_ts) >= 0)
    t1, save_ts = no_derivative_unless(fits, (t1, save_ts))
    if save_ts is not None:
        save_ts = jnp.where(fits, save_ts, jnp.zeros_like(save_ts))
    return None if t1 is None else jnp.where(fits, t1, jnp.ones_like(t1)), save_ts, fits
