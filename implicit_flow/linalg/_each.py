"""A function of each of several arguments, without batches on a CPU."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array


def each(function: Callable[..., Any], *stacks: Array) -> Any:
    """`jax.vmap(function)(*stacks)`, on a CPU one after the other.

    There a loop in a batch takes all lanes to the slowest, and jaxlib before 0.11.2 may hang on
    batches of LAPACK calls (docs/decisions/batched_lapack.md).

    Args:
        function: of arrays; calls LAPACK.
        stacks: its arguments, stacked along their first axis, shape (k, ...) each.

    Returns:
        Its results, stacked alike.

    Example:
        >>> import jax.numpy as jnp
        >>> from implicit_flow.linalg import each
        >>> stack = jnp.stack([jnp.eye(2), jnp.diag(jnp.array([3.0, 1.0]))])
        >>> each(jnp.linalg.eigvalsh, stack).tolist()
        [[1.0, 1.0], [1.0, 3.0]]
    """
    # Both ways are traced: so the function is, once.
    function = jax.jit(function)

    def one_by_one(*stacks: Array) -> Any:
        return jax.lax.map(lambda one: function(*one), stacks)

    return jax.lax.platform_dependent(*stacks, cpu=one_by_one, default=jax.vmap(function))
