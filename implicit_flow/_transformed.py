"""Whether a transformation of JAX is at work around the caller."""

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jax.extend.core import get_opaque_trace_state


def is_transformed() -> bool:
    """Whether `jit`, `grad`, `vmap` or another transformation runs the code that calls this.

    Arguments do not tell: what is differentiated may be hidden in a function that closes over it.

    Returns:
        False where every array has numbers.

    Example:
        >>> import jax
        >>> from implicit_flow._transformed import is_transformed
        >>> is_transformed()
        False
        >>> bool(jax.jvp(lambda x: x * is_transformed(), (1.0,), (1.0,))[0])
        True
    """
    return get_opaque_trace_state() != _untransformed()


@functools.cache
def _untransformed() -> Any:
    # Transformations belong to the thread that began them, and a new one has none.
    with ThreadPoolExecutor(1) as fresh:
        return fresh.submit(get_opaque_trace_state).result()
