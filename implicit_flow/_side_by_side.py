"""Work that is spread over the cores of a machine."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jax
import numpy as np

from ._cores import cores


Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`map` on one thread a core: XLA gives Python's lock free while it compiles and computes.

    Not for programs with batches of LAPACK calls, which may hang then
    (docs/decisions/batched_lapack.md).

    Args:
        function: of one item.
        items: to be mapped; begun in this order.

    Returns:
        The results, in the order of the items.

    Raises:
        Exception: the first that `function` raises; items not begun by then are not begun at all.

    Example:
        >>> from implicit_flow._side_by_side import side_by_side
        >>> side_by_side(abs, [-2, 1])
        [2, 1]
    """
    # What a caller has set with `with` belongs to the caller's thread alone.
    x64 = jax.dtypes.canonicalize_dtype(float) == np.float64
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]

    def there(item: Item) -> Result:
        with jax.enable_x64(x64), jax.default_device(device):
            return function(item)

    pool = ThreadPoolExecutor(cores(), thread_name_prefix="side-by-side")
    try:
        return [each.result() for each in [pool.submit(there, item) for item in items]]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
