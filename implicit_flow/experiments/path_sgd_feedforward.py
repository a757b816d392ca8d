"""Path-SGD does not see how a network is balanced; SGD and AdaGrad do."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .. import _checks
from ..networks import MLP, ImageTask, Trained, path_sgd, rescale, train
from ..plotting._style import COLORS, figure
from ._finish import conclude, finish
from ._images import images
from ._sizes import sizes
from ._step_size import choose_step_size


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "Without dropout, the training curves of Path-SGD from a balanced start and from the same "
    "network with rescaled hidden units coincide; those of SGD and AdaGrad do not."
)
HYPOTHESES = (
    "Fully connected ReLU networks; both starts compute the same function; batches are the same. "
    "The coincidence is exact in exact arithmetic."
)
SOURCE = "Neyshabur, Salakhutdinov, Srebro, Path-SGD (2015), figure 2."

# Width, steps, exponents a of the step sizes 10^-a to begin with, and training images used.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 16, "num_steps": 20, "exponents": (0, 1), "dropouts": (0.0,), "limit": 300},
    "quick": {
        "width": 64,
        "num_steps": 300,
        "exponents": (0, 1, 2),
        "dropouts": (0.0, 0.5),
        "limit": 10_000,
    },
    "full": {
        "width": 4000,
        "num_steps": 30_000,
        "exponents": tuple(float(a) for a in range(-1, 6)),
        "dropouts": (0.0, 0.5),
    },
}
_OPTIMIZERS = ("sgd", "adagrad", "path-sgd")
_STARTS = ("balanced", "unbalanced")
_MEASURES = ("train_loss", "train_error", "test_error", "path_norm", "l2_norm")


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    data: str = "digits",
    data_dir: str | Path | None = None,
    width: int | None = None,
    num_steps: int | None = None,
    exponents: Sequence[float | int] | None = None,
    dropouts: Sequence[float | int] | None = None,
    limit: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> "xarray.Dataset":
    """Trains every combination of optimizer, start and dropout.

    The step size of each is the one of 10^-a with the lowest error on held-out training images
    (their loss, among equals) after a third of the steps. The grid of a is extended until the best
    is not at its end, up to `MOST_TRIED` values.

    Args:
        setting: "tiny", "quick" or "full" (as published).
        seed: for the start, the rescaling and the batches.
        data: "digits", "mnist" or "cifar10".
        data_dir: where MNIST or CIFAR-10 is.
        width: hidden units in each of the two layers.
        num_steps: steps of training.
        exponents: the exponents a to begin with, within -12 ... 12.
        dropouts: dropout probabilities.
        limit: the number of training images to use.
        say: called with lines of progress.

    Returns:
        Curves over optimizer, start, dropout and step, and the step sizes chosen.
    """
    import xarray

    given = {
        "width": width,
        "num_steps": num_steps,
        "exponents": exponents,
        "dropouts": dropouts,
        "limit": limit,
    }
    least = {"width": 1, "num_steps": 1, "limit": 10, "exponents": -12}
    size = sizes(SETTINGS, setting, given, least=least, most={"exponents": 12}, seed=seed)
    for dropout in size["dropouts"]:
        _checks.between(dropout, "dropouts", 0, 1)
    size["dropouts"] = tuple(float(dropout) for dropout in size["dropouts"])
    chosen = images(data, data_dir).first(size.get("limit"))
    steps = size["num_steps"]
    every = max(1, steps // 20)
    dtype = jnp.zeros(()).dtype
    whole = ImageTask(chosen, dtype=dtype)
    # A sixth of the training part, as 10,000 of the 60,000 of MNIST.
    trial = ImageTask(chosen.held_out(max(1, len(chosen.train_labels) // 6)), dtype=dtype)
    keys = jax.random.split(jax.random.key(seed), 3)
    cells = list(itertools.product(_OPTIMIZERS, _STARTS, size["dropouts"]))
    networks, optimizers = {}, {}
    for dropout in size["dropouts"]:
        layers = (chosen.train_inputs.shape[1], *2 * [size["width"]], chosen.num_classes)
        network = MLP(layers, key=keys[0], dropout=dropout)
        networks["balanced", dropout] = network
        networks["unbalanced", dropout] = rescale(network, keys[1])
        # With step size one: `train` scales, so that all step sizes share a program.
        optimizers["path-sgd", dropout] = path_sgd(1.0, network)
        optimizers["sgd", dropout] = optax.sgd(1.0)
        optimizers["adagrad", dropout] = optax.adagrad(1.0)
    curves, rates, inside = {}, {}, {}
    for name, start, dropout in cells:
        network, optimizer = networks[start, dropout], optimizers[name, dropout]
        common = (network, optimizer, keys[2])
        choice = choose_step_size(
            lambda rate, common=common: _score(_train(trial, *common, rate, max(1, steps // 3))),
            size["exponents"],
        )
        rates[name, start, dropout], inside[name, start, dropout] = choice.rate, choice.is_inside
        found = _train(whole, *common, choice.rate, steps, every)
        curves[name, start, dropout] = found
        say(
            f"{name}, {start}, dropout {dropout:g}: step size {choice.rate:.3g}, "
            f"loss {found.curves[-1]['train_loss']:.3g} after {steps} steps"
        )
    shape = (len(_OPTIMIZERS), len(_STARTS), len(size["dropouts"]))
    axes = ("optimizer", "start", "dropout")
    variables: dict[str, Any] = {
        name: (
            (*axes, "step"),
            np.array([curves[cell].curve(name) for cell in cells]).reshape(*shape, -1),
        )
        for name in _MEASURES
    }
    for name, values in (("learning_rate", rates), ("is_inside", inside)):
        variables[name] = (axes, np.array([values[cell] for cell in cells]).reshape(shape))
    ds = xarray.Dataset(
        variables,
        coords={
            "optimizer": list(_OPTIMIZERS),
            "start": list(_STARTS),
            "dropout": list(size["dropouts"]),
            "step": curves[cells[0]].curve("step"),
        },
        attrs={"data": data, "width": size["width"], "num_steps": steps, "dtype": str(dtype)},
    )
    outcome = _outcome(ds, single=dtype == jnp.float32)
    return finish(ds, globals(), setting=setting, seed=seed, **outcome)


def _train(
    task: ImageTask,
    network: MLP,
    optimizer: Any,
    key: Any,
    rate: float,
    num_steps: int,
    measure_every: int | None = None,
) -> Trained:
    return train(
        network,
        task,
        optimizer,
        key=key,
        rate=rate,
        num_steps=num_steps,
        measure_every=measure_every or num_steps,
    )


def _score(trained: Trained) -> tuple[float, float]:
    """Held-out error, then loss; a run that left the numbers is worse than any other."""
    record = trained.curves[-1]
    if not np.isfinite(record["test_loss"]):
        return (np.inf, np.inf)
    return (record["test_error"], record["test_loss"])


def _outcome(ds: "xarray.Dataset", *, single: bool) -> dict[str, str]:
    losses = ds.train_loss.sel(dropout=0.0)
    gaps = {
        name: float(
            np.abs(
                losses.sel(optimizer=name, start="balanced")
                / losses.sel(optimizer=name, start="unbalanced")
                - 1
            ).max()
        )
        for name in _OPTIMIZERS
    }
    # Rounding grows along a training run; in float32 it starts nine digits higher.
    tolerance = 0.05 if single else 1e-4
    others = min(gaps["sgd"], gaps["adagrad"])
    if not np.isfinite(gaps["path-sgd"]):
        outcome = "undecided"
    else:
        outcome = "holds" if gaps["path-sgd"] < tolerance < others else "fails"
    text = "Largest relative distance of the two training curves (cross-entropy): " + ", ".join(
        f"{name} {gap:.2g}" for name, gap in gaps.items()
    )
    return conclude(outcome, f"{text}; tolerance {tolerance:g}.", {"train_loss": losses})


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws the training curves.

    Args:
        ds: what `run` returned.

    Returns:
        A figure with a panel for each dropout probability.
    """
    columns = ds.sizes["dropout"]
    colors = dict(zip(_OPTIMIZERS, (COLORS[1], COLORS[2], COLORS[0]), strict=True))
    names = {"sgd": "SGD", "adagrad": "AdaGrad", "path-sgd": "Path-SGD"}
    with figure(1, columns, width=6.0 * columns + 2.0) as (fig, axes):
        for axis, dropout in zip(np.atleast_1d(axes), ds.dropout.values, strict=True):
            for name, start in itertools.product(_OPTIMIZERS, _STARTS):
                curve = ds.train_loss.sel(optimizer=name, start=start, dropout=dropout)
                # The unbalanced one is drawn over the balanced one, and lets it show through.
                style = {"balanced": ("-", 4.5, 0.45), "unbalanced": ("--", 1.8, 1.0)}[start]
                line = axis.plot(ds.step, curve, color=colors[name])[0]
                line.set(linestyle=style[0], linewidth=style[1], alpha=style[2])
                line.set_label(f"{names[name]}, {start}")
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.set(yscale="log", xlabel="step", title=f"{ds.attrs['data']}, dropout {dropout:g}")
        np.atleast_1d(axes)[0].set_ylabel("training cross-entropy")
        handles = np.atleast_1d(axes)[0].get_legend_handles_labels()[0]
        fig.legend(handles=handles, loc="outside lower center", ncols=3)
    return fig
