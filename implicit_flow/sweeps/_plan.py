"""A sweep before it runs: cells, programs, blocks, placement, and what it will cost."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from ._axes import check_axes, check_cost
from ._fingerprint import fingerprint
from ._grid import Blocks, Cost, Grid, cell_cost, cell_ids, cut
from ._outputs import Output, Returned, describe_returned
from ._placement import Placement
from ._program import CELL_ERRORS, ChunkProgram, PlacedCells, check_memory, trace_cell
from ._strategy import AbstractStrategy


# A chunk that takes about this long keeps bookkeeping under a percent, and little is lost with it.
_CHUNK_SECONDS = 1.0
# For so long at least cells are timed that take less.
_PILOT_SECONDS = 0.1
# Chunks so short that their bookkeeping would show are not made, even to balance the load.
_LEAST_SECONDS = 0.1
_MOST_CELLS = 1024
_MOST_BYTES = 2**24
# Each chunk is a file per variable: more of them than this would choke file systems.
_MOST_BLOCKS = 100_000


@final
@dataclass(frozen=True)
class Study:
    """A function, a grid, and the function traced at every setting of the static axes."""

    function: Callable[..., Any]
    grid: Grid
    returned: Returned
    programs: tuple[ChunkProgram, ...]
    fingerprints: dict[str, str]
    cell_bytes: int
    placement: Placement
    cost: Cost | None

    def columns(self, indices: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """The indices along the traced axes only."""
        return tuple(
            index for axis, index in zip(self.grid.axes, indices, strict=True) if not axis.static
        )


def study(
    function: Callable[..., Any],
    axes: Mapping[str, Any],
    *,
    static: Any,
    outputs: Mapping[str, Output],
    placement: Placement,
    cost: Cost | None,
) -> Study:
    """Checks the arguments and traces the function, without computing anything.

    Args:
        function: the function to be swept.
        axes: name -> values.
        static: names of axes that are passed as Python values.
        outputs: labels of returned arrays.
        placement: where it will run.
        cost: relative cost of a cell.

    Returns:
        The study.

    Raises:
        ValueError: if the function returns arrays of different shapes at different static values.
        TypeError: if the function or the cost does not take the axes.
    """
    grid = Grid(check_axes(function, axes, static))
    check_cost(cost, grid.names)
    described: list[Returned] = []
    programs, prints = [], {}
    cell_bytes = 0
    for fixed in grid.groups():
        cell = trace_cell(function, grid.traced_axes, fixed)
        described.append(describe_returned(cell.shapes, outputs, grid.names))
        label = ", ".join(f"{name}={value}" for name, value in fixed.items())
        if described[-1] != described[0]:
            raise ValueError(
                "Argument `function` must return arrays of one shape, but returns "
                f"{described[0].describe()} for one setting of the static axes and "
                f"{described[-1].describe()} at {label}. Return something whose shape does not "
                "depend on it, such as a norm, or make one sweep for each."
            )
        prints[label] = fingerprint(cell.program)
        cell_bytes = max(cell_bytes, cell.bytes)
        programs.append(ChunkProgram(cell, grid.traced_axes, placement.mesh))
    return Study(function, grid, described[0], tuple(programs), prints, cell_bytes, placement, cost)


@final
@dataclass(frozen=True)
class Plan:
    """A study cut into blocks."""

    study: Study
    blocks: Blocks
    strategy: AbstractStrategy

    @property
    def returned(self) -> Returned:
        return self.study.returned

    @property
    def placement(self) -> Placement:
        return self.study.placement

    def prepare(self, block: int) -> tuple[ChunkProgram, PlacedCells]:
        """The program of a block and its cells, in the block's order, on the devices."""
        indices = self.blocks.indices(block)
        program = self.study.programs[self.blocks.group(block)]
        program.lower(self.blocks.capacity, self.strategy)
        order = np.argsort(-cell_cost(self.study.grid, self.study.cost, indices), kind="stable")
        ids = cell_ids(self.study.grid, indices)
        return program, program.place(self.study.columns(indices), ids, order)

    def estimate(self) -> tuple[float, int]:
        """Times a few cells at the first, middle and last static values.

        Returns:
            Seconds that the whole sweep may take on this placement, compilation left out, and
            the number of cells timed.
        """
        groups = len(self.study.programs)
        probed = sorted({0, groups // 2, groups - 1})
        times = [
            time_cells(self.study, self.strategy, self.blocks.capacity, group) for group in probed
        ]
        mean = float(np.mean([np.mean(of_group) for of_group in times]))
        return mean * self.study.grid.size / self.parallel, sum(map(len, times))

    @property
    def parallel(self) -> int:
        """The number of cells that advance at the same time, on all processes."""
        share = -(-self.blocks.capacity // self.placement.mesh.size)
        workers = self.threads * self.placement.mesh.size
        return workers * self.placement.processes * self.strategy.width(share)

    @property
    def threads(self) -> int:
        """Threads that compute at the same time, as far as the lowered programs tell."""
        turns = any(program.takes_turns for program in self.study.programs)
        return 1 if turns else self.placement.threads

    def in_order(self, blocks: np.ndarray) -> list[int]:
        """Blocks with the costly ones first, and those that share a compilation together."""
        if self.study.cost is None:
            return sorted(blocks.tolist(), key=lambda block: (self.blocks.group(block), block))
        costs = {
            block: float(
                cell_cost(self.study.grid, self.study.cost, self.blocks.indices(block)).sum()
            )
            for block in blocks.tolist()
        }
        groups: dict[int, float] = {}
        for block, cost in costs.items():
            group = self.blocks.group(block)
            groups[group] = max(groups.get(group, cost), cost)
        return sorted(
            costs,
            key=lambda block: (
                -groups[self.blocks.group(block)],
                self.blocks.group(block),
                -costs[block],
                block,
            ),
        )


def make_plan(study: Study, chunk_size: int | None, strategy: AbstractStrategy) -> Plan:
    """Cuts the grid of a study.

    Args:
        study: the study.
        chunk_size: cells in a chunk; if None, found by timing a few cells.
        strategy: how the cells of a chunk are run.

    Returns:
        The plan.

    Raises:
        ValueError: if the chunk size cannot be used.
    """
    chosen = _choose_chunk_size(study, strategy) if chunk_size is None else int(chunk_size)
    blocks = cut(study.grid, min(chosen, study.grid.group_size), study.cost)
    if blocks.count > _MOST_BLOCKS:
        raise ValueError(
            f"Argument `chunk_size` must cut {study.grid.size:,} cells into at most "
            f"{_MOST_BLOCKS:,} chunks, but makes {blocks.count:,} of at most {blocks.capacity:,} "
            "cells. Pass a larger chunk_size, or make several sweeps."
        )
    return Plan(study, blocks, strategy)


def _choose_chunk_size(study: Study, strategy: AbstractStrategy) -> int:
    """About a second of work, with a few chunks for each worker where cells are slow."""
    size = study.grid.group_size
    total, workers = study.grid.size, study.placement.workers
    devices = study.placement.mesh.size
    floor = -(-total // _MOST_BLOCKS)
    # Cells per device that a program of moderate size can hold.
    room = max(floor, min(size, _MOST_CELLS, _MOST_BYTES // max(1, study.cell_bytes)), 1)
    if strategy.width(room) > 1:
        return devices * room
    if total <= workers:
        return 1
    seconds = float(np.mean(time_cells(study, strategy, devices * room, 0)))
    chunk = min(room, max(1, int(_CHUNK_SECONDS / seconds)))
    balanced = max(-(-total // (4 * workers)), int(_LEAST_SECONDS / seconds))
    return devices * max(min(chunk, balanced), floor)


def time_cells(
    study: Study, strategy: AbstractStrategy, capacity: int, group: int, count: int = 4
) -> list[float]:
    """Times cells from all over a group, one after the other, for about a second at most.

    Of cells that take less than their chunk a whole chunk is timed, or as many as take a while.

    Args:
        study: the study.
        strategy: how cells are run.
        capacity: the largest number of cells in a chunk.
        group: which setting of the static axes.
        count: the largest number of cells to time.

    Returns:
        Seconds for each cell that was timed, at least one.
    """
    program = study.programs[group]
    program.lower(capacity, strategy)
    program.compile()
    times: list[float] = []
    pilot = ThreadPoolExecutor(1, thread_name_prefix="sweep-pilot")

    def seconds_of(cells: np.ndarray) -> float:
        started = time.perf_counter()
        indices = _cell_indices(study.grid, group, cells)
        placed = program.place(study.columns(indices), cell_ids(study.grid, indices))
        try:
            # In another thread, so that this one hears Ctrl-C during a long cell.
            pilot.submit(program.run, placed).result()
        except CELL_ERRORS as error:
            # A cell that raises takes its time too; the sweep itself will record it.
            check_memory(error)
        return time.perf_counter() - started

    size, devices = study.grid.group_size, study.placement.mesh.size
    for cell in np.linspace(0, size - 1, count).astype(int):
        times.append(seconds_of(np.array([cell])))
        if sum(times) > _CHUNK_SECONDS:
            break
    # More and more at a time, until the chunk itself costs little beside its cells.
    while strategy.width(capacity) == 1:
        many = min(capacity, size, int(_PILOT_SECONDS / float(np.mean(times))))
        if many <= max(2 * len(times), devices):
            break
        each = seconds_of(np.linspace(0, size - 1, many).astype(int)) * devices / many
        times = [min(each, float(np.mean(times)))] * many
    pilot.shutdown(wait=False)
    return times


def _cell_indices(grid: Grid, group: int, cells: np.ndarray) -> tuple[np.ndarray, ...]:
    """The indices of cells, given their numbers in their group and the number of the group."""
    static = iter(np.unravel_index(group, [axis.values.size for axis in grid.static_axes] or [1]))
    traced = iter(np.unravel_index(cells, [axis.values.size for axis in grid.traced_axes] or [1]))
    return tuple(
        np.full(len(cells), next(static)) if axis.static else next(traced) for axis in grid.axes
    )
