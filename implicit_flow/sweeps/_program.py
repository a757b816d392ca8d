"""From a function of one cell to a compiled program for a chunk of cells."""

import functools
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ._axes import GridAxis, accepts_key
from ._batched_lapack import turn_of
from ._outputs import part_name
from ._strategy import AbstractStrategy


@final
@dataclass(frozen=True)
class TracedCell:
    """A function of one cell, traced once for one setting of the static axes."""

    names: tuple[str, ...]
    takes_key: bool
    program: core.ClosedJaxpr
    shapes: Any

    @property
    def leaves(self) -> list[Any]:
        return list(self.program.out_avals)

    @property
    def bytes(self) -> int:
        """The size of what one cell returns."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in self.leaves)


def trace_cell(
    function: Callable[..., Any], axes: tuple[GridAxis, ...], fixed: Mapping[str, Any]
) -> TracedCell:
    """Traces `function(**cell)` with scalars for the axes that are not static.

    Args:
        function: the function to be swept.
        axes: the traced axes.
        fixed: values of the static axes.

    Returns:
        The traced function, and the pytree that it returns.
    """
    names = tuple(axis.name for axis in axes)
    takes_key = accepts_key(function)
    scalars = [jax.ShapeDtypeStruct((), axis.traced_values.dtype) for axis in axes]
    key = jax.eval_shape(lambda: jax.random.key(0))

    def of_cell(values, key):
        keyword = {"key": key} if takes_key else {}
        returned = function(**dict(zip(names, values, strict=True)), **fixed, **keyword)
        return jax.tree_util.tree_map_with_path(_as_array, returned)

    program, shapes = jax.make_jaxpr(of_cell, return_shape=True)(scalars, key)
    return TracedCell(names, takes_key, program, shapes)


def _as_array(path: Any, leaf: Any) -> Any:
    try:
        return jnp.asarray(leaf)
    except (TypeError, ValueError):
        name = ".".join(part_name(part) for part in path) or "value"
        raise ValueError(
            f"Argument `function` must return numbers, but returns {leaf!r} as {name!r}. Leave it "
            "out, or return a number for it."
        ) from None


def _run_chunk(cell: TracedCell, width: int, columns, ids, count):
    """Runs the first `count` cells, `width` at a time, and returns every leaf stacked."""
    run_cell = core.jaxpr_as_fun(cell.program)

    def one(values, halves):
        # The key hangs on the cell's id alone: not on the chunk, the device or the order.
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), halves[0]), halves[1])
        return run_cell(*values, key)

    def step(index, stacked):
        start = index * width
        values = [lax.dynamic_slice_in_dim(column, start, width) for column in columns]
        halves = lax.dynamic_slice_in_dim(ids, start, width)
        if width == 1:
            row = one([value[0] for value in values], halves[0])
            # A constant comes back as a Python number.
            rows = [jnp.asarray(leaf)[None] for leaf in row]
        else:
            rows = jax.vmap(one)(values, halves)
        return [
            lax.dynamic_update_slice_in_dim(leaf, row, start, 0)
            for leaf, row in zip(stacked, rows, strict=True)
        ]

    empty = [jnp.zeros((ids.shape[0], *leaf.shape), leaf.dtype) for leaf in cell.leaves]
    # `count` is traced: one compilation serves full chunks, edges, and single cells.
    return lax.fori_loop(jnp.int32(0), (count[0] + width - 1) // width, step, empty)


@final
class ChunkProgram:
    """A chunk of cells, compiled once, on one device or on each device of a mesh.

    Each device runs a loop of its own (`shard_map`), so that none waits for another's cells.
    """

    def __init__(self, cell: TracedCell, axes: tuple[GridAxis, ...], mesh: Mesh) -> None:
        self._cell = cell
        self._axes = axes
        self._dtypes = [axis.traced_values.dtype for axis in axes]
        self._x64 = jax.dtypes.canonicalize_dtype(float) == np.float64
        self._mesh = mesh
        self._split = NamedSharding(mesh, PartitionSpec(*mesh.axis_names))
        self._lock = threading.Lock()
        self._turn: AbstractContextManager[object] = nullcontext()
        self._lowered: Any = None
        self._compiled: Any = None
        self._per_device = 0

    @property
    def devices(self) -> int:
        """The number of devices that share a chunk."""
        return self._mesh.size

    @property
    def takes_turns(self) -> bool:
        """Whether it must not run beside others of its kind; known once it is lowered."""
        return not isinstance(self._turn, nullcontext)

    def lower(self, capacity: int, strategy: AbstractStrategy) -> None:
        """Prepares the program for chunks of `capacity` cells; the first call decides.

        Lowering reads thread-local settings of JAX, so it belongs to the caller's thread.

        Args:
            capacity: the largest number of cells in a chunk.
            strategy: how they are run.
        """
        if self._lowered is not None:
            return
        share = -(-capacity // self.devices)
        width = strategy.width(share)
        self._per_device = -(-share // width) * width
        run = functools.partial(_run_chunk, self._cell, width)
        if self.devices > 1:
            part = self._split.spec
            # `check_vma` rejects the bounded loops of Equinox, and so of Diffrax.
            run = jax.shard_map(
                run, mesh=self._mesh, in_specs=part, out_specs=part, check_vma=False
            )
        total = self._per_device * self.devices
        columns = [jax.ShapeDtypeStruct((total,), dtype) for dtype in self._dtypes]
        ids = jax.ShapeDtypeStruct((total, 2), jnp.uint32)
        counts = jax.ShapeDtypeStruct((self.devices,), jnp.int32)
        jitted = jax.jit(run, in_shardings=self._split, out_shardings=self._split)
        self._lowered = jitted.lower(columns, ids, counts)
        self._turn = turn_of(self._lowered.as_text())

    def compile(self) -> None:
        """Compiles what was lowered; any thread may call it, and the first one works."""
        with self._lock:
            if self._compiled is None:
                self._compiled = self._lowered.compile()

    def place(
        self, indices: tuple[np.ndarray, ...], ids: np.ndarray, order: np.ndarray | None = None
    ) -> "PlacedCells":
        """Deals cells out to the devices, one by one.

        Args:
            indices: for each traced axis, the index of each cell.
            ids: the ids of the cells, shape (cells, 2).
            order: the order in which the cells are dealt, so that lanes of like cost meet.

        Returns:
            The arguments of `run`.
        """
        columns = [
            axis.values[index].astype(dtype)
            for axis, index, dtype in zip(self._axes, indices, self._dtypes, strict=True)
        ]
        return self._place(columns, ids, np.arange(ids.shape[0]) if order is None else order)

    def _place(
        self, columns: list[np.ndarray], ids: np.ndarray, order: np.ndarray
    ) -> "PlacedCells":
        turns = np.arange(order.size)
        slots = np.empty(order.size, int)
        slots[order] = (turns % self.devices) * self._per_device + turns // self.devices
        counts = np.bincount(turns % self.devices, minlength=self.devices).astype(np.int32)
        # Slots without a cell repeat the last: a lane that does what its neighbor does is free.
        source = np.full(self._per_device * self.devices, order[-1])
        source[slots] = np.arange(order.size)
        arguments = ([column[source] for column in columns], ids[source], counts)
        return PlacedCells(arguments, slots, columns, ids)

    def run(self, placed: "PlacedCells") -> list[np.ndarray]:
        """Computes cells, and waits for them.

        Args:
            placed: what `place` returned.

        Returns:
            Every returned leaf, with the cells as its first dimension.
        """
        self.compile()
        # In a thread of its own, JAX's precision may be another than where the cells came from. The
        # cells are meant to go to the device, whatever guards against transfers by accident. And
        # all leaves are waited for before one is copied: an error must not be half delivered.
        meant = jax.transfer_guard_host_to_device("allow")
        with self._turn, jax.enable_x64(self._x64), meant:
            leaves = jax.block_until_ready(self._compiled(*placed.arguments))
        return [np.asarray(leaf)[placed.slots] for leaf in leaves]

    def run_alone(self, placed: "PlacedCells", cell: int) -> list[np.ndarray]:
        """Computes one cell of those placed, with the same compiled program.

        Args:
            placed: what `place` returned.
            cell: its position.

        Returns:
            Every returned leaf, with this cell as its first dimension.
        """
        columns = [column[cell : cell + 1] for column in placed.columns]
        single = self._place(columns, placed.ids[cell : cell + 1], np.zeros(1, int))
        return self.run(single)

    def empty(self, cells: int) -> list[np.ndarray]:
        """Leaves full of zeros, to be filled cell by cell.

        Args:
            cells: how many.

        Returns:
            One array for each returned leaf.
        """
        return [np.zeros((cells, *leaf.shape), leaf.dtype) for leaf in self._cell.leaves]


@final
@dataclass(frozen=True)
class PlacedCells:
    """Cells as the devices are handed them, where each of them lies, and the cells themselves.

    They stay on the host until the program is called, whose own path to the device takes a tenth
    of the time of `device_put`.
    """

    arguments: Any
    slots: np.ndarray
    columns: list[np.ndarray]
    ids: np.ndarray


# What a compiled program raises: errors of the runtime and of callbacks, and those that
# `jax_debug_nans` asks for. Anything else is a fault of this library, and must not be recorded as
# the fault of a cell.
CELL_ERRORS = (jax.errors.JaxRuntimeError, FloatingPointError)


def check_memory(error: Exception) -> None:
    """Turns a device's lack of memory into advice; other errors are none of its business.

    Args:
        error: as raised by a compiled program.

    Raises:
        MemoryError: if the device ran out of memory.
    """
    if "RESOURCE_EXHAUSTED" in str(error):
        raise MemoryError(
            "Argument `chunk_size` must be such that a chunk fits on the device, but the device "
            f"ran out of memory ({str(error)[:500]}). Pass a smaller chunk_size, or "
            "strategy=Lanes(count) with fewer lanes."
        ) from error
