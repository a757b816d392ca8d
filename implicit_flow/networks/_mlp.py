"""The fully connected network of the experiments."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .. import _checks
from ._hidden_units import HiddenUnits, between_layers
from ._initialization import balanced, linear_skeleton


class MLP(eqx.Module):
    """A fully connected ReLU network, with dropout on its hidden units.

    Attributes:
        layers: the linear layers, from the input to the output.
        dropout: applied to hidden units when the network is called with a key.
        activation: the activation of the hidden units.

    Example:
        >>> import jax
        >>> from implicit_flow.networks import MLP
        >>> MLP((64, 32, 10), key=jax.random.key(0))(jax.numpy.ones(64)).shape
        (10,)
    """

    layers: tuple[eqx.nn.Linear, ...]
    dropout: eqx.nn.Dropout
    activation: Callable = eqx.field(static=True)

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        key: Key[Array, ""],
        use_bias: bool = True,
        dropout: float = 0.0,
        activation: Callable = jax.nn.relu,
        dtype: Any = None,
    ):
        """Draws a balanced network: weights of variance 1 / fan-in, biases zero.

        Args:
            sizes: the number of inputs, of the hidden units of each layer, and of outputs.
            key: a random key.
            use_bias: whether the layers have biases.
            dropout: the probability with which a hidden unit is dropped.
            activation: the activation of the hidden units.
            dtype: the dtype of the parameters; JAX's default if None.
        """
        if len(sizes) < 2:
            raise ValueError(
                f"Argument `sizes` must hold at least the numbers of inputs and outputs, but is "
                f"{tuple(sizes)}. Pass, for instance, `(784, 4000, 4000, 10)`."
            )
        for size in sizes:
            _checks.at_least(size, "sizes", 1)
        _checks.probability(dropout, "dropout")
        layers = [
            linear_skeleton(fan_in, fan_out, use_bias=use_bias, dtype=dtype)
            for fan_in, fan_out in itertools.pairwise(sizes)
        ]
        self.layers = balanced(tuple(layers), key)
        self.dropout = eqx.nn.Dropout(dropout, inference=dropout == 0.0)
        self.activation = activation

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return (int(self.layers[0].in_features),)

    def __call__(
        self, x: Float[Array, " inputs"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, " outputs"]:
        inference = key is None
        keys = [None] * len(self.layers) if inference else jax.random.split(key, len(self.layers))
        for layer, subkey in zip(self.layers[:-1], keys, strict=False):
            x = self.activation(layer(x))
            x = self.dropout(x, key=subkey, inference=inference or self.dropout.inference)
        return self.layers[-1](x)

    def hidden_units(self) -> tuple[HiddenUnits, ...]:
        """The hidden units, layer by layer.

        Returns:
            One entry for each hidden layer.
        """
        return tuple(
            between_layers(self.layers, lambda network, i: network.layers[i], index)
            for index in range(len(self.layers) - 1)
        )


def squared_norm(network: Any) -> Float[Array, ""]:
    """The sum of squares of all parameters.

    Args:
        network: a network.

    Returns:
        The square of the l2 norm of its inexact arrays.
    """
    leaves = jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))
    squares = [jnp.sum(jnp.square(leaf)) for leaf in leaves]
    return sum(squares[1:], squares[0])
