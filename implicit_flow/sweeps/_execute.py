"""Runs blocks on the hardware of this process and hands their results to the store."""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import final

import numpy as np

from ._interrupt import Interruption, counted_interrupts
from ._outcomes import NOT_FINITE, RAISED, outcome_table
from ._outputs import Returned
from ._placement import Placement
from ._plan import Plan
from ._program import CELL_ERRORS, ChunkProgram, PlacedCells, check_memory
from ._progress import AbstractProgress, counted
from ._store import AbstractStore, BlockResult, blank


# Texts of exceptions kept for a block, and their length: enough to see what went wrong.
_MAX_TEXTS = 3
_MAX_LENGTH = 500
# How long an interrupt may go unheard while the devices compute.
_PATIENCE = 0.1


@final
class Execution:
    """Keeps the devices busy, and writes what they finish.

    The main thread prepares blocks, writes results and reports; threads wait for the devices. At
    any time a few blocks per thread are prepared or under way, so memory does not grow with the
    number of cells.
    """

    def __init__(self, plan: Plan, store: AbstractStore, progress: AbstractProgress) -> None:
        self._plan = plan
        self._store = store
        self._progress = progress
        self._under_way: dict[Future[BlockResult], int] = {}

    def run(self, blocks: Sequence[int]) -> None:
        """Computes blocks in the order given and stores them as they are done.

        Args:
            blocks: their numbers.

        Raises:
            KeyboardInterrupt: after Ctrl-C, when the blocks under way are stored.
            OSError: if the store cannot be written.
            MemoryError: if a device cannot hold a chunk.
        """
        with counted_interrupts() as interruption:
            self._run(blocks, interruption)

    def _run(self, blocks: Sequence[int], interruption: Interruption) -> None:
        threads = self._plan.placement.threads
        waiting = iter(blocks)
        executor = ThreadPoolExecutor(threads, thread_name_prefix="sweep")
        try:
            self._submit(executor, waiting, 2 * threads)
            while self._under_way:
                if interruption.times:
                    raise KeyboardInterrupt
                self._collect(executor, waiting)
        except KeyboardInterrupt:
            self._finish_after_interrupt(interruption)
            raise KeyboardInterrupt(self._account("Interrupted.")) from None
        except OSError as error:
            message = self._account(f"A result could not be written: {error.strerror or error}.")
            raise OSError(error.errno, message, error.filename) from error
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def _submit(self, executor: ThreadPoolExecutor, waiting: Iterator[int], count: int) -> None:
        while len(self._under_way) < count:
            block = next(waiting, None)
            if block is None:
                return
            program, placed = self._plan.prepare(block)
            future = executor.submit(self._run_block, block, program, placed)
            self._under_way[future] = block

    def _run_block(self, block: int, program: ChunkProgram, placed: PlacedCells) -> BlockResult:
        program.compile()
        return run_block(self._plan.returned, block, program, placed, self._store.begin(block))

    def _collect(self, executor: ThreadPoolExecutor, waiting: Iterator[int]) -> None:
        done, _ = wait(self._under_way, _PATIENCE, FIRST_COMPLETED)
        # First new work for the thread that has become free, then the slow disk.
        self._submit(executor, waiting, 2 * self._plan.placement.threads + len(done))
        self._keep(done)

    def _keep(self, futures: Iterable[Future[BlockResult]]) -> None:
        """Stores results; all that came while the disk was busy share one turn of it."""
        futures = list(futures)
        if not futures:
            return
        results = [future.result() for future in futures]
        self._store.write(results)
        for future, result in zip(futures, results, strict=True):
            # Only now: an interruption during the write leaves it to be written again.
            del self._under_way[future]
            self._progress.update(result.cells, result.failed)

    def _finish_after_interrupt(self, interruption: Interruption) -> None:
        """Stores what is being computed; a second Ctrl-C gives that up."""
        heard = min(interruption.times, 1)
        for future in list(self._under_way):
            if future.cancel():
                del self._under_way[future]
        if not self._under_way:
            return
        self._progress.note(
            f"Interrupted: waiting for {counted(len(self._under_way), 'chunk')} under way. "
            "Ctrl-C again gives up."
        )
        try:
            while self._under_way and interruption.times == heard:
                self._keep(wait(self._under_way, _PATIENCE, FIRST_COMPLETED).done)
        except KeyboardInterrupt:
            pass
        self._under_way.clear()

    def _account(self, what: str) -> str:
        done, _ = self._store.tally()
        total = self._plan.blocks.grid.size
        cells, are = counted(total, "cell"), "is" if total == 1 else "are"
        return f"{what} {done:,} of {cells} {are} done. {self._store.advice()}"


