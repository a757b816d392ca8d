"""Where results are kept; in memory here, on disk in `_zarr_store`."""

import abc
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from ._grid import Blocks
from ._outcomes import PENDING, outcome_attributes, outcome_table
from ._outputs import Returned
from ._placement import Placement


if TYPE_CHECKING:
    import xarray


# Results up to this size are read into memory, larger ones when they are looked at.
LOADED_BYTES = 2**26


@final
@dataclass(frozen=True)
class Field:
    """One array of the Dataset: a variable of the function, or one of the sweep's own."""

    name: str
    dtype: np.dtype
    extra_shape: tuple[int, ...]
    extra_dims: tuple[str, ...]
    fill: Any
    attributes: Mapping[str, Any]


@final
@dataclass(frozen=True)
class BlockResult:
    """The results of one block.

    Args:
        block: its number.
        arrays: for each field, values with the cells of the block as first dimension.
        failed: how many of the cells failed.
        errors: texts of exceptions.
    """

    block: int
    arrays: Mapping[str, np.ndarray]
    failed: int
    errors: Sequence[str]

    @property
    def cells(self) -> int:
        """The number of cells."""
        return self.arrays["result"].size

    def described_errors(self) -> list[str]:
        """The texts of exceptions, and where they were raised."""
        return [f"block {self.block}, {text}" for text in self.errors]


def fields(returned: Returned) -> list[Field]:
    """The arrays of the Dataset.

    Args:
        returned: what the function returns.

    Returns:
        The function's variables, then `result`, `seconds` and `attempt`.
    """
    own = [
        Field(
            "result",
            np.dtype(np.int32),
            (),
            (),
            PENDING,
            outcome_attributes(outcome_table(returned.enumeration)),
        ),
        Field(
            "seconds",
            np.dtype(np.float64),
            (),
            (),
            np.nan,
            {"units": "s", "description": "this cell's share of the time of its chunk"},
        ),
        Field(
            "attempt",
            np.dtype(np.int32),
            (),
            (),
            0,
            {"description": "how many times this cell had been started when it was done"},
        ),
    ]
    given = [
        Field(
            variable.name,
            variable.dtype,
            variable.shape,
            variable.dims,
            blank(variable.dtype),
            {
                name: text
                for name, text in (
                    ("units", variable.output.units),
                    ("description", variable.output.description),
                )
                if text
            },
        )
        for variable in returned.variables
    ]
    return [*given, *own]


def blank(dtype: np.dtype) -> Any:
    """What stands in cells that are still to be computed; `result` tells them from answers."""
    if dtype.kind == "f":
        return np.nan
    if dtype.kind == "c":
        return complex(np.nan, np.nan)
    return dtype.type(0)


class AbstractStore(abc.ABC):
    """Takes the results of blocks, in any order."""

    @abc.abstractmethod
    def missing(self) -> np.ndarray:
        """The numbers of the blocks that are still to be computed, in increasing order."""

    @abc.abstractmethod
    def claimed(self, placement: Placement) -> AbstractContextManager[None]:
        """Keeps other processes with the same share of the work out while the store is filled.

        Args:
            placement: which process fills it, and with what.

        Returns:
            What to fill it in.
        """

    @abc.abstractmethod
    def begin(self, block: int) -> int:
        """Notes that a block is being computed.

        Args:
            block: its number.

        Returns:
            For the how-many-th time.
        """

    @abc.abstractmethod
    def write(self, results: Sequence[BlockResult]) -> None:
        """Keeps the results of blocks, and marks them done when they are safe.

        Args:
            results: of one or more blocks.
        """

    @abc.abstractmethod
    def tally(self) -> tuple[int, int]:
        """Cells that are done, and how many of them failed."""

    @abc.abstractmethod
    def dataset(self) -> "xarray.Dataset":
        """All results."""

    @abc.abstractmethod
    def advice(self) -> str:
        """What to do after an interruption, one sentence."""


@final
class MemoryStore(AbstractStore):
    """Keeps results in memory only."""

    def __init__(self, blocks: Blocks, returned: Returned, attributes: Mapping[str, Any]) -> None:
        self._blocks = blocks
        self._attributes = dict(attributes)
        self._fields = fields(returned)
        _check_memory(blocks, self._fields)
        shape = blocks.grid.shape
        self._arrays = {
            field.name: np.full((*shape, *field.extra_shape), field.fill, field.dtype)
            for field in self._fields
        }
        self._done = np.zeros(blocks.count, bool)
        self._tally = (0, 0)
        self._errors: list[str] = []

    def missing(self) -> np.ndarray:
        """All blocks that have not been written."""
        return np.flatnonzero(~self._done)

    def claimed(self, placement: Placement) -> AbstractContextManager[None]:
        """No other process sees it."""
        del placement
        return nullcontext()

    def begin(self, block: int) -> int:
        """Always the first time."""
        del block
        return 1

    def write(self, results: Sequence[BlockResult]) -> None:
        """Copies the results."""
        for result in results:
            for name, values in result.arrays.items():
                region = self._arrays[name][self._blocks.slices(result.block)]
                region[...] = values.reshape(region.shape)
            self._errors += result.described_errors()
            self._done[result.block] = True
            self._tally = (self._tally[0] + result.cells, self._tally[1] + result.failed)

    def tally(self) -> tuple[int, int]:
        """Counted as they come."""
        return self._tally

    def dataset(self) -> "xarray.Dataset":
        """The arrays, labeled."""
        import xarray

        dims = self._blocks.grid.names
        data = {
            field.name: ((*dims, *field.extra_dims), self._arrays[field.name], field.attributes)
            for field in self._fields
        }
        # In a store the ledger has them.
        exceptions = {"exceptions": self._errors} if self._errors else {}
        attributes = {**self._attributes, **exceptions}
        return xarray.Dataset(data, coords=coordinates(self._blocks), attrs=attributes)

    def advice(self) -> str:
        """There is nothing to come back to."""
        return "They were in memory only and are lost; pass store= to keep the next ones."


def coordinates(blocks: Blocks) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    """The axes as coordinates with units and descriptions.

    Args:
        blocks: the grid, cut.

    Returns:
        As `xarray.Dataset` takes them.
    """
    return {
        axis.name: (
            axis.name,
            axis.values.astype(object) if axis.values.dtype.kind == "U" else axis.values,
            {
                name: text
                for name, text in (("units", axis.units), ("description", axis.description))
                if text
            },
        )
        for axis in blocks.grid.axes
    }


def _check_memory(blocks: Blocks, arrays: list[Field]) -> None:
    per_cell = sum(int(np.prod(field.extra_shape)) * field.dtype.itemsize for field in arrays)
    total = per_cell * blocks.grid.size
    try:
        limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        limit = 2**33
    if total > limit:
        raise ValueError(
            f"Argument `store` must be given for this grid: {blocks.grid.size:,} cells of "
            f"{per_cell:,} bytes are {total / 2**30:,.1f} GiB, more than half of the memory. "
            'Pass a path, such as store="runs/study.zarr", or return less.'
        )
