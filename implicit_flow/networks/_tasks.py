"""What a network is trained on, and how well it does."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from ._images import Images
from ._text import Text


class AbstractTask(eqx.Module):
    """Examples to draw batches from, and measures of success."""

    @abc.abstractmethod
    def batch(self, key: Key[Array, ""], size: int) -> tuple[Array, Array]:
        """Draws examples and what is to be predicted of them.

        Args:
            key: a random key.
            size: the number of examples.

        Returns:
            Inputs and targets.
        """

    @abc.abstractmethod
    def loss(self, outputs: Array, targets: Array) -> Float[Array, ""]:
        """The training loss of one example.

        Args:
            outputs: what the network gives.
            targets: what it should predict.

        Returns:
            The loss.
        """

    @abc.abstractmethod
    def parts(self) -> dict[str, tuple[Array, Array]]:
        """The examples on which progress is measured.

        Returns:
            Inputs and targets of the parts `train` and `test`.
        """

    @abc.abstractmethod
    def mistakes(self, outputs: Array, targets: Array) -> Float[Array, ""]:
        """The share of wrong predictions in one example.

        Args:
            outputs: what the network gives.
            targets: what it should predict.

        Returns:
            A number in [0, 1].
        """


def _cross_entropy(outputs: Array, targets: Array) -> Float[Array, ""]:
    losses = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
    return jnp.mean(losses)


def _zero_one(outputs: Array, targets: Array) -> Float[Array, ""]:
    wrong = jnp.argmax(outputs, axis=-1).astype(targets.dtype) != targets
    return jnp.mean(wrong.astype(outputs.dtype))


class ImageTask(AbstractTask):
    """Classes of images by cross-entropy.

    Attributes:
        train_inputs: the training images.
        train_labels: their classes.
        test_inputs: the images to measure the error on.
        test_labels: their classes.
        num_measured: the number of training images that progress is measured on.
    """

    train_inputs: Float[Array, "train ..."]
    train_labels: Array
    test_inputs: Float[Array, "test ..."]
    test_labels: Array
    num_measured: int = eqx.field(static=True)

    def __init__(self, images: Images, *, dtype: Any = np.float32, num_measured: int = 10_000):
        """Places images on the device.

        Args:
            images: the images; `Images.flat()` for a fully connected network.
            dtype: the dtype of the pixels.
            num_measured: the number of training images that progress is measured on.
        """
        self.train_inputs = jnp.asarray(images.train_inputs, dtype)
        self.train_labels = jnp.asarray(images.train_labels)
        self.test_inputs = jnp.asarray(images.test_inputs, dtype)
        self.test_labels = jnp.asarray(images.test_labels)
        self.num_measured = num_measured

    def batch(self, key: Key[Array, ""], size: int) -> tuple[Array, Array]:
        chosen = jax.random.randint(key, (size,), 0, self.train_labels.shape[0])
        return self.train_inputs[chosen], self.train_labels[chosen]

    def loss(self, outputs: Array, targets: Array) -> Float[Array, ""]:
        return _cross_entropy(outputs, targets)

    def mistakes(self, outputs: Array, targets: Array) -> Float[Array, ""]:
        return _zero_one(outputs, targets)

    def parts(self) -> dict[str, tuple[Array, Array]]:
        count = self.num_measured
        return {
            "train": (self.train_inputs[:count], self.train_labels[:count]),
            "test": (self.test_inputs, self.test_labels),
        }


class TextTask(AbstractTask):
    """The next character of a text, by cross-entropy.

    Attributes:
        tokens: the training text.
        held_out: sequences of another text, to measure the error on.
        seen: as many sequences of the training text.
        length: the number of characters that are predicted at a time.
    """

    tokens: Array
    held_out: Array
    seen: Array
    length: int = eqx.field(static=True)

    def __init__(self, text: Text, *, length: int, num_measured: int = 500, test: bool = False):
        """Places a text on the device.

        Args:
            text: the text.
            length: the number of characters that are predicted at a time.
            num_measured: the number of sequences that progress is measured on.
            test: whether to measure on the test text rather than on the validation text.
        """
        other = text.test if test else text.validation
        if min(text.train.size, other.size) <= length:
            raise ValueError(
                f"Argument `length` must be less than the size of each part of the text, but is "
                f"{length} for parts of {text.train.size} and {other.size} characters. Pass a "
                "shorter length or a longer text."
            )
        self.tokens = jnp.asarray(text.train)
        self.held_out = jnp.asarray(_spaced(other, length, num_measured))
        self.seen = jnp.asarray(_spaced(text.train, length, num_measured))
        self.length = length

    def batch(self, key: Key[Array, ""], size: int) -> tuple[Array, Array]:
        starts = jax.random.randint(key, (size, 1), 0, self.tokens.size - self.length)
        windows = self.tokens[starts + jnp.arange(self.length + 1)[None, :]].astype(jnp.int32)
        return windows[:, :-1], windows[:, 1:]

    def loss(self, outputs: Array, targets: Array) -> Float[Array, ""]:
        return _cross_entropy(outputs, targets)

    def mistakes(self, outputs: Array, targets: Array) -> Float[Array, ""]:
        return _zero_one(outputs, targets)

    def parts(self) -> dict[str, tuple[Array, Array]]:
        return {
            "train": (self.seen[:, :-1], self.seen[:, 1:]),
            "test": (self.held_out[:, :-1], self.held_out[:, 1:]),
        }


def _spaced(tokens: np.ndarray, length: int, count: int) -> np.ndarray:
    """Sequences at equal distances, so that every book has its share."""
    starts = np.linspace(0, tokens.size - length - 1, count).astype(np.int64)
    return tokens[starts[:, None] + np.arange(length + 1)].astype(np.int32)


class AddingTask(AbstractTask):
    """The adding problem: the sum of the two marked numbers of a sequence, by squared error.

    Attributes:
        length: the length of a sequence.
        num_measured: the number of sequences that progress is measured on.

    Reference:
        Hochreiter, Schmidhuber, "Long short-term memory" (1997).
    """

    length: int = eqx.field(static=True)
    num_measured: int = eqx.field(static=True, default=500)

    def batch(self, key: Key[Array, ""], size: int) -> tuple[Array, Array]:
        values_key, first_key, second_key = jax.random.split(key, 3)
        values = jax.random.uniform(values_key, (size, self.length), jnp.float32)
        half = self.length // 2
        first = jax.random.randint(first_key, (size,), 0, half)
        second = jax.random.randint(second_key, (size,), half, self.length)
        marks = jax.nn.one_hot(first, self.length, dtype=jnp.float32)
        marks = marks + jax.nn.one_hot(second, self.length, dtype=jnp.float32)
        return jnp.stack([values, marks], axis=-1), jnp.sum(values * marks, axis=1)[:, None]

    def loss(self, outputs: Array, targets: Array) -> Float[Array, ""]:
        return jnp.mean(jnp.square(outputs - targets))

    def mistakes(self, outputs: Array, targets: Array) -> Float[Array, ""]:
        return jnp.mean((jnp.abs(outputs - targets) > 0.04).astype(outputs.dtype))

    def parts(self) -> dict[str, tuple[Array, Array]]:
        keys = jax.random.split(jax.random.key(0), 2)
        return {
            name: self.batch(key, self.num_measured)
            for name, key in zip(("train", "test"), keys, strict=True)
        }
