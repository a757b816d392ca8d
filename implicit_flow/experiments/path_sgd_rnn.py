"""How much of the gap between a plain recurrent network and an LSTM Path-SGD bridges."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .. import _checks
from ..networks import (
    LSTM,
    RNN,
    AbstractTask,
    AddingTask,
    ImageTask,
    TextTask,
    digits,
    mnist,
    path_sgd,
    text,
    train,
)
from ..plotting._style import COLORS, GRAY, figure
from ._data_folder import check_folder
from ._finish import conclude, finish
from ._sizes import sizes
from ._step_size import StepSize, choose_step_size


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "With Path-SGD a plain ReLU network in time comes closer to an LSTM than with SGD: on "
    "characters it bridges about half of the gap."
)
HYPOTHESES = (
    "Equal width and equal numbers of steps; clipping and step sizes chosen alike; plain networks "
    "without biases, unless asked for. Published on Penn Treebank and text8 (57% and 53% of the "
    "gap); other texts are other experiments."
)
SOURCE = "Neyshabur, Wu, Salakhutdinov, Srebro, Path-normalized optimization of RNNs (2016)."

# Width, steps, exponents a of the step sizes 10^-a to begin with, number of seeds, and length.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 8, "num_steps": 12, "exponents": (1, 2), "seeds": 2, "length": 8},
    "quick": {
        "width": 32,
        "num_steps": 600,
        "exponents": (-0.5, 0, 0.5),
        "seeds": 3,
        "length": 10,
    },
    "full": {
        "width": 512,
        "num_steps": 40_000,
        "exponents": (-0.5, 0, 0.5),
        "seeds": 3,
        "length": 50,
    },
}
_METHODS = ("rnn sgd", "rnn path-sgd", "lstm sgd")


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    task: str = "adding",
    data_dir: str | Path | None = None,
    width: int | None = None,
    num_steps: int | None = None,
    exponents: Sequence[float | int] | None = None,
    seeds: int | None = None,
    length: int | None = None,
    use_bias: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> "xarray.Dataset":
    """Trains the three methods on one task, with several seeds.

    All methods are treated alike: batches of 32, gradients clipped at norm one, and the step size
    10^-a with the lowest held-out loss, on average over the seeds, after a third of the steps. The
    grid of a is extended until the best is not at its end, up to `MOST_TRIED` values. What is
    reported is measured on other data than what step sizes are chosen on (adding: on the same
    distribution).

    Args:
        setting: "tiny", "quick" or "full".
        seed: the first seed.
        task: "adding", "digits" or "mnist" (row by row), or "text" (the next character).
        data_dir: where MNIST or the text is.
        width: hidden units.
        num_steps: steps of training.
        exponents: the exponents a to begin with, within -12 ... 12.
        seeds: the number of seeds.
        length: the length of a sequence (adding, text).
        use_bias: whether the plain networks have biases.
        say: called with lines of progress.

    Returns:
        Held-out losses and errors over model, seed and step, and what was tried to choose step
        sizes.
    """
    import xarray

    given = {
        "width": width,
        "num_steps": num_steps,
        "exponents": exponents,
        "seeds": seeds,
        "length": length,
    }
    counts = ("width", "num_steps", "seeds", "length")
    least = dict.fromkeys(counts, 1) | {"exponents": -12}
    size = sizes(SETTINGS, setting, given, least=least, most={"exponents": 12}, seed=seed)
    _checks.instance(use_bias, "use_bias", bool)
    size["use_bias"] = use_bias
    steps, numbers = size["num_steps"], range(seed, seed + size["seeds"])
    tuned_on, measured_on = _tasks(task, data_dir, size["length"])
    unit = 1 / math.log(2) if task == "text" else 1.0
    chosen: dict[str, StepSize] = {}
    runs: dict[str, list[list[dict[str, float]]]] = {}
    for method in _METHODS:
        chosen[method], runs[method] = _compete(method, tuned_on, measured_on, size, numbers)
        final = unit * np.mean([records[-1]["test_loss"] for records in runs[method]])
        say(
            f"{method}: step size {chosen[method].rate:.3g} of {len(chosen[method].scores)} tried, "
            f"{final:.4g} after {steps} steps"
        )
    tried = sorted({a for choice in chosen.values() for a in choice.scores}, reverse=True)
    scores = [[chosen[m].scores.get(a, math.nan) for a in tried] for m in _METHODS]
    ds = xarray.Dataset(
        {
            "test_loss": (("model", "seed", "step"), unit * _values(runs, "test_loss")),
            "test_error": (("model", "seed", "step"), _values(runs, "test_error")),
            "learning_rate": ("model", np.array([chosen[m].rate for m in _METHODS])),
            "is_inside": ("model", np.array([chosen[m].is_inside for m in _METHODS])),
            "tuning_loss": (("model", "tried"), unit * np.array(scores)),
        },
        coords={
            "model": list(_METHODS),
            "seed": list(numbers),
            "step": _values(runs, "step")[0, 0],
            "tried": [10.0**-a for a in tried],
        },
        attrs={
            "task": task,
            "unit": "bits per character" if task == "text" else "held-out loss",
            **{name: size[name] for name in ("width", "num_steps", "length")},
            "use_bias": int(use_bias),
        },
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _values(runs: dict[str, list[list[dict[str, float]]]], name: str) -> np.ndarray:
    return np.array([[[record[name] for record in one] for one in runs[m]] for m in _METHODS])


def _compete(
    method: str,
    tuned_on: AbstractTask,
    measured_on: AbstractTask,
    size: dict[str, Any],
    numbers: Sequence[int],
) -> tuple[StepSize, list[list[dict[str, float]]]]:
    """Chooses the step size of a method, and trains with it: one run for each seed."""
    networks = [_network(method, tuned_on, size, number) for number in numbers]
    optimizer = _optimizer(method, networks[0], tuned_on)

    def curves(task: AbstractTask, rate: float, num_steps: int) -> list[list[dict[str, float]]]:
        return [
            _curves(network, task, optimizer, number, rate=rate, num_steps=num_steps)
            for network, number in zip(networks, numbers, strict=True)
        ]

    def score(rate: float) -> float:
        found = curves(tuned_on, rate, max(1, size["num_steps"] // 3))
        mean = sum(records[-1]["test_loss"] for records in found) / len(found)
        return mean if math.isfinite(mean) else math.inf

    choice = choose_step_size(score, size["exponents"])
    return choice, curves(measured_on, choice.rate, size["num_steps"])


def _tasks(name: str, folder: str | Path | None, length: int) -> tuple[AbstractTask, AbstractTask]:
    """What step sizes are chosen on, and what is reported."""
    check_folder("task", name, folder, bundled=("adding", "digits"), on_disk=("mnist", "text"))
    if name == "adding":
        return AddingTask(length), AddingTask(length)
    if name == "text":
        content = text(str(folder))
        return TextTask(content, length=length), TextTask(content, length=length, test=True)
    images = (digits() if folder is None else mnist(folder)).rows()
    return ImageTask(images.held_out(len(images.train_labels) // 6)), ImageTask(images)


def _network(method: str, task: AbstractTask, size: dict[str, Any], seed: int) -> Any:
    inputs, outputs = task.parts()["train"]
    tokens = isinstance(task, TextTask)
    num_inputs = int(jnp.max(task.tokens)) + 1 if tokens else inputs.shape[-1]
    num_outputs = num_inputs if tokens else 1
    if isinstance(task, ImageTask):
        num_outputs = int(jnp.max(outputs)) + 1
    start, _ = jax.random.split(jax.random.key(seed))
    options: dict[str, Any] = {"key": start, "last_only": not tokens, "dtype": jnp.float32}
    if method.startswith("lstm"):
        return LSTM(num_inputs, size["width"], num_outputs, **options)
    # The adding problem needs a start that remembers.
    options |= {"identity": isinstance(task, AddingTask), "use_bias": size["use_bias"]}
    return RNN(num_inputs, size["width"], num_outputs, **options)


def _optimizer(method: str, network: Any, task: AbstractTask) -> Any:
    """The optimizer with step size one: `train` scales, so that all sizes share a program."""
    clip = optax.clip_by_global_norm(1.0)
    if method != "rnn path-sgd":
        return optax.chain(clip, optax.sgd(1.0))
    inputs = task.parts()["train"][0]
    shape = jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)
    return optax.chain(clip, path_sgd(1.0, network, input_shape=shape))


def _curves(
    network: Any, task: AbstractTask, optimizer: Any, seed: int, *, rate: float, num_steps: int
) -> list[dict[str, float]]:
    _, batches = jax.random.split(jax.random.key(seed))
    return train(
        network,
        task,
        optimizer,
        key=batches,
        rate=rate,
        num_steps=num_steps,
        batch_size=32,
        measure_every=max(1, num_steps // 10),
    ).curves


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    final = ds.test_loss.isel(step=-1)
    mean = {method: float(final.sel(model=method).mean()) for method in _METHODS}
    spread = {method: float(final.sel(model=method).std(ddof=1)) for method in _METHODS}
    gap = mean["rnn sgd"] - mean["lstm sgd"]
    gain = mean["rnn sgd"] - mean["rnn path-sgd"]
    noise = spread["rnn sgd"] + spread["rnn path-sgd"]
    finite = all(math.isfinite(value) for value in (gap, gain, noise))
    text_ = f"{ds.attrs['unit']} on {ds.attrs['task']}: " + ", ".join(
        f"{method} {mean[method]:.4g} (spread {spread[method]:.1g})" for method in _METHODS
    )
    if not bool(ds.is_inside.all()):
        outcome = "undecided"
        text_ += "; the best step size tried is the last one tried"
    elif not finite or abs(gain) <= noise:
        outcome = "undecided"
    else:
        outcome = "holds" if gain > 0 else "fails"
    # A share of a gap that is within the spread is a share of nothing.
    if finite and gap > spread["rnn sgd"] + spread["lstm sgd"]:
        text_ += f"; Path-SGD bridges {100 * gain / gap:.0f}% of the gap to the LSTM"
    elif finite:
        text_ += "; the LSTM, trained by SGD too, is no better beyond the spread: no gap to bridge"
    return conclude(outcome, text_ + ".", {"test_loss at the end": final})


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """The last measurements, with step sizes.

    Args:
        ds: what `run` returned.

    Returns:
        Mean and spread over the seeds, for each model.
    """
    last = ds.isel(step=-1)
    spread = last.test_loss.std("seed", ddof=1) if ds.sizes["seed"] > 1 else 0 * last.learning_rate
    return last[["learning_rate", "is_inside"]].assign(
        test_loss=last.test_loss.mean("seed"),
        spread=spread,
        test_error=last.test_error.mean("seed"),
    )


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws held-out losses against steps, mean and range over seeds.

    Args:
        ds: what `run` returned.

    Returns:
        The figure.
    """
    names = {"rnn sgd": "RNN, SGD", "rnn path-sgd": "RNN, Path-SGD", "lstm sgd": "LSTM, SGD"}
    with figure() as (fig, axis):
        for method, color in zip(_METHODS, (COLORS[1], COLORS[0], GRAY), strict=True):
            curves = ds.test_loss.sel(model=method)
            axis.plot(ds.step, curves.mean("seed"), color=color, label=names[method])
            low, high = curves.min("seed"), curves.max("seed")
            axis.fill_between(ds.step, low, high, color=color, alpha=0.2, linewidth=0)
        axis.set(xlabel="step", ylabel=ds.attrs["unit"], yscale="log")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_title(f"{ds.attrs['task']}, {ds.attrs['width']} hidden units")
        axis.legend()
    return fig
