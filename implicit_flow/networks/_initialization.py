"""Balanced and unbalanced starts."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from .._compiled import compiled
from .._random import normal


def balanced(network: Any, key: Key[Array, ""]) -> Any:
    """Draws the parameters anew: weights of variance 1 / fan-in, biases zero.

    Args:
        network: any Equinox module whose weights are stored with the outputs first (as those of
            `equinox.nn` are): all axes but the first are fan-in. Arrays of one axis are biases, and
            so are the (channels, 1, 1) arrays of convolutions.
        key: a random key.

    Returns:
        The network with new parameters.

    Example:
        >>> import equinox as eqx, jax
        >>> from implicit_flow.networks import balanced
        >>> net = balanced(eqx.nn.Linear(400, 400, key=jax.random.key(0)), jax.random.key(1))
        >>> round(float(net.weight.std()), 2), float(abs(net.bias).max())
        (0.05, 0.0)
    """
    arrays, rest = eqx.partition(network, _has_entries)
    leaves, structure = jax.tree.flatten(arrays)
    kinds = tuple((leaf.shape, jnp.dtype(leaf.dtype).name) for leaf in leaves)
    return eqx.combine(jax.tree.unflatten(structure, _draw(key, kinds)), rest)


def _has_entries(leaf: Any) -> bool:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return bool(jnp.issubdtype(leaf.dtype, jnp.inexact))
    return eqx.is_inexact_array(leaf)


# One program for a whole network: compiling one for each shape takes seconds.
@compiled
def _draw(key: Key[Array, ""], kinds: tuple[tuple[tuple[int, ...], str], ...]) -> list[Array]:
    keys = jax.random.split(key, len(kinds))
    return [_draw_one(key, *kind) for key, kind in zip(keys, kinds, strict=True)]


def _draw_one(key: Key[Array, ""], shape: tuple[int, ...], name: str) -> Array:
    fan_in = math.prod(shape[1:])
    if len(shape) < 2 or (len(shape) > 2 and fan_in == 1):
        return jnp.zeros(shape, name)
    return jnp.asarray(fan_in**-0.5, name) * normal(key, shape, name)


def linear_skeleton(*sizes: int, **options: Any) -> eqx.nn.Linear:
    """A linear layer whose parameters are yet to be drawn by `balanced`."""
    fan_in, fan_out = sizes
    return eqx.filter_eval_shape(
        lambda: eqx.nn.Linear(fan_in, fan_out, key=jax.random.key(0), **options)
    )
