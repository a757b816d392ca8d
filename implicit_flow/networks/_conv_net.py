"""A plain convolutional network."""

import itertools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, Key

from .. import _checks
from ._hidden_units import HiddenUnits, linear_units, with_bias
from ._initialization import balanced, linear_skeleton


class ConvNet(eqx.Module):
    """Convolutions 3x3 with ReLU and max-pooling by two, and a linear layer at the end.

    Attributes:
        convolutions: the convolutions, from the input on.
        pool: the pooling after each of them.
        head: the linear layer from the last image to the outputs.
        dropout: applied to the last image when the network is called with a key.
        input_shape: the shape of one example: channels, height, width.

    Example:
        >>> import jax
        >>> from implicit_flow.networks import ConvNet
        >>> net = ConvNet((1, 8, 8), (4, 8), 10, key=jax.random.key(0))
        >>> net(jax.numpy.ones((1, 8, 8))).shape
        (10,)
    """

    convolutions: tuple[eqx.nn.Conv2d, ...]
    pool: eqx.nn.MaxPool2d
    head: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    input_shape: tuple[int, int, int] = eqx.field(static=True)

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        channels: Sequence[int],
        num_outputs: int,
        *,
        key: Key[Array, ""],
        use_bias: bool = True,
        dropout: float = 0.0,
        dtype: Any = None,
    ):
        """Draws a balanced network: weights of variance 1 / fan-in, biases zero.

        Args:
            input_shape: channels, height and width of an image.
            channels: the number of channels after each convolution.
            num_outputs: the number of outputs.
            key: a random key.
            use_bias: whether the layers have biases.
            dropout: the probability with which an entry of the last image is dropped.
            dtype: the dtype of the parameters; JAX's default if None.
        """
        if len(input_shape) != 3:
            _checks.refuse("input_shape", "be (channels, height, width)", f"is {input_shape}")
        for name, numbers in (
            ("input_shape", input_shape),
            ("channels", channels),
            ("num_outputs", [num_outputs]),
        ):
            for number in numbers:
                _checks.at_least(number, name, 1)
        _checks.probability(dropout, "dropout")
        counts = (input_shape[0], *channels)
        side = 2 ** len(channels)
        if input_shape[1] < side or input_shape[2] < side:
            raise ValueError(
                f"Argument `channels` must leave an image of at least one pixel, but has "
                f"{len(channels)} poolings by two for images of {input_shape[1:]}. Pass fewer."
            )
        options = {"padding": 1, "use_bias": use_bias, "dtype": dtype, "key": jax.random.key(0)}
        convolutions = eqx.filter_eval_shape(
            lambda: tuple(
                eqx.nn.Conv2d(before, after, 3, **options)
                for before, after in itertools.pairwise(counts)
            )
        )
        pixels = (input_shape[1] // side) * (input_shape[2] // side)
        head = linear_skeleton(counts[-1] * pixels, num_outputs, use_bias=use_bias, dtype=dtype)
        self.convolutions, self.head = balanced((convolutions, head), key)
        self.pool = eqx.nn.MaxPool2d(2, 2)
        self.dropout = eqx.nn.Dropout(dropout, inference=dropout == 0.0)
        self.input_shape = input_shape

    def __call__(
        self,
        x: Float[Array, "channels height width"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, " outputs"]:
        for convolution in self.convolutions:
            x = self.pool(jax.nn.relu(convolution(x)))
        inference = key is None or self.dropout.inference
        return self.head(self.dropout(x.reshape(-1), key=key, inference=inference))

    def hidden_units(self) -> tuple[HiddenUnits, ...]:
        """The channels: each can be rescaled on its own.

        Returns:
            One entry for each convolution.
        """
        return tuple(self._channels(index) for index in range(len(self.convolutions)))

    def _channels(self, index: int) -> HiddenUnits:
        last = index == len(self.convolutions) - 1
        size = self.convolutions[index].out_channels
        repeats = self.head.weight.shape[1] // size if last else 1

        def before(network: "ConvNet") -> eqx.nn.Conv2d:
            return network.convolutions[index]

        def after(network: "ConvNet") -> eqx.Module:
            return network.head if last else network.convolutions[index + 1]

        units = linear_units(size, before, after, repeats=repeats)
        return units if self.convolutions[index].bias is None else with_bias(units, before)
