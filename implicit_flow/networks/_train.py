"""Training with any Optax optimizer, with curves and checkpoints."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key, PyTree

from .. import _checks
from .._compiled import compiled
from ._checkpoint import load_checkpoint, save_checkpoint
from ._mlp import squared_norm
from ._path_norm import path_norm
from ._support import support_report
from ._tasks import AbstractTask


Network = TypeVar("Network")
Record = dict[str, float]
CHECKPOINT = "checkpoint.eqx"


class Trained(eqx.Module, Generic[Network]):
    """A trained network and how it got there.

    Attributes:
        network: the network after the last step.
        curves: one record for each measurement: `step`, `train_loss`, `train_error`, `test_loss`,
            `test_error`, `path_norm` (nan where there is none) and `l2_norm`.
    """

    network: Network
    curves: list[Record]

    def curve(self, name: str) -> list[float]:
        """One measurement over time.

        Args:
            name: its name.

        Returns:
            Its values.
        """
        return [record[name] for record in self.curves]


def train(
    network: Network,
    task: AbstractTask,
    optimizer: optax.GradientTransformation,
    *,
    key: Key[Array, ""],
    num_steps: int,
    rate: float = 1.0,
    batch_size: int = 100,
    measure_every: int | None = None,
    folder: Path | None = None,
    settings: dict[str, Any] | None = None,
    on_start: Callable[[int], None] = lambda step: None,
    on_record: Callable[[Record], None] = lambda record: None,
    stop: Callable[[Record], bool] = lambda record: False,
) -> Trained[Network]:
    """Trains a network.

    The batch of each step depends on `key` and on the step's number only. A run that is killed and
    started again with the same arguments goes on from its checkpoint and gives the same numbers.

    Args:
        network: a network called as `network(example, key=key)`.
        task: what it is trained on.
        optimizer: any Optax optimizer.
        key: a random key, for batches and dropout.
        num_steps: the number of steps.
        rate: multiplies every update, so that one compiled program serves many step sizes.
        batch_size: the number of examples in a batch.
        measure_every: the number of steps between measurements and checkpoints; a tenth of all
            steps if None.
        folder: where the checkpoint is kept; no checkpoint if None.
        settings: what the checkpoint must agree with when a run goes on from it.
        on_start: called once, with the number of steps that a checkpoint holds already.
        on_record: called with each measurement.
        stop: given a measurement, whether to end the run there.

    Returns:
        The trained network and its curves.

    Raises:
        ValueError: if the folder holds the checkpoint of a run with other settings, or a damaged
            one.
    """
    _checks.at_least(num_steps, "num_steps", 0)
    _checks.at_least(batch_size, "batch_size", 1)
    if measure_every is not None:
        _checks.at_least(measure_every, "measure_every", 1)
    every = max(1, num_steps // 10) if measure_every is None else measure_every
    params, rest = eqx.partition(network, eqx.is_inexact_array)
    state = optimizer.init(params)
    done, curves = 0, []
    header = {"settings": settings or {}}
    if folder is not None and (folder / CHECKPOINT).exists():
        found, (params, state) = load_checkpoint(
            folder / CHECKPOINT,
            (params, state),
            check=lambda found: _require_same(found["settings"], header["settings"], folder),
        )
        done, curves = found["step"], found["curves"]
        on_start(done)
    else:
        on_start(0)
        # Donated arrays are lost to their owner, so the first ones are copies.
        params = jax.tree.map(jnp.copy, params)
        curves.append(_record(0, eqx.combine(params, rest), task))
        on_record(curves[-1])
    dtype = jax.tree.leaves(params)[0].dtype
    length = num_steps * sum(leaf.size for leaf in jax.tree.leaves(params))
    advance = _advance_soon if length <= _SHORT else _advance
    while done < num_steps and not stop(curves[-1]):
        count = min(every, num_steps - done)
        numbers = (jnp.asarray(done, jnp.int32), jnp.asarray(count, jnp.int32))
        fixed = (task, key, jnp.asarray(rate, dtype), rest, optimizer, batch_size)
        params, state = advance((*numbers, *fixed), params, state)
        done += count
        curves.append(_record(done, eqx.combine(params, rest), task))
        on_record(curves[-1])
        if folder is not None:
            progress = {**header, "step": done, "curves": curves}
            save_checkpoint(folder / CHECKPOINT, progress, (params, state))
    return Trained(eqx.combine(params, rest), curves)


# One program serves all runs of one shape: what differs between them (data, keys, step sizes and
# the numbers of the steps) are arguments.
def _steps(inputs: Any, params: PyTree, state: PyTree) -> tuple[PyTree, PyTree]:
    start, count, task, key, rate, rest, optimizer, batch_size = inputs

    def step(index: Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        params, state = carry
        grads = _gradient(params, rest, task, jax.random.fold_in(key, index), batch_size)
        updates, state = optimizer.update(grads, state, params)
        updates = jax.tree.map(lambda update: rate.astype(update.dtype) * update, updates)
        return optax.apply_updates(params, updates), state

    return jax.lax.fori_loop(start, start + count, step, (params, state))


_advance = eqx.filter_jit(_steps, donate="all-except-first")
# Compiles in two thirds of the time, and takes up to a fifth longer for each step.
_advance_soon = compiled(_steps, donate="all-except-first")
# Steps times parameters up to which that is worth it. Measured with 1.8 million parameters: 0.35 s
# less to compile, and 0.5 to 3 ms more for a step.
_SHORT = 3e8


def _gradient(
    params: PyTree, rest: PyTree, task: AbstractTask, key: Key[Array, ""], batch_size: int
) -> PyTree:
    batch_key, dropout_key = jax.random.split(key)
    inputs, targets = task.batch(batch_key, batch_size)
    keys = jax.random.split(dropout_key, batch_size)

    def loss(params: PyTree) -> Array:
        network = eqx.combine(params, rest)
        outputs = jax.vmap(lambda x, key: network(x, key=key))(inputs, keys)
        return jnp.mean(jax.vmap(task.loss)(outputs, targets))

    return jax.grad(loss)(params)


def _record(step: int, network: Any, task: AbstractTask) -> Record:
    return {"step": float(step), **{name: float(x) for name, x in _measure(network, task).items()}}


@compiled
def _measure(network: Any, task: AbstractTask) -> dict[str, Array]:
    """Losses, errors and norms; in batches, so that a large network fits."""

    def one(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        outputs = network(pair[0])
        return task.loss(outputs, pair[1]), task.mistakes(outputs, pair[1])

    values = {}
    for name, pairs in task.parts().items():
        losses, wrong = jax.lax.map(one, pairs, batch_size=250)
        values |= {f"{name}_loss": jnp.mean(losses), f"{name}_error": jnp.mean(wrong)}
    example = task.parts()["train"][0]
    shape = jax.ShapeDtypeStruct(example.shape[1:], example.dtype)
    has_norm = support_report(network, input_shape=shape).supported
    values["path_norm"] = path_norm(network, input_shape=shape) if has_norm else jnp.nan
    return {**values, "l2_norm": jnp.sqrt(squared_norm(network))}


def diverged(record: Record) -> bool:
    """Whether a run is lost: its loss is no number any more.

    Args:
        record: a measurement.

    Returns:
        True where the training loss is infinite or nan.
    """
    return not math.isfinite(record["train_loss"])


def _require_same(found: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    for name in sorted({*found, *wanted}):
        if found.get(name) != wanted.get(name):
            raise ValueError(
                f"Argument `folder` must hold a checkpoint of the same run, but {folder} holds one "
                f"with {name} = {found.get(name)!r} instead of {wanted.get(name)!r}. Pass another "
                "folder, or remove this one to start again."
            )
