"""Labelled images, split into training, held-out and test parts."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from ._files import find_file, read_cifar, read_idx


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """Images with labels.

    Attributes:
        train_inputs: training images of shape (count, channels, height, width), in float32.
        train_labels: their classes, counted from zero.
        test_inputs: images to measure the error on.
        test_labels: their classes.
    """

    train_inputs: np.ndarray
    train_labels: np.ndarray
    test_inputs: np.ndarray
    test_labels: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.train_inputs.shape[1:]

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return int(self.train_labels.max()) + 1

    def flat(self) -> "Images":
        """The same images as vectors."""
        return dataclasses.replace(
            self,
            train_inputs=self.train_inputs.reshape(len(self.train_inputs), -1),
            test_inputs=self.test_inputs.reshape(len(self.test_inputs), -1),
        )

    def rows(self) -> "Images":
        """The same images as sequences of rows, for a recurrent network."""

        def sequences(pixels: np.ndarray) -> np.ndarray:
            count, channels, height, width = pixels.shape
            return pixels.transpose(0, 2, 1, 3).reshape(count, height, channels * width)

        return dataclasses.replace(
            self,
            train_inputs=sequences(self.train_inputs),
            test_inputs=sequences(self.test_inputs),
        )

    def held_out(self, count: int) -> "Images":
        """A split for choosing a step size: the last training images take the test's place.

        Args:
            count: the number of images that are held out of training.

        Returns:
            The smaller training part, and the held-out one as test part.
        """
        if not 0 < count < len(self.train_inputs):
            raise ValueError(
                f"Argument `count` must be between 1 and {len(self.train_inputs) - 1}, but is "
                f"{count}. Pass the number of training images to hold out."
            )
        return Images(
            self.train_inputs[:-count],
            self.train_labels[:-count],
            self.train_inputs[-count:],
            self.train_labels[-count:],
        )

    def first(self, count: int) -> "Images":
        """The same test part with only the first training images."""
        return dataclasses.replace(
            self, train_inputs=self.train_inputs[:count], train_labels=self.train_labels[:count]
        )


def _images(train: tuple, test: tuple, scale: int) -> Images:
    def inputs(pixels: np.ndarray) -> np.ndarray:
        return pixels.astype(np.float32) / np.float32(scale)

    def labels(classes: np.ndarray) -> np.ndarray:
        return classes.astype(np.int32)

    return Images(inputs(train[0]), labels(train[1]), inputs(test[0]), labels(test[1]))


def digits() -> Images:
    """The 1,797 handwritten digits of 8x8 pixels that come with scikit-learn.

    Returns:
        1,437 training and 360 test images, drawn in a fixed order, with pixels in [0, 1].

    Raises:
        ImportError: if scikit-learn is not installed.
    """
    table = _digits_table()
    pixels, classes = table[:, :-1].reshape(-1, 1, 8, 8), table[:, -1]
    order = np.random.default_rng(0).permutation(len(table))
    pixels, classes = pixels[order], classes[order]
    return _images((pixels[:-360], classes[:-360]), (pixels[-360:], classes[-360:]), 16)


def _digits_table() -> np.ndarray:
    """The pixels of each digit, and its class."""
    found = importlib.util.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise ImportError(
            "The digits come with scikit-learn. Install it with "
            "`pip install 'implicit_flow[data]'`, or name a folder with MNIST or CIFAR-10."
        )
    # Its file, where it is as ever: importing scikit-learn takes seconds.
    file = Path(found.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    bundle: Any = load_digits()
    return np.column_stack([bundle.data, bundle.target])


def mnist(folder: Path | str) -> Images:
    """MNIST from its original IDX files.

    Args:
        folder: where the four files are, compressed (`.gz`, `.xz`) or not.

    Returns:
        60,000 training and 10,000 test images, with pixels in [0, 1].

    Raises:
        ValueError: if a file is missing or damaged.
    """
    folder = Path(folder)
    parts = []
    for name in ("train", "t10k"):
        images_path = find_file(folder, f"{name}-images*idx3-ubyte*")
        images = read_idx(images_path)
        labels_path = find_file(folder, f"{name}-labels*idx1-ubyte*")
        labels = read_idx(labels_path)
        if images.ndim != 3 or labels.shape != images.shape[:1] or not labels.size:
            raise ValueError(
                f"Files {images_path} and {labels_path} must hold images and as many labels, but "
                f"hold arrays of shapes {images.shape} and {labels.shape}. Fetch them again."
            )
        if labels.max() > 9:
            raise ValueError(
                f"File {labels_path} must hold classes 0 to 9, but holds {labels.max()}. Fetch it "
                "again."
            )
        parts.append((images[:, None], labels))
    if parts[0][0].shape[1:] != parts[1][0].shape[1:]:
        shapes = [part[0].shape[2:] for part in parts]
        raise ValueError(
            f"Folder {folder} must hold training and test images of one size, but holds images of "
            f"{shapes[0]} and {shapes[1]} pixels. Fetch them again."
        )
    return _images(parts[0], parts[1], 255)


def cifar10(folder: Path | str) -> Images:
    """CIFAR-10, or a part of it, from files in its binary format.

    Args:
        folder: where the files are, compressed (`.gz`, `.xz`) or not: `data_batch*.bin*` or
            `train*.bin*`, and `test*.bin*`.

    Returns:
        Training and test images of shape (3, 32, 32), with pixels in [0, 1].

    Raises:
        ValueError: if a file is missing or damaged.
    """
    folder = Path(folder)
    training = sorted([*folder.glob("data_batch*.bin*"), *folder.glob("train*.bin*")])
    if not training:
        find_file(folder, "data_batch*.bin*", "train*.bin*")
    batches = [read_cifar(path) for path in training]
    train = tuple(np.concatenate(part) for part in zip(*batches, strict=True))
    return _images(train, read_cifar(find_file(folder, "test*.bin*")), 255)
