"""Looking at a store without computing."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ._ledger import Ledger
from ._manifest import Record
from ._outcomes import outcome_counts
from ._zarr_store import as_path, open_dataset


if TYPE_CHECKING:
    import xarray


def load(store: str | os.PathLike[str]) -> "xarray.Dataset":
    """Opens a store made by `sweep`, finished or not.

    Args:
        store: its path.

    Returns:
        The Dataset; values are read when they are looked at. Cells that have not been computed
        have the result `pending`.

    Raises:
        ValueError: if there is no sweep at this path.
    """
    _ledger(store)
    return open_dataset(as_path(store))


@final
@dataclass(frozen=True)
class Status:
    """How far a store is.

    Args:
        cells: cells in the grid.
        done: of these, marked done.
        failed: of those, not an answer.
        damaged: chunks whose files have changed since they were written.
        outcomes: number of cells by name of their result.
        errors: texts of exceptions, a few for each chunk.
        runs: who has computed, oldest first.
    """

    cells: int
    done: int
    failed: int
    damaged: int
    outcomes: dict[str, int]
    errors: list[str]
    runs: list[Record]


def status(store: str | os.PathLike[str]) -> Status:
    """Counts what a store holds, and checks it against its checksums.

    Args:
        store: its path.

    Returns:
        The counts.

    Raises:
        ValueError: if there is no sweep at this path.
    """
    ledger = _ledger(store)
    done = failed = damaged = 0
    errors: list[str] = []
    for block, entry in ledger.entries():
        if entry is None or not ledger.is_whole(entry["files"]):
            damaged += 1
            continue
        done += entry["cells"]
        failed += entry["failed"]
        errors += [f"block {block}, {text}" for text in entry["errors"]]
    dataset = load(store)
    outcomes = outcome_counts(dataset) if damaged == 0 else {}
    return Status(dataset["result"].size, done, failed, damaged, outcomes, errors, ledger.runs())


def _ledger(store: str | os.PathLike[str]) -> Ledger:
    ledger = Ledger(as_path(store))
    if not ledger.exists:
        raise ValueError(
            f"Argument `store` must be a store made by `sweep`, but there is none at "
            f"{os.fspath(store)!r}. Check the path."
        )
    return ledger
