"""What became of each cell: the function's own result code, or one of three of the sweep's."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._results import RESULTS, is_answer


if TYPE_CHECKING:
    import xarray


# Codes of enumerations count up from 0; those of the sweep itself count down from -1.
PENDING = -1
NOT_FINITE = -2
RAISED = -3
_OWN = {
    PENDING: ("pending", "This cell has not been computed yet. Run the same sweep again."),
    NOT_FINITE: (
        "not_finite",
        "The function returned nan or inf in this cell. Run it alone to see where it arises, or "
        "say `Output(may_be_nonfinite=True)` where it is an answer, for a store of its own.",
    ),
    RAISED: (
        "raised",
        "The function raised an exception in this cell. The text is in the store's ledger, and "
        "`implicit-flow sweep status STORE` prints it; of a sweep in memory in "
        "`dataset.attrs['exceptions']`.",
    ),
}

Item = type(RESULTS.successful)


@functools.cache
def outcome_table(enumeration: Any) -> list[tuple[int, str, str, bool]]:
    """Code, name, message and whether it is an answer, for every result that a cell can have.

    Args:
        enumeration: the `equinox.Enumeration` that the function returns items of, or None.

    Returns:
        One row for each code, in increasing order.
    """
    rows = [(code, *_OWN[code], False) for code in sorted(_OWN)]
    if enumeration is None:
        return [*rows, (0, "successful", "", True)]
    named = sorted(
        (int(item._value), name, item) for name, item in enumeration._name_to_item.items()
    )
    return rows + [
        (code, name, str(enumeration[item]), _answers(item, code)) for code, name, item in named
    ]


def _answers(item: Any, code: int) -> bool:
    enumeration = item._enumeration
    if enumeration is not RESULTS:
        try:
            item = RESULTS.promote(item)
        except (KeyError, ValueError):
            # A stranger's enumeration: by the custom of Equinox its first item is the success.
            return code == 0
    return bool(is_answer(item))


def outcome_attributes(table: Sequence[tuple[int, str, str, bool]]) -> dict[str, Any]:
    """The table as attributes of the variable `result`, after the flag convention of CF."""
    return {
        "description": "what became of the cell",
        "flag_values": [row[0] for row in table],
        "flag_meanings": " ".join(row[1] for row in table),
        "flag_messages": [row[2] for row in table],
        "flag_answers": [int(row[3]) for row in table],
    }


def _codes(dataset: "xarray.Dataset", what: str) -> dict[int, Any]:
    attributes = dataset["result"].attrs
    values = np.atleast_1d(attributes["flag_values"]).tolist()
    column = attributes[what]
    column = column.split() if isinstance(column, str) and what == "flag_meanings" else column
    return dict(zip(values, np.atleast_1d(column).tolist(), strict=True))


def failed(dataset: "xarray.Dataset") -> "xarray.DataArray":
    """Which cells were computed and did not end in an answer.

    Args:
        dataset: what `sweep` or `load` returned.

    Returns:
        Booleans on the grid. Cells that are still to be computed are not counted.

    Example:
        >>> import jax.numpy as jnp
        >>> from implicit_flow import sweeps
        >>> ds = sweeps.sweep(lambda x: {"root": jnp.sqrt(x)}, {"x": [-1.0, 4.0]}, progress=False)
        >>> sweeps.failed(ds).values.tolist()
        [True, False]
    """
    answers = [code for code, answer in _codes(dataset, "flag_answers").items() if answer]
    return ~dataset["result"].isin([*answers, PENDING])


def pending(dataset: "xarray.Dataset") -> "xarray.DataArray":
    """Which cells have not been computed yet.

    Args:
        dataset: what `sweep` or `load` returned.

    Returns:
        Booleans on the grid.
    """
    return dataset["result"] == PENDING


def messages(dataset: "xarray.Dataset") -> "xarray.DataArray":
    """The message of each cell's result.

    Args:
        dataset: what `sweep` or `load` returned.

    Returns:
        Strings on the grid; empty where the function returned no result code and all is well.
    """
    import xarray

    texts = _codes(dataset, "flag_messages")
    names = _codes(dataset, "flag_meanings")
    result = dataset["result"]
    flat = [texts[code] or names[code] for code in result.values.reshape(-1).tolist()]
    values = np.asarray(flat, dtype=object).reshape(result.shape)
    return xarray.DataArray(values, coords=result.coords, dims=result.dims, name="message")


def outcome_counts(dataset: "xarray.Dataset") -> dict[str, int]:
    """How many cells ended how.

    Args:
        dataset: what `sweep` or `load` returned.

    Returns:
        Counts by the name of the result, only those that occur.
    """
    names = _codes(dataset, "flag_meanings")
    codes, counts = np.unique(dataset["result"].values, return_counts=True)
    return {names[code]: count for code, count in zip(codes.tolist(), counts.tolist(), strict=True)}
