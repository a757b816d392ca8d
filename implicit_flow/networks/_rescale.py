"""Node-wise rescaling, which leaves a network's function unchanged."""

from collections.abc import Sequence
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from .. import _checks
from .._random import normal
from ._hidden_units import HiddenUnits, between_layers
from ._initialization import balanced
from ._network_call import network_call


Network = TypeVar("Network")


def rescale(
    network: Network,
    key: Key[Array, ""],
    *,
    num_draws: int | None = None,
    strength: float | int = 10.0,
    spread: float | int = 1.0,
    units: Sequence[HiddenUnits] | None = None,
) -> Network:
    """Rescales hidden units drawn at random; the network's function does not change.

    That holds where the activation is positively homogeneous, f(t x) = t f(x) for t > 0. Units are
    drawn with replacement. At each draw the unit's incoming edges (biases too) are multiplied, and
    its outgoing edges divided, by `strength` times c, log c ~ N(0, spread^2).

    Args:
        network: the network.
        key: a random key.
        num_draws: the number of draws; a quarter of the hidden units if None, as published.
        strength: the factor common to all draws.
        spread: the standard deviation of log c.
        units: the hidden units, where the network does not know its own: `MLP`, `ConvNet`, `RNN`
            and `equinox.nn.MLP` do. The activation of units that are given is not looked at.

    Returns:
        The rescaled network.

    Raises:
        ValueError: if the hidden units are not known, their activation is not positively
            homogeneous, or an argument cannot be used.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from implicit_flow.networks import MLP, rescale
        >>> net = MLP((4, 32, 2), key=jax.random.key(0))
        >>> other = rescale(net, jax.random.key(1))
        >>> bool(jnp.allclose(net(jnp.ones(4)), other(jnp.ones(4)), rtol=1e-4))
        True
        >>> bool(jnp.allclose(net.layers[0].weight, other.layers[0].weight))
        False

    Reference:
        Neyshabur, Salakhutdinov, Srebro, "Path-SGD" (2015), section 5.
    """
    _checks.positive(strength, "strength")
    if num_draws is not None:
        _checks.at_least(num_draws, "num_draws", 0)
    _checks.finite(jnp.asarray(spread, float), "spread")
    if units is None:
        _check_activation(network)
        units = hidden_units(network)
    total = sum(layer.size for layer in units)
    if not total:
        return network
    dtype = network_call(network).sum_dtype
    draws = total // 4 if num_draws is None else num_draws
    which, how_much = jax.random.split(key)
    drawn = jax.random.randint(which, (draws,), 0, total)
    logs = jnp.log(jnp.asarray(strength, dtype)) + jnp.asarray(spread, dtype) * normal(
        how_much, (draws,), dtype
    )
    factors = jnp.exp(jnp.zeros(total, dtype).at[drawn].add(logs))
    start = 0
    for layer in units:
        network = layer.rescale(network, factors[start : start + layer.size])
        start += layer.size
    return network


def unbalanced(network: Network, key: Key[Array, ""]) -> Network:
    """The published unbalanced start: a balanced start, then a quarter of the units rescaled.

    Args:
        network: a network that knows its hidden units.
        key: a random key. The balanced start that computes the same function is
            `balanced(network, jax.random.split(key)[0])`.

    Returns:
        The network with new parameters.
    """
    start, change = jax.random.split(key)
    return rescale(balanced(network, start), change)


def _check_activation(network: object) -> None:
    activation = getattr(network, "activation", jax.nn.relu)
    if any(eqx.is_array(leaf) for leaf in jax.tree.leaves(activation)):
        # A learned one, such as a PReLU.
        return
    with jax.ensure_compile_time_eval():
        x = np.array([-2.0, -0.5, 0.0, 0.5, 2.0], np.float32)
        one, eight = (np.asarray(jax.vmap(activation)(t * x)) for t in (1, 8))
    if not np.allclose(eight, 8 * one, rtol=1e-4, atol=1e-6):
        _checks.refuse(
            "network",
            "have a positively homogeneous activation, f(t x) = t f(x) for t > 0",
            f"has {getattr(activation, '__name__', activation)}",
            "Rescaling a unit would change what it computes.",
        )


def hidden_units(network: object) -> tuple[HiddenUnits, ...]:
    """The hidden units of a network, layer by layer.

    Args:
        network: a network of this package, an `equinox.nn.MLP`, or any with a method
            `hidden_units()`.

    Returns:
        The units that can be rescaled.

    Raises:
        ValueError: if the network is of another kind.
    """
    known = getattr(network, "hidden_units", None)
    if known is not None:
        return known()
    if isinstance(network, eqx.nn.MLP):
        layers = network.layers
        return tuple(
            between_layers(layers, lambda net, i: net.layers[i], index)
            for index in range(len(layers) - 1)
        )
    raise ValueError(
        f"Argument `units` must be given, but is None, and a {type(network).__name__} does not "
        "say what its hidden units are. Pass `units=[HiddenUnits(...)]`, one for each layer."
    )
