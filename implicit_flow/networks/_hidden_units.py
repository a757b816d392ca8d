"""Which entries of which weights lead into and out of the hidden units."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


class UnitEdges(eqx.Module):
    """The edges at the units of one layer that are stored in one array.

    Attributes:
        where: picks the array out of the network.
        axis: the axis of the array along which the units are counted.
        repeats: the number of successive entries that belong to one unit (the pixels of a channel,
            where a layer of units follows a flattened image).
    """

    where: Callable[[Any], Array] = eqx.field(static=True)
    axis: int = eqx.field(static=True)
    repeats: int = eqx.field(static=True, default=1)


class HiddenUnits(eqx.Module):
    """Hidden units that can be rescaled one by one.

    Attributes:
        size: the number of units.
        incoming: the edges into them, biases included.
        outgoing: the edges out of them.
    """

    size: int = eqx.field(static=True)
    incoming: tuple[UnitEdges, ...]
    outgoing: tuple[UnitEdges, ...]

    def rescale(self, network: PyTree, factors: Float[Array, " units"]) -> PyTree:
        """Multiplies what comes into each unit, and divides what goes out of it.

        Args:
            network: the network.
            factors: a positive factor for each unit.

        Returns:
            A network that computes the same function.
        """
        for edges in self.incoming:
            network = _multiply(network, edges, factors)
        for edges in self.outgoing:
            network = _multiply(network, edges, 1 / factors)
        return network


def _multiply(network: PyTree, edges: UnitEdges, factors: Float[Array, " units"]) -> PyTree:
    array = edges.where(network)
    shape = [1] * array.ndim
    shape[edges.axis] = -1
    spread = jnp.repeat(factors, edges.repeats).reshape(shape)
    return eqx.tree_at(edges.where, network, array * spread.astype(array.dtype))


def linear_units(
    size: int,
    before: Callable[[Any], Any],
    after: Callable[[Any], Any],
    *,
    repeats: int = 1,
) -> HiddenUnits:
    """The units between two layers whose weights are stored with the outputs first.

    Args:
        size: the number of units.
        before: picks the layer that leads into them (its `bias` may be None).
        after: picks the layer that leads out of them.
        repeats: the number of entries of the later layer that belong to one unit.

    Returns:
        The units.
    """
    incoming = UnitEdges(lambda network: before(network).weight, axis=0)
    outgoing = UnitEdges(lambda network: after(network).weight, axis=1, repeats=repeats)
    return HiddenUnits(size, (incoming,), (outgoing,))


def with_bias(units: HiddenUnits, before: Callable[[Any], Any]) -> HiddenUnits:
    """Adds the bias of the layer that leads into the units.

    Args:
        units: the units.
        before: picks that layer.

    Returns:
        The units, with one more incoming edge each.
    """
    bias = UnitEdges(lambda network: before(network).bias, axis=0)
    return HiddenUnits(units.size, (*units.incoming, bias), units.outgoing)


def between_layers(layers: Any, pick: Callable[[Any, int], Any], index: int) -> HiddenUnits:
    """The units between two successive linear layers.

    Args:
        layers: the layers.
        pick: finds a layer of a network by its index.
        index: the index of the layer that leads into the units.

    Returns:
        The units.
    """

    def before(network: Any) -> Any:
        return pick(network, index)

    units = linear_units(
        layers[index].weight.shape[0], before, lambda network: pick(network, index + 1)
    )
    return units if layers[index].bias is None else with_bias(units, before)
