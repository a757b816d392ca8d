"""What the words of `implicit-flow train` stand for."""

import csv
import io
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .. import networks
from .._checks import refuse
from ..networks import AbstractTask, ImageTask, TextTask


_COLUMNS = (
    "step",
    "train_loss",
    "train_error",
    "test_loss",
    "test_error",
    "path_norm",
    "l2_norm",
)


def build_task(settings: dict[str, Any], folder: Path | None) -> AbstractTask:
    """The data set.

    Args:
        settings: the words of the command line.
        folder: where the data is.

    Returns:
        The task.
    """
    data, network = settings["data"], settings["network"]
    if data == "digits":
        images = networks.digits()
    elif folder is None:
        refuse("--data-dir", "be given", "is not", f"Pass the folder that holds {data}.")
    elif data == "text":
        if network not in ("rnn", "lstm"):
            refuse("--network", "be rnn or lstm for text", f"is {network}", "Pass --network rnn.")
        return TextTask(networks.text(folder), length=settings["length"])
    else:
        images = {"mnist": networks.mnist, "cifar10": networks.cifar10}[data](folder)
    if network == "mlp":
        return ImageTask(images.flat())
    if network == "conv":
        return ImageTask(images)
    # A recurrent network reads an image row by row.
    return ImageTask(images.rows())


def build_network(settings: dict[str, Any], task: AbstractTask, key: jax.Array) -> Any:
    """The network at its start, in float32.

    Args:
        settings: the words of the command line.
        task: what it will be trained on.
        key: a random key.

    Returns:
        The network.
    """
    start, change = jax.random.split(key)
    net = _balanced(settings, task, start)
    if settings["init"] == "balanced":
        return net
    if settings["network"] == "lstm":
        refuse("--init", "be balanced for lstm", "is unbalanced", "Its units cannot be rescaled.")
    return networks.rescale(net, change)


def _balanced(settings: dict[str, Any], task: AbstractTask, key: jax.Array) -> Any:
    kind, width, depth = settings["network"], settings["width"], settings["depth"]
    common: dict[str, Any] = {"key": key, "dtype": jnp.float32}
    if isinstance(task, TextTask):
        count = int(jnp.max(task.tokens)) + 1
        recurrent = {"rnn": networks.RNN, "lstm": networks.LSTM}[kind]
        return recurrent(count, width, count, **common)
    assert isinstance(task, ImageTask)
    shape = task.train_inputs.shape[1:]
    classes = int(jnp.max(task.train_labels)) + 1
    dropout = settings["dropout"]
    if kind == "mlp":
        return networks.MLP((shape[0], *[width] * depth, classes), dropout=dropout, **common)
    if kind == "conv":
        channels = [width * 2**level for level in range(depth)]
        size = (shape[0], shape[1], shape[2])
        return networks.ConvNet(size, channels, classes, dropout=dropout, **common)
    if kind == "rnn":
        return networks.RNN(shape[1], width, classes, last_only=True, **common)
    return networks.LSTM(shape[1], width, classes, last_only=True, **common)


def build_optimizer(settings: dict[str, Any], net: Any, task: AbstractTask) -> Any:
    """The optimizer.

    Args:
        settings: the words of the command line.
        net: the network.
        task: what it is trained on.

    Returns:
        An Optax transformation.
    """
    name, rate = settings["optimizer"], settings["learning_rate"]
    if name == "path-sgd":
        inputs = task.parts()["train"][0]
        shape = jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)
        return networks.path_sgd(rate, net, input_shape=shape)
    return {"sgd": optax.sgd, "adagrad": optax.adagrad, "adam": optax.adam}[name](rate)


def checksum(task: AbstractTask) -> int:
    """A number that tells one data set from another.

    Args:
        task: the data.

    Returns:
        A checksum of all its arrays.
    """
    total = 0
    for array in jax.tree.leaves(task):
        total = zlib.crc32(np.asarray(array).tobytes(), total)
    return total


def header() -> str:
    """The names of the columns of a measurement."""
    names = ("step", "loss", "error", "test loss", "test error", "path norm", "l2 norm")
    return " ".join(f"{name:>10}" for name in names)


def row(record: dict[str, float]) -> str:
    """One measurement as a line."""
    return " ".join(f"{record[name]:>10.5g}" for name in _COLUMNS)


def write_curves(path: Path, curves: list[dict[str, float]]) -> None:
    """Writes the measurements as a table.

    Args:
        path: the file.
        curves: the measurements.
    """
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: repr(record[name]) for name in _COLUMNS} for record in curves)
    networks.write_atomically(path, table.getvalue().encode())
