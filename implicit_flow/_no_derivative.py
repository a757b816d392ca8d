"""The derivative of an answer that there is not."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer


Tree = TypeVar("Tree")


def no_derivative_unless(valid: Any, tree: Tree) -> Tree:
    """The tree, of which every derivative is nan where it is not valid.

    A lane of `vmap` whose input cannot be is computed with another one in its place: its derivative
    would be that of the replacement, which is zero, and look like a stationary point.

    Args:
        valid: whether the input is possible, a scalar.
        tree: any tree.

    Returns:
        The tree; itself where `valid` is not traced.

    Example:
        >>> import jax
        >>> from implicit_flow._no_derivative import no_derivative_unless
        >>> def root(x):
        ...     possible = x > 0
        ...     return jax.numpy.where(possible, no_derivative_unless(possible, x), 1.0) ** 0.5
        >>> jax.vmap(jax.grad(root))(jax.numpy.array([4.0, -4.0])).tolist()
        [0.25, nan]
    """
    if not isinstance(valid, Tracer):
        return tree
    # What is known has no derivative, and stays known.
    numbers, rest = eqx.partition(tree, _is_traced_number)
    return eqx.combine(jax.tree.map(lambda leaf: _unchanged(leaf, valid), numbers), rest)


def _is_traced_number(leaf: Any) -> bool:
    return isinstance(leaf, Tracer) and eqx.is_inexact_array(leaf)


@jax.custom_jvp
def _unchanged(value: Any, valid: Any) -> Any:
    del valid
    return value


@_unchanged.defjvp
def _derivative(primals, tangents):
    value, valid = primals
    return value, tangents[0] * jnp.where(valid, 1.0, jnp.nan).astype(value.dtype)
