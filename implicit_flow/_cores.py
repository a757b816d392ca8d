"""How many cores this process may use, and work that is spread over them."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar


Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Cores that this process may use, which a cluster's scheduler may have limited.

    Returns:
        How many; at least 1.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def side_by_side(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`map` on one thread a core: XLA gives Python's lock free while it compiles and computes.

    Not for programs with batches of LAPACK calls, which may hang then; see
    docs/decisions/batched_lapack.md.

    Args:
        function: of one item.
        items: to be mapped; begun in this order.

    Returns:
        The results, in the order of the items.

    Raises:
        Exception: the first that `function` raises; items not begun by then are not begun at all.

    Example:
        >>> from implicit_flow._cores import side_by_side
        >>> side_by_side(abs, [-2, 1])
        [2, 1]
    """
    pool = ThreadPoolExecutor(cores(), thread_name_prefix="side-by-side")
    try:
        return [each.result() for each in [pool.submit(function, item) for item in items]]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
