"""Wider networks, all trained to zero training error, do not test worse."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..networks import MLP, ImageTask, train
from ..plotting._style import COLORS, GRAY, figure
from ._finish import conclude, finish
from ._images import images
from ._sizes import sizes


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
        "widths": tuple(2**k for k in range(3, 11)),
        "num_steps": 3000,
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

    given = {"widths": widths, "num_steps": num_steps, "seeds": seeds, "limit": limit}
    size = sizes(SETTINGS, setting, given, least=dict.fromkeys(given, 1), seed=seed)
    chosen = images(data, data_dir).first(size["limit"])
    task = ImageTask(chosen, num_measured=len(chosen.train_labels))
    results = []
    optimizer = optax.sgd(0.05, momentum=0.9)
    for width in size["widths"]:
        for number in range(size["seeds"]):
            start, batches = jax.random.split(jax.random.key(seed + number))
            network = MLP(
                (chosen.train_inputs.shape[1], width, chosen.num_classes),
                key=start,
                dtype=jnp.float32,
            )
            trained = train(
                network,
                task,
                optimizer,
                key=batches,
                num_steps=size["num_steps"],
                measure_every=max(1, size["num_steps"] // 20),
                stop=lambda record: record["train_error"] == 0.0,
            )
            results.append([trained.curves[-1][name] for name in _MEASURES])
        error = np.mean([row[1] for row in results[-size["seeds"] :]])
        say(f"width {width}: test error {error:.4f}")
    table = np.array(results).reshape(len(size["widths"]), size["seeds"], -1)
    names = ("train_error", "test_error", "path_norm", "l2_norm", "num_steps")
    ds = xarray.Dataset(
        {name: (("width", "seed"), table[..., k]) for k, name in enumerate(names)},
        coords={"width": list(size["widths"]), "seed": seed + np.arange(size["seeds"])},
        attrs={"data": data, "num_images": len(chosen.train_labels)},
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
    return conclude(outcome, text, ds[["train_error", "test_error"]])


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws errors and norms against width.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of two panels.
    """
    pairs = (
        (0, "test_error", COLORS[0], "o", "test error"),
        (0, "train_error", GRAY, "s", "training error"),
        (1, "l2_norm", COLORS[1], "o", r"$\ell_2$ norm of the weights"),
        (1, "path_norm", COLORS[2], "s", r"path-norm $\phi_2$"),
    )
    with figure(1, 2, width=11.0) as (fig, axes):
        for panel, name, color, marker, label in pairs:
            axis, values = axes[panel], ds[name]
            axis.plot(ds.width, values.mean("seed"), color=color, marker=marker, label=label)
            low, high = values.min("seed"), values.max("seed")
            axis.fill_between(ds.width, low, high, color=color, alpha=0.2, linewidth=0)
            axis.set_xscale("log", base=2)
            axis.set_xlabel("hidden units $H$")
            axis.legend()
        axes[0].set(ylabel="0/1 error", title=f"{ds.attrs['data']}: errors")
        axes[1].set(ylabel="norm", yscale="log", title="norms")
    return fig
