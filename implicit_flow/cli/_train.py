"""`implicit-flow train`: a network, a data set, an optimizer, and the curves that they give."""

import enum
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from .._checks import refuse


class NetworkName(enum.StrEnum):
    """The networks that can be trained."""

    mlp = "mlp"
    conv = "conv"
    rnn = "rnn"
    lstm = "lstm"


class DataName(enum.StrEnum):
    """The data sets that can be trained on."""

    digits = "digits"
    mnist = "mnist"
    cifar10 = "cifar10"
    text = "text"


class OptimizerName(enum.StrEnum):
    """The optimizers that can be compared."""

    sgd = "sgd"
    path_sgd = "path-sgd"
    adagrad = "adagrad"
    adam = "adam"


class InitName(enum.StrEnum):
    """The starts that can be compared."""

    balanced = "balanced"
    unbalanced = "unbalanced"


# Steps that train the networks of default size; Path-SGD's are in units of its own geometry.
_RATES = {"sgd": 0.1, "path-sgd": 1.0, "adagrad": 0.01, "adam": 0.001}


def train(
    *,
    network: Annotated[NetworkName, typer.Option(help="What to train.")] = NetworkName.mlp,
    data: Annotated[DataName, typer.Option(help="What to train it on.")] = DataName.digits,
    data_dir: Annotated[
        Path | None, typer.Option(help="The folder with the data; digits need none.")
    ] = None,
    optimizer: Annotated[
        OptimizerName, typer.Option(help="How to train it.")
    ] = OptimizerName.path_sgd,
    init: Annotated[
        InitName, typer.Option(help="The start: balanced, or with rescaled hidden units.")
    ] = InitName.balanced,
    learning_rate: Annotated[
        float | None, typer.Option(help="The step size; a value for each optimizer if left out.")
    ] = None,
    dropout: Annotated[
        float,
        typer.Option(min=0.0, max=0.95, help="Probability of dropping a hidden unit (mlp, conv)."),
    ] = 0.0,
    width: Annotated[int, typer.Option(min=1, help="Hidden units in a layer, or channels.")] = 128,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Hidden layers of mlp and conv. (default: 2)")
    ] = None,
    length: Annotated[
        int | None, typer.Option(min=2, help="Characters in a sequence of text. (default: 50)")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training.")] = 1000,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples in a batch.")] = 100,
    measure_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between measurements and checkpoints.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Start, batches and dropout.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(help="The folder for curves and checkpoint; none if left out.")
    ] = None,
) -> None:
    """Train a network, with curves; started again after a kill, it goes on.

    The curves hold cross-entropy and 0/1 error on training and test data, the path-norm and the
    l2 norm. With `--out`, they are in `curves.csv`, and a run that was interrupted goes on from its
    checkpoint when the same command is given again, with the same numbers.
    """
    import jax
    from rich.console import Console

    from ..networks import diverged, train as run
    from ._train_folder import training_folder
    from ._train_parts import (
        build_network,
        build_optimizer,
        build_task,
        checksum,
        header,
        row,
        write_curves,
    )

    rate = _RATES[optimizer] if learning_rate is None else learning_rate
    if not 0 < rate < math.inf:
        refuse("--learning-rate", "be positive", f"is {rate}", "Pass a step size such as 0.1.")
    _refuse_unused(network, data, data_dir=data_dir, dropout=dropout, depth=depth, length=length)
    if (network, optimizer) == ("lstm", "path-sgd"):
        refuse(
            "--optimizer",
            "be sgd, adagrad or adam with --network lstm",
            "is path-sgd",
            "A network with gates has no path-norm.",
        )
    settings: dict[str, Any] = {
        "network": str(network),
        "data": str(data),
        "optimizer": str(optimizer),
        "init": str(init),
        "learning_rate": rate,
        "dropout": dropout,
        "width": width,
        "depth": 2 if depth is None else depth,
        "length": 50 if length is None else length,
        "batch_size": batch_size,
        "measure_every": measure_every or max(1, steps // 10),
        "seed": seed,
    }
    start, batches = jax.random.split(jax.random.key(seed))
    task = build_task(settings, data_dir)
    net = build_network(settings, task, start)
    tuned = build_optimizer(settings, net, task)
    console = Console(highlight=False)
    console.print(f"{network} on {data}, {optimizer} with step size {rate:g}, {init} start")
    with training_folder(out):
        result = run(
            net,
            task,
            tuned,
            key=batches,
            num_steps=steps,
            batch_size=batch_size,
            measure_every=settings["measure_every"],
            folder=out,
            # The numbers of a run that goes on are the same only on the same data.
            settings={**settings, "checksum of the data": checksum(task)},
            on_start=lambda step: console.print(
                (f"Going on from step {step}.\n" if step else "") + header()
            ),
            on_record=lambda record: console.print(row(record)),
        )
        if out is not None:
            write_curves(out / "curves.csv", result.curves)
            console.print(f"The curves are in {out / 'curves.csv'}.")
    if diverged(result.curves[-1]):
        console.print("The run diverged. Try a smaller --learning-rate.")


def _refuse_unused(
    network: str,
    data: str,
    *,
    data_dir: Path | None,
    dropout: float,
    depth: int | None,
    length: int | None,
) -> None:
    """Refuses what would be ignored: whoever gives it believes that it matters."""
    if data == "digits" and data_dir is not None:
        refuse(
            "--data-dir",
            "be left out with --data digits",
            f"is {data_dir}",
            "The digits come with scikit-learn; for files pass --data mnist, cifar10 or text.",
        )
    if length is not None and data != "text":
        refuse("--length", "be left out unless --data is text", f"is {length}")
    if network in ("rnn", "lstm"):
        if depth is not None:
            refuse("--depth", f"be left out with --network {network}", f"is {depth}")
        if dropout:
            refuse(
                "--dropout",
                f"be left out with --network {network}",
                f"is {dropout}",
                "Only mlp and conv drop units.",
            )
