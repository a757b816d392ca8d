"""What a sweep would be, and take, before it is run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from jax.sharding import Mesh

from ._arguments import check_arguments
from ._grid import Cost
from ._placement import place
from ._plan import make_plan, study
from ._progress import counted, duration
from ._strategy import AbstractStrategy, default_strategy


@final
@dataclass(frozen=True)
class Estimate:
    """A sweep in numbers; `print` shows them.

    Args:
        axes: number of values by axis.
        static: names of the static axes.
        variables: dtype and shape of what the function returns, by name.
        compilations: how many programs are compiled.
        chunks: how many chunks there are.
        chunk_size: cells in a full chunk.
        where: the devices and threads of this process.
        strategy: how the cells of a chunk are run.
        cell_seconds: mean time of the cells that were timed.
        cells_timed: how many those were.
        seconds: what the whole sweep may take, compilation left out.
    """

    axes: dict[str, int]
    static: tuple[str, ...]
    variables: dict[str, str]
    compilations: int
    chunks: int
    chunk_size: int
    where: str
    strategy: str
    cell_seconds: float
    cells_timed: int
    seconds: float

    @property
    def cells(self) -> int:
        """The number of cells in the grid."""
        total = 1
        for size in self.axes.values():
            total *= size
        return total

    def __str__(self) -> str:
        grid = " x ".join(
            f"{size} {name}{' (static)' if name in self.static else ''}"
            for name, size in self.axes.items()
        )
        returned = ", ".join(f"{name} {text}" for name, text in self.variables.items())
        compiled = counted(self.compilations, "compilation")
        return "\n".join(
            [
                f"grid      {grid} = {counted(self.cells, 'cell')}, {compiled}",
                f"returns   {returned}",
                f"chunks    {self.chunks:,} of up to {counted(self.chunk_size, 'cell')}",
                f"runs on   {self.where}, cells by {self.strategy}",
                f"cost      {self.cell_seconds:.3g} s a cell ({self.cells_timed} timed), "
                f"about {duration(self.seconds)} in all, compilation left out",
            ]
        )


def estimate(
    function: Callable[..., Any],
    axes: Mapping[str, Any],
    *,
    static: Sequence[str] = (),
    chunk_size: int | None = None,
    mesh: Mesh | None = None,
    cost: Cost | None = None,
    strategy: AbstractStrategy | None = None,
    threads: int | None = None,
) -> Estimate:
    """Says what `sweep` would do with the same arguments, after timing a few cells.

    Args:
        function: as for `sweep`.
        axes: as for `sweep`.
        static: as for `sweep`.
        chunk_size: as for `sweep`.
        mesh: as for `sweep`.
        cost: as for `sweep`.
        strategy: as for `sweep`.
        threads: as for `sweep`.

    Returns:
        The numbers.

    Raises:
        ValueError: as for `sweep`.
        TypeError: as for `sweep`.

    Example:
        >>> from implicit_flow import sweeps
        >>> found = sweeps.estimate(lambda a, seed: a * seed, {"a": [1.0, 2.0], "seed": range(3)})
        >>> found.cells, found.compilations
        (6, 1)
    """
    check_arguments(
        static=static,
        chunk_size=chunk_size,
        mesh=mesh,
        cost=cost,
        strategy=strategy,
        threads=threads,
    )
    placement = place(mesh, threads)
    strategy = strategy or default_strategy(placement.platform)
    traced = study(function, axes, static=static, outputs={}, placement=placement, cost=cost)
    plan = make_plan(traced, chunk_size, strategy)
    seconds, timed = plan.estimate()
    where = placement.describe()
    if plan.threads < placement.threads:
        where += ", of which one computes at a time, for batches of LAPACK calls"
    return Estimate(
        axes={axis.name: axis.values.size for axis in traced.grid.axes},
        static=tuple(axis.name for axis in traced.grid.static_axes),
        variables=traced.returned.describe(),
        compilations=len(traced.programs),
        chunks=plan.blocks.count,
        chunk_size=plan.blocks.capacity,
        where=where,
        strategy=strategy.describe(),
        cell_seconds=seconds * plan.parallel / traced.grid.size,
        cells_timed=timed,
        seconds=seconds,
    )
