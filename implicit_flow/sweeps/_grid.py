"""The grid of cells, cut into blocks; each cell has an id that nothing but its values decides."""

import hashlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from ._axes import GridAxis


Cost = Callable[..., float]


@final
@dataclass(frozen=True)
class Grid:
    """The product of the axes, in the order given, the last one running fastest."""

    axes: tuple[GridAxis, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(axis.name for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis.values.size for axis in self.axes)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def static_axes(self) -> tuple[GridAxis, ...]:
        return tuple(axis for axis in self.axes if axis.static)

    @property
    def traced_axes(self) -> tuple[GridAxis, ...]:
        return tuple(axis for axis in self.axes if not axis.static)

    @property
    def group_size(self) -> int:
        """The number of cells that share one setting of the static axes."""
        return math.prod(axis.values.size for axis in self.traced_axes)

    def groups(self) -> list[dict[str, Any]]:
        """Every setting of the static axes, as Python values; each is compiled once."""
        names = [axis.name for axis in self.static_axes]
        values = [axis.values.tolist() for axis in self.static_axes]
        return [dict(zip(names, row, strict=True)) for row in itertools.product(*values)]


@final
@dataclass(frozen=True)
class Blocks:
    """A grid cut into boxes: a box is what is computed at once, stored at once, and lost at most.

    Boxes have length 1 along static axes. They are numbered; the number is all that processes
    need to agree on who computes what.
    """

    grid: Grid
    shape: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(
            -(-size // length) for size, length in zip(self.grid.shape, self.shape, strict=True)
        )

    @property
    def count(self) -> int:
        return math.prod(self.counts)

    @property
    def capacity(self) -> int:
        """The number of cells in a full block."""
        return math.prod(self.shape)

    def position(self, block: int) -> tuple[int, ...]:
        """Which box along each axis."""
        found = []
        for count in reversed(self.counts):
            block, index = divmod(block, count)
            found.append(index)
        return tuple(reversed(found))

    def slices(self, block: int) -> tuple[slice, ...]:
        """The region of the grid that a block covers."""
        return tuple(
            slice(index * length, min((index + 1) * length, size))
            for index, length, size in zip(
                self.position(block), self.shape, self.grid.shape, strict=True
            )
        )

    def block_size(self, block: int) -> int:
        """The number of cells in a block; smaller at the edge of the grid."""
        return math.prod(part.stop - part.start for part in self.slices(block))

    def group(self, block: int) -> int:
        """The index, in `Grid.groups`, of the static values of this block."""
        index = 0
        for axis, position in zip(self.grid.axes, self.position(block), strict=True):
            if axis.static:
                index = index * axis.values.size + position
        return index

    def indices(self, block: int) -> tuple[np.ndarray, ...]:
        """For each axis, the index of each cell of the block, cells in row-major order."""
        ranges = [np.arange(part.start, part.stop) for part in self.slices(block)]
        return tuple(mesh.reshape(-1) for mesh in np.meshgrid(*ranges, indexing="ij"))


def cut(grid: Grid, chunk_size: int, cost: Cost | None) -> Blocks:
    """Cuts a grid into boxes of at most `chunk_size` cells.

    Boxes are filled first along the axes that change the cost least, so that the cells of one
    box end together: without `cost`, along the last axis first.

    Args:
        grid: the grid.
        chunk_size: the number of cells that a box may have.
        cost: relative cost of a cell, a function of the named axes.

    Returns:
        The blocks.
    """
    lengths = dict.fromkeys(grid.names, 1)
    room = chunk_size
    last_first = list(reversed(grid.traced_axes))
    last_first.sort(key=lambda axis: _spread(grid, axis, cost))
    for axis in last_first:
        size = axis.values.size
        # Pieces of equal length, rather than full ones and a stub.
        lengths[axis.name] = -(-size // -(-size // min(size, room)))
        room //= lengths[axis.name]
        if lengths[axis.name] < size or room < 1:
            break
    return Blocks(grid, tuple(lengths.values()))


def cell_cost(grid: Grid, cost: Cost | None, indices: tuple[np.ndarray, ...]) -> np.ndarray:
    """The expected relative cost of cells; all ones when none is given."""
    if cost is None:
        return np.ones(indices[0].size)
    columns = [axis.values[index].tolist() for axis, index in zip(grid.axes, indices, strict=True)]
    cells = (dict(zip(grid.names, row, strict=True)) for row in zip(*columns, strict=True))
    costs = np.asarray([_number(cost(**cell)) for cell in cells])
    if not np.all(np.isfinite(costs)):
        raise ValueError(
            "Argument `cost` must return finite numbers, but returned "
            f"{costs[~np.isfinite(costs)][0]}. Return a relative running time."
        )
    return costs


def _number(returned: object) -> float:
    try:
        return float(returned)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        raise TypeError(
            f"Argument `cost` must return a number, but returned {returned!r}. "
            "Return a relative running time."
        ) from None


def _spread(grid: Grid, axis: GridAxis, cost: Cost | None) -> float:
    """How much the cost changes along one axis, at the middle of the others."""
    if cost is None:
        return 0.0
    along = np.linspace(0, axis.values.size - 1, min(axis.values.size, 9)).astype(int)
    indices = tuple(
        along if other is axis else np.full(along.size, other.values.size // 2)
        for other in grid.axes
    )
    return float(np.ptp(cell_cost(grid, cost, indices)))


def cell_ids(grid: Grid, indices: tuple[np.ndarray, ...]) -> np.ndarray:
    """A 64-bit name for each cell, from the names and values of its axes and nothing else.

    It does not depend on the order of the axes, on the other values of the grid, or on how the
    grid is cut, so a cell draws the same random numbers wherever and whenever it is run.

    Args:
        grid: the grid.
        indices: index of each cell along each axis.

    Returns:
        Array of shape (cells, 2), the high and low halves.
    """
    total = np.zeros(indices[0].size, np.uint64)
    for axis, index in zip(grid.axes, indices, strict=True):
        total += _value_hashes(axis, index)
    total = _scramble(total)
    low = total & np.uint64(0xFFFFFFFF)
    return np.stack([total >> np.uint64(32), low], axis=1).astype(np.uint32)


def _value_hashes(axis: GridAxis, index: np.ndarray) -> np.ndarray:
    values = axis.values[index]
    if values.dtype.kind == "f":
        # 1.0 is the value 1: an axis to which halves are added holds the same cells as before.
        whole = (values == np.trunc(values)) & (np.abs(values) < 2.0**53)
        counted = np.where(whole, values, 0.0).astype(np.int64)
        exact = _bit_hashes(axis.name, counted)
        return np.where(whole, exact, _bit_hashes(axis.name, values))
    return _bit_hashes(axis.name, values)


def _bit_hashes(name: str, values: np.ndarray) -> np.ndarray:
    salt = np.full(values.shape, _digest(f"{name}:{values.dtype.kind}"), np.uint64)
    if values.dtype.kind == "U":
        bits = np.asarray([_digest(value) for value in values.tolist()], np.uint64)
    elif values.dtype.kind == "b":
        bits = values.astype(np.uint64)
    else:
        bits = values.view(np.uint64)
    return _scramble(bits ^ salt)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _scramble(bits: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64: a bijection in which every input bit moves every output bit."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
