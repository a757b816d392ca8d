"""Looking at a store without computing."""

import math
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
        ValueError: if there is no sweep at this path, its labels are damaged, or results that are
            marked done are missing.
    """
    ledger = _ledger(store)
    _whole(ledger, store)
    _complete(ledger, store)
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
        ValueError: if there is no sweep at this path, or its labels are damaged.
    """
    ledger = _ledger(store)
    _whole(ledger, store)
    dataset = open_dataset(as_path(store))
    cut = zip(dataset["result"].shape, ledger.manifest()["block_shape"], strict=True)
    count = math.prod(-(-cells // block) for cells, block in cut)
    done = failed = damaged = 0
    errors: list[str] = []
    for block, entry in ledger.entries():
        if block >= count:
            # Not of this sweep: a file that somebody put there.
            continue
        if entry is None or not ledger.is_whole(entry["files"]):
            damaged += 1
            continue
        done += entry["cells"]
        failed += entry["failed"]
        errors += [f"block {block}, {text}" for text in entry["errors"]]
    outcomes = outcome_counts(dataset) if damaged == 0 else {}
    return Status(dataset["result"].size, done, failed, damaged, outcomes, errors, ledger.runs())


def _whole(ledger: Ledger, store: str | os.PathLike[str]) -> None:
    """Refuse a store whose labels say something else than when it was made."""
    if not ledger.is_whole(ledger.manifest()["skeleton"]):
        raise ValueError(
            f"Argument `store` must be as it was made, but labels or metadata in "
            f"{os.fspath(store)!r} have changed or are missing. Run the same sweep again: it "
            "restores them, and computes only what is damaged."
        )


def _complete(ledger: Ledger, store: str | os.PathLike[str]) -> None:
    """Refuse a store of which files are gone: Zarr would read them as fill values.

    One whose bytes have changed is for Zarr to notice, by its checksum.
    """
    entries = (entry for _, entry in ledger.entries() if entry is not None)
    gone = [entry["block"] for entry in entries if not ledger.has(entry["files"])]
    if gone:
        raise ValueError(
            f"Argument `store` must have all files that it marks done, but {os.fspath(store)!r} "
            f"lacks some of chunk {gone[0]}{' and others' if len(gone) > 1 else ''}. Run the same "
            "sweep again: it computes only what is damaged."
        )


def _ledger(store: str | os.PathLike[str]) -> Ledger:
    ledger = Ledger(as_path(store))
    if not ledger.exists:
        raise ValueError(
            f"Argument `store` must be a store made by `sweep`, but there is none at "
            f"{os.fspath(store)!r}. Check the path."
        )
    return ledger
