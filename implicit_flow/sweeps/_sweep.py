"""The door: check, trace, plan, compute, hand back."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.sharding import Mesh

from .._version import __version__
from ._arguments import check_arguments
from ._execute import Execution, order_share
from ._grid import Blocks, Cost, cut
from ._manifest import Record, differences, identity
from ._outputs import Output
from ._placement import place
from ._plan import Plan, Study, make_plan, study
from ._progress import AbstractProgress, NoProgress, ProgressLine, counted
from ._share import agree
from ._source import function_name
from ._store import LOADED_BYTES, AbstractStore, MemoryStore
from ._strategy import AbstractStrategy, default_strategy
from ._zarr_store import ZarrStore, as_path


if TYPE_CHECKING:
    import xarray


def sweep(
    function: Callable[..., Any],
    axes: Mapping[str, Any],
    *,
    static: Sequence[str] = (),
    store: str | os.PathLike[str] | None = None,
    chunk_size: int | None = None,
    mesh: Mesh | None = None,
    resume: bool = True,
    progress: bool | AbstractProgress = True,
    outputs: Mapping[str, Output] | None = None,
    cost: Cost | None = None,
    strategy: AbstractStrategy | None = None,
    threads: int | None = None,
    force_resume: bool = False,
) -> "xarray.Dataset":
    """Runs a function of named axes on every cell of a grid.

    The function is traced by JAX once for each setting of the static axes, and called as
    `function(**cell)` with scalars: traced ones, but Python values for the axes named in
    `static`. If it has a parameter `key`, it is given a random key that depends on the values of
    the cell and on nothing else.

    A cell that fails is recorded and disturbs no other: `result` holds the function's own code,
    `not_finite` where it returned nan or inf, or `raised`. `sweeps.failed(ds)` and
    `sweeps.messages(ds)` read it.

    With `store`, every chunk is on the disk before it is marked done, and the same call takes up
    where an earlier one ended, however it ended. Under `jax.distributed` each process computes a
    share and returns when that is done.

    Args:
        function: what to compute; returns a pytree of named arrays and, if it likes, one result
            code (an item of an `equinox.Enumeration`, such as `implicit_flow.RESULTS`).
        axes: name -> values, or `Axis` with units and a description.
        static: names of the axes passed as Python values, such as sizes; one compilation each.
        store: path of a Zarr store; in memory if None.
        chunk_size: cells in a chunk, which is computed, stored and lost at most at once;
            measured on a few cells if None.
        mesh: devices to use; all of this process if None.
        resume: whether to go on with a store that exists, or else refuse it.
        progress: whether to report on standard error, or where to report.
        outputs: units, descriptions and dimension names of what is returned.
        cost: relative cost of a cell, a function of the named axes; cells of like cost are put
            side by side and the costly ones first.
        strategy: how the cells of a chunk are run on a device: `Loop()` by default on CPUs,
            `Lanes()` elsewhere.
        threads: host threads; by default one for each core on a one-device CPU, else one. With
            jaxlib before 0.11.2 chunks with batches of LAPACK calls take turns.
        force_resume: go on with a store that another version of this function has made.

    Returns:
        A Dataset on the axes with the returned arrays, and for each cell `result`, `seconds` and
        `attempt`.

    Raises:
        ValueError: if an argument cannot be used, or the store holds another study.
        TypeError: if an argument is of another kind.
        FileExistsError: if the store exists and `resume` is False.
        OSError: if the store cannot be written; what is marked done is whole.
        KeyboardInterrupt: after Ctrl-C; it says how to go on.

    Example:
        >>> import jax.numpy as jnp
        >>> import implicit_flow as imf
        >>> def well(x, depth):
        ...     return {"height": x ** (2 * depth) - x**2}
        >>> ds = imf.sweep(well, {"x": [0.5, 2.0], "depth": [1, 2, 3]}, progress=False)
        >>> ds["height"].sel(x=2.0, depth=3).item()
        60.0
        >>> ds["height"].dims
        ('x', 'depth')
    """
    check_arguments(
        static=static,
        mesh=mesh,
        strategy=strategy,
        outputs=outputs,
        store=store,
        progress=progress,
        resume=resume,
        force_resume=force_resume,
        chunk_size=chunk_size,
        cost=cost,
        threads=threads,
    )
    placement = place(mesh, threads)
    strategy = strategy or default_strategy(placement.platform)
    traced = study(
        function, axes, static=static, outputs=outputs or {}, placement=placement, cost=cost
    )
    reporter = (
        progress
        if isinstance(progress, AbstractProgress)
        else (ProgressLine() if progress else NoProgress())
    )
    opening = None
    if store is None:
        plan, keeper, missing = _in_memory(traced, chunk_size, strategy)
    else:
        opening = _Opening(traced, as_path(store), chunk_size, strategy, reporter)
        plan, keeper, missing = opening.open(resume=resume, force=force_resume)
    share = order_share(plan, missing, placement)
    # A store that is finished may lie where nothing can be written.
    with keeper.claimed(placement) if share else nullcontext():
        if opening is not None and share:
            share = order_share(plan, opening.still_missing(missing), placement)
        _report_start(reporter, plan, keeper, share)
        try:
            Execution(plan, keeper, reporter).run(share)
        finally:
            reporter.close()
    dataset = keeper.dataset()
    return dataset.load() if dataset.nbytes <= LOADED_BYTES else dataset


def _in_memory(
    traced: Study, chunk_size: int | None, strategy: AbstractStrategy
) -> tuple[Plan, AbstractStore, np.ndarray]:
    if traced.placement.processes > 1:
        raise ValueError(
            f"Argument `store` must be given where {traced.placement.processes} processes share a "
            "sweep, but is None. Pass a path on a file system that all of them see."
        )
    plan = make_plan(traced, chunk_size, strategy)
    keeper = MemoryStore(plan.blocks, plan.returned, _attributes(traced))
    return plan, keeper, keeper.missing()


def _report_start(
    reporter: AbstractProgress, plan: Plan, keeper: AbstractStore, share: Sequence[int]
) -> None:
    to_do = sum(plan.blocks.block_size(block) for block in share)
    done, failed = keeper.tally() if plan.placement.processes == 1 else (0, 0)
    reporter.start(done + to_do, done, failed)


def _attributes(traced: Study) -> Record:
    return {
        "description": f"sweep of {function_name(traced.function)}",
        "implicit_flow_version": __version__,
    }


class _Opening:
    """Opens or creates a store, on process 0, and lets the others know."""

    def __init__(
        self,
        traced: Study,
        path: Path,
        chunk_size: int | None,
        strategy: AbstractStrategy,
        reporter: AbstractProgress,
    ) -> None:
        self._study = traced
        self._path = path
        self._chunk_size = chunk_size
        self._strategy = strategy
        self._reporter = reporter

    def open(self, *, resume: bool, force: bool) -> tuple[Plan, ZarrStore, np.ndarray]:
        shape = agree(
            lambda: self._layout(resume=resume, force=force), (len(self._study.grid.axes),)
        )
        blocks = Blocks(self._study.grid, tuple(int(length) for length in shape))
        self._keeper = keeper = ZarrStore(self._path, blocks, self._study.returned)
        is_missing = agree(lambda: self._missing(keeper), (blocks.count,))
        plan = Plan(self._study, blocks, self._strategy)
        return plan, keeper, np.flatnonzero(is_missing)

    def _layout(self, *, resume: bool, force: bool) -> np.ndarray:
        current = identity(
            self._study.function,
            self._study.grid,
            self._study.returned,
            self._study.fingerprints,
        )
        if not self._path.exists():
            plan = make_plan(self._study, self._chunk_size, self._strategy)
            manifest = {"identity": current, "block_shape": list(plan.blocks.shape)}
            keeper = ZarrStore(self._path, plan.blocks, self._study.returned)
            keeper.create(manifest, _attributes(self._study))
            return np.asarray(plan.blocks.shape, np.int32)
        if not resume:
            raise FileExistsError(
                f"Argument `store` must be a free path where resume=False, but {str(self._path)!r} "
                "exists. Pass another path; nothing is ever overwritten."
            )
        shape = self._check_stored(current, force=force)
        if self._chunk_size is not None:
            asked = cut(self._study.grid, self._chunk_size, self._study.cost).shape
            if asked != shape:
                raise ValueError(
                    f"Argument `chunk_size` must cut the grid as the store has it, in blocks of "
                    f"shape {shape}, but {self._chunk_size} makes blocks of shape {asked}. Leave "
                    "it out to go on as before."
                )
        return np.asarray(shape, np.int32)

    def _check_stored(self, current: Record, *, force: bool) -> tuple[int, ...]:
        from ._ledger import Ledger

        ledger = Ledger(self._path)
        if not ledger.exists:
            raise ValueError(
                f"Argument `store` must be a free path or a store made by `sweep`, but "
                f"{str(self._path)!r} is something else. Pass another path."
            )
        manifest = ledger.manifest()
        fixed, forceable = differences(manifest["identity"], current)
        if fixed or (forceable and not force):
            listed = "\n".join(f"  - {difference}" for difference in [*fixed, *forceable])
            cure = (
                "These are settled when a store is made: pass another path."
                if fixed
                else "Pass another path; or, if cells of both may stand side by side, "
                "force_resume=True (on the command line --force-resume)."
            )
            raise ValueError(
                f"Argument `store` must hold this same study, but {str(self._path)!r} was made by "
                f"another one:\n{listed}\n{cure}"
            )
        if forceable:
            self._reporter.note("Going on in spite of: " + "; ".join(forceable))
        return tuple(int(length) for length in manifest["block_shape"])

    def still_missing(self, missing: np.ndarray) -> np.ndarray:
        """The blocks to compute, once the store is claimed: another run may have ended before that.

        Processes that share a sweep agreed on their shares, and have no further say.

        Args:
            missing: what was missing when the store was opened.

        Returns:
            What is missing now.
        """
        if self._study.placement.processes > 1 or not self._keeper.has_changed():
            return missing
        return np.flatnonzero(self._missing(self._keeper))

    def _missing(self, keeper: ZarrStore) -> np.ndarray:
        damaged = keeper.verify()
        if damaged:
            chunks = counted(damaged, "damaged chunk")
            self._reporter.note(f"Computed again: {chunks} in the store.")
        is_missing = np.zeros(keeper.block_count, np.int32)
        is_missing[keeper.missing()] = 1
        return is_missing
