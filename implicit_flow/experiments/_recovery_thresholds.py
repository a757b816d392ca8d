"""From how many measurements on matrices are recovered, and with which probability."""

from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    import xarray


def thresholds(ds: "xarray.Dataset") -> "xarray.DataArray":
    """The first m / (nr) from which on at least half of the instances are recovered.

    Args:
        ds: with `success` over rank, ratio and algorithm.

    Returns:
        Over rank and algorithm; nan where half of them are not recovered at the largest ratio that
        was asked for.
    """
    import xarray

    # The last ratio is for the proof, far beyond those that were asked for.
    levels, ratios = ds.success.values[:, :-1], ds.ratio.values[:-1]
    crossed = np.full((levels.shape[0], levels.shape[2]), np.nan)
    for place in np.ndindex(crossed.shape):
        below = np.flatnonzero(levels[place[0], :, place[1]] < 0.5)
        first_good = int(below[-1]) + 1 if len(below) else 0
        if first_good < len(ratios):
            crossed[place] = ratios[first_good]
    return xarray.DataArray(crossed, dims=("rank", "algorithm"))


def interval(successes: int, trials: int) -> tuple[float, float]:
    """Clopper and Pearson's interval of a probability: each end fails in one case of 20.

    Args:
        successes: how many.
        trials: of how many.

    Returns:
        Both ends.
    """
    from scipy.special import betaincinv

    low = betaincinv(successes, trials - successes + 1, 0.05) if successes else 0.0
    high = betaincinv(successes + 1, trials - successes, 0.95) if successes < trials else 1.0
    return float(low), float(high)


def first_ratios(ds: "xarray.Dataset") -> str:
    """From where on each method recovers half, and the isometry constant where all do.

    Args:
        ds: what the experiment returned.

    Returns:
        In words.
    """
    # Not a number where a method does not, at one of the ranks.
    first = ds.threshold.mean("rank", skipna=False)
    listed = [
        f"{float(value):.2f} ({name})" if np.isfinite(value) else f"not reached ({name})"
        for name, value in zip(ds.algorithm.values, first.values, strict=True)
    ]
    good = (ds.success >= 0.5).all(("algorithm", "rank")).values[:-1]
    text = f"from m/(nr) = {', '.join(listed)}"
    if not np.any(good):
        return text
    there = ds.isel(ratio=int(np.argmax(good)))
    return (
        f"{text}. At {float(there.ratio):g}, where all do, delta_2r is between "
        f"{float(there.delta_lower.min()):.2f} and {float(there.delta_upper.max()):.2f} (starts of "
        f"the search for the lower bound end up to {float(there.delta_spread.max()):.2g} apart)"
    )
