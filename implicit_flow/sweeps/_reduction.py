"""Medians and quantiles over repetitions, with failed cells counted apart."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from ._outcomes import failed, pending


if TYPE_CHECKING:
    import xarray


@final
@dataclass(frozen=True)
class Reduction:
    """One variable over chosen axes; the cells along all others are its repetitions.

    Args:
        axes: values of the chosen axes, by name, in order.
        answers: values with failed and pending cells as nan, repetitions last.
        failures: values of failed cells, nan elsewhere, and nan too where they have no value.
        failed: number of failed cells.
        pending: number of cells that have not been computed.
        count: number of repetitions.
    """

    axes: dict[str, np.ndarray]
    answers: np.ndarray
    failures: np.ndarray
    failed: np.ndarray
    pending: np.ndarray
    count: int

    def quantiles(self, *levels: float) -> np.ndarray:
        """Quantiles over the cells that ended in an answer; nan where there is none.

        Args:
            levels: between 0 and 1.

        Returns:
            Array with the levels first.
        """
        shape = self.answers.shape[:-1]
        found = np.full((len(levels), *shape), np.nan)
        for place in np.ndindex(shape):
            known = self.answers[place][np.isfinite(self.answers[place])]
            if known.size:
                found[(slice(None), *place)] = np.quantile(known, levels)
        return found


def reduce_over_rest(dataset: "xarray.Dataset", variable: str, axes: tuple[str, ...]) -> Reduction:
    """Collects a variable for a picture.

    Args:
        dataset: what `sweep` or `load` returned.
        variable: name of a real variable with one value for each cell.
        axes: names of the axes to keep.

    Returns:
        The values and the counts.

    Raises:
        ValueError: if a name is unknown or the variable cannot be drawn.
    """
    cells = dataset["result"].dims
    drawable = [
        name
        for name in dataset.data_vars
        if set(dataset[name].dims) == set(cells) and dataset[name].dtype.kind in "fiub"
    ]
    if variable not in drawable:
        raise ValueError(
            f"Argument `variable` must be one of {', '.join(map(str, drawable))}, which have one "
            f"real value for each cell, but is {variable!r}. Pick one of them."
        )
    for name in axes:
        if name not in cells:
            raise ValueError(
                f"Argument `axes` must name axes of the sweep ({', '.join(map(str, cells))}), but "
                f"holds {name!r}. Pick one of them."
            )
    if len(set(axes)) < len(axes):
        raise ValueError(
            f"Argument `axes` must name different axes, but is {tuple(axes)}. Leave one out."
        )
    order = (*axes, *(name for name in cells if name not in axes))

    def flat(array: "xarray.DataArray") -> np.ndarray:
        values = array.transpose(*order).values
        return values.reshape(*values.shape[: len(axes)], -1)

    values = flat(dataset[variable]).astype(float)
    has_failed, is_pending = flat(failed(dataset)), flat(pending(dataset))
    return Reduction(
        {name: dataset[name].values for name in axes},
        np.where(has_failed | is_pending, np.nan, values),
        np.where(has_failed, values, np.nan),
        has_failed.sum(axis=-1),
        is_pending.sum(axis=-1),
        values.shape[-1],
    )


def spans_decades(values: np.ndarray) -> bool:
    """Whether a logarithmic scale shows more: positive, and over two powers of ten.

    Args:
        values: any numbers; those that are not finite do not count.

    Returns:
        True if so.
    """
    known = values[np.isfinite(values)]
    return bool(known.size and known.min() > 0 and known.max() >= 100 * known.min())
