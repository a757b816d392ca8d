"""From how many measurements does each method recover a planted low-rank matrix?"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks
from .._side_by_side import side_by_side
from ..measurements import DenseMeasurement
from ..recovery import isometry
from ._finish import conclude, finish
from ._recovery_picture import draw
from ._recovery_thresholds import first_ratios, interval, thresholds
from ._recovery_trials import (
    FLOW,
    LOCAL,
    METHODS,
    RECOVERED,
    Planted,
    completion,
    errors,
    first,
    sensing,
)
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "A planted matrix of rank r is recovered from O(nr) Gaussian measurements by the convex "
    "relaxation, by a spectral start with gradient descent, by alternating minimization, by "
    "(noisy) gradient descent from a random start, and by factor flow as alpha goes to 0; below "
    "nr - r(r-1)/2 measurements by none. Where the restricted isometry constant delta_2r is below "
    "1/5 random starts cannot fail; methods succeed long before that."
)
HYPOTHESES = (
    "Symmetric Gaussian measurements, or entries, of X* = UU' with Gaussian U; no noise; the "
    "nonconvex methods know r, the convex one and the flow do not. Theorem: delta_2r < 1/5."
)
SOURCE = (
    "Recht, Fazel, Parrilo (2010); Jain, Netrapalli, Sanghavi (2013); Tu et al. (2016); "
    "Bhojanapalli, Neyshabur, Srebro (2016) for delta_2r < 1/5; Gunasekar et al. (2017)."
)

# ratios are m / (nr); rates are shares of the n (n + 1) / 2 entries; a last ratio, at which
# delta_2r < 1/5 is proved, is added to them.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "dim": 5,
        "ranks": (1,),
        "ratios": (0.6, 1.5, 3.0),
        "rates": (0.4, 1.0),
        "trials": 6,
        "num_steps": 1000,
        "methods": tuple(name for name in METHODS if name != FLOW),
    },
    "quick": {
        "dim": 8,
        "ranks": (1, 2, 3),
        "ratios": (0.7, 1.0, 1.25, 1.5, 2.0, 2.5, 4.0),
        "rates": (0.2, 0.35, 0.5, 0.65, 0.8, 1.0),
        "trials": 4,
        "num_steps": 2000,
        "methods": METHODS,
    },
    "full": {
        "dim": 20,
        "ranks": (1, 2, 3, 5),
        "ratios": (0.7, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 4.0, 6.0),
        "rates": (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8, 1.0),
        "trials": 50,
        "num_steps": 20_000,
        "methods": METHODS,
    },
}
# Below this random starts cannot fail: the theorem.
THRESHOLD = 0.2
# The extreme eigenvalues of a Wishart matrix are near (1 +- sqrt(N / m))^2: below 1.2 from
# m = 110 N on. They fluctuate by a tenth of that where N is 15, and by less where N is larger.
_PROVED = 200


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    dim: int | None = None,
    ranks: Sequence[int] | None = None,
    ratios: Sequence[float | int] | None = None,
    rates: Sequence[float | int] | None = None,
    trials: int | None = None,
    num_steps: int | None = None,
    log10_alpha: float = -16.0,
    say: Callable[[str], None] = lambda line: None,
) -> "xarray.Dataset":
    """Runs every method on planted instances with more and more measurements.

    Args:
        setting: "tiny" (which leaves the flow out: it takes longest to compile), "quick" or "full".
        seed: of all instances.
        dim: n.
        ranks: of the planted matrices.
        ratios: m / (nr) for sensing, at most 100.
        rates: shares of the entries for completion.
        trials: instances for each rank; with more measurements each keeps those it had.
        num_steps: the largest number of gradient steps.
        log10_alpha: of the flow.
        say: called with lines of progress.

    Returns:
        Relative errors over rank, ratio or rate, trial and method, success rates, thresholds, and
        bounds of delta_2r.
    """
    import xarray

    given = {
        "dim": dim,
        "ranks": ranks,
        "ratios": ratios,
        "rates": rates,
        "trials": trials,
        "num_steps": num_steps,
    }
    chosen = sizes(SETTINGS, setting, given, most={"ratios": 100}, seed=seed)
    _check(chosen)
    _checks.between(log10_alpha, "log10_alpha", -3000, 1)
    n, methods = chosen["dim"], chosen["methods"]
    whole = n * (n + 1) // 2
    ratios = (*sorted(chosen["ratios"]), float(math.ceil(_PROVED * whole / n)))
    common = {"num_steps": chosen["num_steps"], "log10_alpha": log10_alpha}
    shape = (len(chosen["ranks"]), len(ratios), chosen["trials"])
    rates = sorted(chosen["rates"])
    sensed, bounds = np.empty((*shape, len(methods))), np.empty((*shape, 3))
    cut_off = np.zeros(sensed.shape, int)
    completed = np.empty(
        (len(chosen["ranks"]), len(chosen["rates"]), chosen["trials"], len(methods))
    )

    def fill(at: tuple[int, int]) -> None:
        place, trial = at
        rank = chosen["ranks"][place]
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), rank), trial)
        problem = sensing(n, rank, count(ratios[-1], n, rank), key=key)
        for step, ratio in enumerate(ratios):
            m = count(ratio, n, rank)
            planted = first(problem, m)
            found, cut = errors(planted, rank, methods, key=key, **common)
            sensed[place, step, trial] = list(found.values())
            cut_off[place, step, trial] = list(cut.values())
            bounds[place, step, trial] = _constants(planted, rank, m, key)
        problem = completion(n, rank, key=key)
        for step, rate in enumerate(rates):
            planted = first(problem, max(1, round(rate * whole)))
            found, _ = errors(planted, rank, methods, key=key, **common)
            completed[place, step, trial] = list(found.values())

    side_by_side(fill, np.ndindex(len(chosen["ranks"]), chosen["trials"]))
    for place, rank in enumerate(chosen["ranks"]):
        say(f"rank {rank}: recovered {np.mean(sensed[place] < RECOVERED):.2f} of all")
    ds = xarray.Dataset(
        {
            "error": (("rank", "ratio", "trial", "algorithm"), sensed),
            "cut_off": (("rank", "ratio", "trial", "algorithm"), cut_off),
            "completion_error": (("rank", "rate", "trial", "algorithm"), completed),
            "delta_lower": (("rank", "ratio", "trial"), bounds[..., 0]),
            "delta_upper": (("rank", "ratio", "trial"), bounds[..., 1]),
            "delta_spread": (("rank", "ratio", "trial"), bounds[..., 2]),
        },
        coords={
            "rank": list(chosen["ranks"]),
            "ratio": list(map(float, ratios)),
            "rate": list(map(float, rates)),
            "trial": np.arange(chosen["trials"]),
            "algorithm": list(methods),
        },
        attrs={"dim": n, "log10_alpha": log10_alpha, "recovered_below": RECOVERED},
    )
    ds["success"] = (ds.error < RECOVERED).mean("trial")
    ds["completion_success"] = (ds.completion_error < RECOVERED).mean("trial")
    ds["num_measurements"] = (
        ("rank", "ratio"),
        np.array([[count(ratio, n, rank) for ratio in ratios] for rank in chosen["ranks"]]),
    )
    ds["dimension_count"] = ("rank", np.array([n * r - r * (r - 1) // 2 for r in chosen["ranks"]]))
    ds["threshold"] = thresholds(ds)
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def count(ratio: float, dim: int, rank: int) -> int:
    """The number of measurements at a ratio m / (nr).

    Args:
        ratio: m / (nr).
        dim: n.
        rank: r.

    Returns:
        m, at least 1.
    """
    return max(1, round(ratio * dim * rank))


def _check(chosen: dict[str, Any]) -> None:
    for name in ("dim", "trials", "num_steps"):
        _checks.at_least(chosen[name], name, 2 if name != "num_steps" else 1)
    for rank in chosen["ranks"]:
        _checks.at_least(rank, "ranks", 1)
        if rank > chosen["dim"]:
            _checks.refuse("ranks", f"be at most dim = {chosen['dim']}", f"contains {rank}")
    for ratio in chosen["ratios"]:
        _checks.positive(ratio, "ratios")
    for rate in chosen["rates"]:
        if not 0 < rate <= 1:
            _checks.refuse("rates", "be in (0, 1]", f"contains {rate}")


def _constants(planted: Planted, rank: int, m: int, key: Any) -> list[float]:
    n = planted.truth.shape[0]
    found = isometry(
        DenseMeasurement(planted.stack),
        min(2 * rank, n),
        key=key,
        scale=jnp.asarray(1 / m),
        num_starts=4,
        num_steps=100,
    )
    return [float(found.lower), float(found.upper), float(found.spread)]


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    recovered = ds.error < RECOVERED
    # A run that was cut off might have recovered.
    possible = recovered | (ds.cut_off == 1)
    below = recovered.where(ds.num_measurements < ds.dimension_count)
    impossible, asked = int(below.sum()), int(below.count())
    proved, sure = ds.delta_upper < THRESHOLD, int((ds.delta_upper < THRESHOLD).sum())
    random = [name for name in LOCAL if name.startswith("random")]
    lost, late = (
        int((~ends.sel(algorithm=random) & proved).sum()) for ends in (possible, recovered)
    )
    # The last but one ratio is the largest that was asked for; the last is the proved one.
    above = np.flatnonzero(ds.num_measurements.isel(ratio=-2) > ds.dimension_count)
    many = recovered.isel(ratio=-2, rank=above).sum(("rank", "trial"))
    trials = len(above) * ds.sizes["trial"]
    lowest = {
        str(name): interval(int(many.sel(algorithm=name)), trials)[0]
        for name in ds.algorithm.values
    }
    # How many measurements are O(nr) nothing says; but where all entries are known, they suffice.
    whole = ds.num_measurements >= ds.attrs["dim"] * (ds.attrs["dim"] + 1) // 2
    known = int(whole.sum()) * ds.sizes["trial"]
    hopeless = [
        name
        for name in lowest
        if interval(int(possible.where(whole).sel(algorithm=name).sum()), known)[1] < 0.5
    ]
    if impossible or lost or hopeless:
        outcome = "fails"
    elif sure and asked and not late and trials and all(low > 0.5 for low in lowest.values()):
        outcome = "holds"
    else:
        outcome = "undecided"
    text = f"Below the dimension count {impossible} of {asked} runs recovered. " + (
        f"At m = {float(ds.ratio[-2]):g} nr every method recovers at least "
        f"{float(many.min()) / trials:.0%} of {trials} instances (fewest: "
        f"{min(lowest, key=lambda name: lowest[name])}); half of them {first_ratios(ds)}. "
        if trials
        else "No ratio that was asked for is above it. "
    )
    text += (
        f"delta_2r < 1/5 was proved on {sure} instances, at m >= {float(ds.ratio[-1]):g} nr, and "
        f"random starts failed in {lost} runs."
    )
    cut = int((ds.cut_off == 1).sum())
    text += f" {cut} of {ds.cut_off.size} runs were cut off." if cut else ""
    error = np.nan_to_num(ds.error, nan=np.nan, posinf=1.0)
    return conclude(outcome, text, {**ds[["delta_lower", "delta_upper"]], "error": error})


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """Success rates of sensing, with the bounds of delta_2r.

    Args:
        ds: what `run` returned.

    Returns:
        Rows over rank, ratio and method.
    """
    small = ds[["success"]].copy()
    small["delta_lower"] = ds.delta_lower.mean("trial")
    small["delta_lower_error"] = standard_error(ds.delta_lower)
    small["delta_upper"] = ds.delta_upper.mean("trial")
    small["delta_spread"] = ds.delta_spread.max("trial")
    return small


def standard_error(values: "xarray.DataArray") -> "xarray.DataArray":
    """Of the mean over trials.

    Args:
        values: over trials.

    Returns:
        The standard error.
    """
    return values.std("trial", ddof=1) / np.sqrt(values.sizes["trial"])


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws success rates, thresholds, and the bounds of delta_2r.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of four panels.
    """
    return draw(ds)