def run_block(
    returned: Returned, block: int, program: ChunkProgram, placed: PlacedCells, attempt: int
) -> BlockResult:
    """Computes one block; a cell that raises is found and recorded, and the others go on.

    Args:
        returned: what the function returns.
        block: the number of the block.
        program: the compiled chunk.
        placed: the cells.
        attempt: for the how-many-th time the block is run.

    Returns:
        The arrays to store, with the cells as first dimension.

    Raises:
        MemoryError: if the device cannot hold the chunk.
    """
    started = time.perf_counter()
    errors: list[str] = []
    raised = np.zeros(placed.slots.size, bool)
    try:
        leaves = program.run(placed)
    except CELL_ERRORS as error:
        check_memory(error)
        leaves = _run_alone(program, placed, raised, errors)
    seconds = (time.perf_counter() - started) / placed.slots.size
    arrays = {variable.name: leaves[variable.position] for variable in returned.variables}
    result = _outcomes(returned, leaves, raised)
    if np.any(raised):
        for variable in returned.variables:
            leaves[variable.position][raised] = blank(variable.dtype)
    answers = [code for code, _, _, answer in outcome_table(returned.enumeration) if answer]
    failed = int(np.sum(~np.isin(result, answers)))
    arrays["result"] = result
    arrays["seconds"] = np.full(result.shape, seconds)
    arrays["attempt"] = np.full(result.shape, attempt, np.int32)
    return BlockResult(block, arrays, failed, errors)


def _run_alone(
    program: ChunkProgram, placed: PlacedCells, raised: np.ndarray, errors: list[str]
) -> list[np.ndarray]:
    """Runs the cells of a block that raised one by one, in the same compiled program."""
    leaves = program.empty(placed.slots.size)
    for cell in range(placed.slots.size):
        try:
            for leaf, row in zip(leaves, program.run_alone(placed, cell), strict=True):
                leaf[cell : cell + 1] = row
        except CELL_ERRORS as error:
            check_memory(error)
            raised[cell] = True
            if len(errors) < _MAX_TEXTS:
                errors.append(f"cell {cell} of the block: {_gist(error)}")
    return leaves


def _gist(error: Exception) -> str:
    """The message of the innermost exception; JAX quotes the tracebacks of callbacks whole."""
    text = str(error).strip() or type(error).__name__
    raised = re.findall(r"^[\w.]*(?:Error|Exception): (?:.+\n?)+", text, flags=re.MULTILINE)
    return (raised[-1] if raised else text).strip()[:_MAX_LENGTH]


def _outcomes(returned: Returned, leaves: list[np.ndarray], raised: np.ndarray) -> np.ndarray:
    if returned.result_position is None:
        result = np.zeros(raised.shape, np.int32)
    else:
        result = leaves[returned.result_position].astype(np.int32)
    answers = [code for code, _, _, answer in outcome_table(returned.enumeration) if answer]
    finite = np.ones(raised.shape, bool)
    for variable in returned.variables:
        if variable.dtype.kind in "fc" and not variable.output.may_be_nonfinite:
            rows = leaves[variable.position].reshape(raised.size, -1)
            finite &= np.all(np.isfinite(rows), axis=1)
    # A code of the function's own says more than the nan that it may have left behind.
    result = np.where(np.isin(result, answers) & ~finite, np.int32(NOT_FINITE), result)
    return np.where(raised, np.int32(RAISED), result)


def order_share(plan: Plan, missing: np.ndarray, placement: Placement) -> list[int]:
    """This process's blocks, the costly ones first, so that processes and threads end together.

    Args:
        plan: the plan.
        missing: the numbers of the blocks still to be computed, the same on every process.
        placement: which process this is.

    Returns:
        Numbers of blocks; groups with one compilation stay together.
    """
    ordered = plan.in_order(missing)
    return ordered[placement.process :: placement.processes]
