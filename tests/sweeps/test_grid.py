"""Blocks tile the grid, and ids name cells by their values alone."""

import itertools

import numpy as np
from hypothesis import given, settings, strategies as st

from implicit_flow.sweeps._axes import check_axes
from implicit_flow.sweeps._grid import Grid, cell_cost, cell_ids, cut


def grid_of(axes, static=()):
    return Grid(check_axes(lambda **cell: None, axes, static))


@given(
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    static_count=st.integers(0, 2),
    chunk_size=st.integers(1, 60),
)
@settings(max_examples=60, deadline=None)
def test_blocks_tile_the_grid(shape, static_count, chunk_size):
    axes = {f"a{axis}": range(size) for axis, size in enumerate(shape)}
    static = tuple(axes)[:static_count]
    grid = grid_of(axes, static)
    blocks = cut(grid, chunk_size, None)
    assert blocks.capacity <= chunk_size
    covered = np.zeros(grid.shape, int)
    groups = grid.groups()
    for block in range(blocks.count):
        region = covered[blocks.slices(block)]
        assert region.size == blocks.block_size(block) <= blocks.capacity
        covered[blocks.slices(block)] += 1
        indices = blocks.indices(block)
        # Cells are listed in the order of the region's elements.
        assert np.array_equal(
            np.ravel_multi_index(indices, grid.shape),
            np.arange(grid.size).reshape(grid.shape)[blocks.slices(block)].reshape(-1),
        )
        fixed = groups[blocks.group(block)]
        for axis, index in zip(grid.axes, indices, strict=True):
            if axis.static:
                assert set(axis.values[index].tolist()) == {fixed[axis.name]}
    assert np.all(covered == 1)


def test_blocks_extend_along_the_axes_that_cost_the_same():
    axes = {"seed": range(8), "log10_alpha": [-2.0, -6.0, -12.0, -24.0]}
    assert cut(grid_of(axes), 8, None).shape == (2, 4)
    assert cut(grid_of(axes), 8, lambda seed, log10_alpha: -log10_alpha).shape == (8, 1)


def test_costs_are_those_of_the_cells():
    grid = grid_of({"a": [1.0, 2.0], "b": [3, 5]})
    indices = cut(grid, 4, None).indices(0)
    costs = cell_cost(grid, lambda a, b: a * b, indices)
    assert costs.tolist() == [3.0, 5.0, 6.0, 10.0]


def all_ids(axes, static=()):
    grid = grid_of(axes, static)
    indices = cut(grid, grid.size, None).indices(0) if not static else None
    if indices is None:
        mesh = np.meshgrid(*(np.arange(size) for size in grid.shape), indexing="ij")
        indices = tuple(part.reshape(-1) for part in mesh)
    columns = [
        [(axis.name, value) for value in axis.values[index].tolist()]
        for axis, index in zip(grid.axes, indices, strict=True)
    ]
    cells = [tuple(sorted(cell)) for cell in zip(*columns, strict=True)]
    return dict(zip(cells, map(tuple, cell_ids(grid, indices).tolist()), strict=True))


def test_ids_depend_on_values_alone():
    whole = all_ids({"a": [0.5, 1.5, 2.5], "s": range(4)})
    assert len(set(whole.values())) == 12
    # Another order of axes and values, another extent, another kind of axis: the same cells.
    for other in (
        all_ids({"s": range(4), "a": [0.5, 1.5, 2.5]}),
        all_ids({"a": [2.5, 7.0, 0.5], "s": [3, 1]}),
        all_ids({"a": [0.5, 1.5], "s": [3, 1]}, static=("s",)),
        # Integers to which halves are added become floats.
        all_ids({"a": [0.5, 1.5], "s": [3, 1, 0.5]}),
    ):
        common = set(whole) & set(other)
        assert len(common) >= 4
        assert all(whole[cell] == other[cell] for cell in common)


def test_ids_of_a_large_grid_differ():
    # Integers, halves and negatives: structured values, whose ids must not be structured.
    axes = {"a": np.arange(-50, 50) / 2, "s": range(100), "t": [True, False]}
    ids = list(all_ids(axes).values())
    assert len(set(ids)) == len(ids) == 20_000
    bits = np.unpackbits(np.asarray(ids, np.uint32).view(np.uint8), axis=None).reshape(-1, 64)
    # Each bit is set in half of the ids; six standard deviations of a fair coin.
    assert np.all(np.abs(bits.mean(axis=0) - 0.5) < 6 * 0.5 / np.sqrt(len(ids)))


def test_the_name_of_the_axis_counts():
    swapped = itertools.chain(all_ids({"a": [1, 2], "b": [3]}).values(),
                              all_ids({"a": [3], "b": [1, 2]}).values())  # fmt: skip
    assert len(set(swapped)) == 4
