"""Weights as large as one likes, the same function, the same path-norm."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .._random import normal
from ..networks import MLP, path_norm
from ..plotting._style import COLORS, figure
from ._finish import conclude, finish
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "Weights into hidden units times c and weights out of them divided by c: the l2 norm of the "
    "weights grows without bound, while the function and its path-norms do not change."
)
HYPOTHESES = "ReLU units; every hidden unit is rescaled, every other one by 1/c instead of c."
SOURCE = "Neyshabur, Salakhutdinov, Srebro, Path-SGD (2015); talks show factors 100 and 0.01."

# Hidden units in each of two layers, and the logarithms of c to base ten.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 8, "log10_factors": (0, 1, 2)},
    "quick": {"width": 256, "log10_factors": tuple(0.25 * k for k in range(17))},
    "full": {"width": 4000, "log10_factors": tuple(0.25 * k for k in range(17))},
}
# The largest width whose weights are kept.
_SHOWN = 64


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    width: int | None = None,
    log10_factors: Sequence[float | int] | None = None,
) -> "xarray.Dataset":
    """Rescales the hidden units of one network by larger and larger factors.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of the network and of the inputs.
        width: hidden units in each of two layers.
        log10_factors: the logarithms of c, within -50 ... 50.

    Returns:
        Norms, and the largest change of an output relative to the largest output, over c; weights
        before the rescaling, of a network of 64 hidden units a layer or fewer.
    """
    import xarray

    given = {"width": width, "log10_factors": log10_factors}
    least, most = {"width": 1, "log10_factors": -50}, {"log10_factors": 50}
    size = sizes(SETTINGS, setting, given, least=least, most=most, seed=seed)
    start, draw = jax.random.split(jax.random.key(seed))
    network = MLP((64, size["width"], size["width"], 10), key=start)
    inputs = normal(draw, (100, 64))
    wanted = jax.vmap(network)(inputs)

    @jax.jit
    def measure(factor: Any) -> dict[str, Any]:
        moved = network
        for layer in network.hidden_units():
            signs = 1 - 2 * (jnp.arange(layer.size) % 2)
            moved = layer.rescale(moved, factor ** signs.astype(wanted.dtype))
        weights = [layer.weight for layer in moved.layers]
        change = jnp.abs(jax.vmap(moved)(inputs) - wanted)
        return {
            "l2_norm": jnp.sqrt(sum(jnp.sum(jnp.square(weight)) for weight in weights)),
            "path_norm_1": path_norm(moved, 1),
            "path_norm_2": path_norm(moved, 2),
            "change_of_outputs": jnp.max(change) / jnp.max(jnp.abs(wanted)),
        }

    # Small ones alone: those of 4000 units fill 100 MB.
    shown = network.layers if size["width"] <= _SHOWN else ()
    factors = 10.0 ** np.array(size["log10_factors"], float)
    rows = [measure(jnp.asarray(factor, wanted.dtype)) for factor in factors]
    ds = xarray.Dataset(
        {name: ("factor", np.array([float(row[name]) for row in rows])) for name in rows[0]}
        | {
            f"weight_{k}": ((f"units_{k}", f"units_{k - 1}"), np.asarray(layer.weight))
            for k, layer in enumerate(shown, start=1)
        },
        coords={"factor": factors},
        attrs={"width": size["width"], "dtype": str(wanted.dtype)},
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    changes = {
        name: float(np.ptp(ds[name].values) / ds[name].values[0])
        for name in ("path_norm_1", "path_norm_2")
    }
    output, growth = float(ds.change_of_outputs.max()), float(ds.l2_norm.max() / ds.l2_norm[0])
    # Sums of some thousand positive terms, each rounded: far below a thousand roundings.
    rounding = 1000 * float(jnp.finfo(ds.attrs["dtype"]).eps)
    # Not a number where the network is zero on all inputs, of which nothing can be said.
    most = float(np.max([*changes.values(), output]))
    known = growth >= 3 and not np.isnan(most)
    outcome = "undecided" if not known else "holds" if most < rounding else "fails"
    text = (
        f"Up to c = {float(ds.factor.max()):g} the l2 norm grows {growth:.3g} times; relative "
        f"changes: path-norm {changes['path_norm_1']:.1g} (p = 1) and "
        f"{changes['path_norm_2']:.1g} (p = 2), outputs {output:.1g}; {rounding:.1g} is rounding."
    )
    # An infinite change of the outputs is one; what is missing is what is not a number.
    numbers = {"change_of_outputs": np.nan_to_num(ds.change_of_outputs, nan=np.nan, posinf=1.0)}
    return conclude(outcome, text, numbers | {**ds[["path_norm_1", "path_norm_2", "l2_norm"]]})


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws the norms against c.

    Args:
        ds: what `run` returned.

    Returns:
        The figure.
    """
    with figure() as (fig, axis):
        for name, label, color, marker in (
            ("l2_norm", r"$\ell_2$ norm of the weights", COLORS[1], "o"),
            ("path_norm_1", r"path-norm $\phi_1$", COLORS[2], "s"),
            ("path_norm_2", r"path-norm $\phi_2$", COLORS[0], "x"),
        ):
            line = axis.plot(ds.factor, ds[name] / ds[name][0], color=color, label=label)[0]
            line.set(marker=marker, fillstyle="none", markersize=9)
        axis.set(xscale="log", yscale="log", ylabel=r"norm, relative to $c = 1$")
        axis.set_xlabel(r"factor $c$: into a hidden unit times $c$, out of it divided by $c$")
        axis.legend()
    return fig
