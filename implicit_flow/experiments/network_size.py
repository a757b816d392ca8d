"""Wider networks, all trained to zero training error, do not test worse."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..networks import MLP, ImageTask, cifar10, digits, mnist, train
from ._finish import finish


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "Beyond the width that reaches zero training error, the test error of a network with one "
    "hidden layer goes on falling, or stays, as the width grows."
)
HYPOTHESES = "One hidden layer of ReLU units, no explicit regularization, SGD with momentum."
SOURCE = "Neyshabur, Tomioka, Srebro, In search of the real inductive bias (2015), figure 1."

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"widths": (4, 32), "num_steps": 60, "seeds": 1, "limit": 200},
    "quick": {
        "widths": tuple(2**k for k in range(3, 13)),
        "num_steps": 6000,
        "seeds": 3,
        "limit": 10_000,
    },
    "full": {
        "widths": tuple(2**k for k in range(3, 13)),
        "num_steps": 200_000,
        "seeds": 5,
        "limit": 60_000,
    },
}
_MEASURES = ("train_error", "test_error", "path_norm", "l2_norm", "step")


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    data: str = "digits",
    data_dir: str | Path | None = None,
    widths: Sequence[int] | None = None,
    num_steps: int | None = None,
    seeds: int | None = None,
    limit: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> "xarray.Dataset":
    """Trains one network for each width and seed until it makes no training error.

    Args:
        setting: "tiny", "quick" or "full".
        seed: the first seed.
        data: "digits", "mnist" or "cifar10".
        data_dir: where MNIST or CIFAR-10 is.
        widths: numbers of hidden units.
        num_steps: the largest number of steps.
        seeds: the number of seeds.
        limit: the number of training images to use.
        say: called with lines of progress.

    Returns:
        Errors and norms at the end, over width and seed.
    """
    import xarray

    sizes = dict(SETTINGS[setting])
    given = {"widths": widths, "num_steps": num_steps, "seeds": seeds, "limit": limit}
    sizes |= {name: value for name, value in given.items() if value is not None}
    loaders: dict[str, Any] = {"mnist": mnist, "cifar10": cifar10}
    images = digits() if data == "digits" else loaders[data](data_dir)
    images = images.flat().first(sizes["limit"])
    task = ImageTask(images, num_measured=len(images.train_labels))
    results = []
    optimizer = optax.sgd(0.05, momentum=0.9)
    for width in sizes["widths"]:
        for number in range(sizes["seeds"]):
            start, batches = jax.random.split(jax.random.key(seed + number))
            network = MLP(
                (images.train_inputs.shape[1], width, images.num_classes),
                key=start,
                dtype=jnp.float32,
            )
            trained = train(
                network,
                task,
                optimizer,
                key=batches,
                num_steps=sizes["num_steps"],
                measure_every=max(1, sizes["num_steps"] // 20),
                stop=lambda record: record["train_error"] == 0.0,
            )
            results.append([trained.curves[-1][name] for name in _MEASURES])
        error = np.mean([row[1] for row in results[-sizes["seeds"] :]])
        say(f"width {width}: test error {error:.4f}")
    table = np.array(results).reshape(len(sizes["widths"]), sizes["seeds"], -1)
    names = ("train_error", "test_error", "path_norm", "l2_norm", "num_steps")
    ds = xarray.Dataset(
        {name: (("width", "seed"), table[..., k]) for k, name in enumerate(names)},
        coords={"width": list(sizes["widths"]), "seed": seed + np.arange(sizes["seeds"])},
        attrs={"data": data, "num_images": len(images.train_labels)},
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    fitted = (ds.train_error == 0.0).all("seed")
    if int(fitted.sum()) < 2:
        text = "Fewer than two widths reached zero training error in every run."
        return {"outcome": "undecided", "outcome_text": text}
    inside = ds.where(fitted, drop=True)
    mean = inside.test_error.mean("seed")
    first, last, best = float(mean[0]), float(mean[-1]), float(mean.min())
    # One image more or less, or the scatter between seeds, is no trend.
    spread = float(inside.test_error.std("seed").max())
    outcome = "holds" if last <= first + spread else "fails"
    text = (
        f"Zero training error from width {int(inside.width[0])} on; test error there {first:.4f}, "
        f"at width {int(inside.width[-1])} {last:.4f} (lowest {best:.4f}, spread over seeds "
        f"{spread:.4f}); path-norm {float(inside.path_norm.mean('seed')[0]):.3g} -> "
        f"{float(inside.path_norm.mean('seed')[-1]):.3g}, l2 norm "
        f"{float(inside.l2_norm.mean('seed')[0]):.3g} -> "
        f"{float(inside.l2_norm.mean('seed')[-1]):.3g}."
    )
    return {"outcome": outcome, "outcome_text": text}


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws errors and norms against width.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of two panels.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    pairs = (
        (left, "train_error", "#8A8A8A"),
        (left, "test_error", "#0072B2"),
        (right, "path_norm", "#D55E00"),
        (right, "l2_norm", "#009E73"),
    )
    for axis, name, color in pairs:
        values = ds[name]
        axis.plot(ds.width, values.mean("seed"), "o-", color=color, label=name.replace("_", " "))
        axis.fill_between(ds.width, values.min("seed"), values.max("seed"), color=color, alpha=0.2)
        axis.set(xscale="log", xlabel="width")
        axis.legend()
    left.set_title(ds.attrs["data"])
    return figure
