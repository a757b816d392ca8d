"""Programs that must not run beside each other: docs/decisions/batched_lapack.md."""

import re
import threading
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version


# The first version whose batches of LAPACK calls are computed by the thread that asks for them.
_MENDED = (0, 11, 2)
_CALL = re.compile(r"custom_call @lapack_(\w+)\(.*: \(tensor<((?:\d+x)+)")
_one_at_a_time = threading.Lock()


def turn_of(lowered: str) -> AbstractContextManager[object]:
    """What a thread has to hold while it runs a program on the CPU.

    Args:
        lowered: the program, as text.

    Returns:
        The lock of all programs that hand batches of LAPACK calls to XLA's threads and wait for
        them on such a thread, or nothing to hold for others.
    """
    installed = tuple(int(part) for part in re.findall(r"\d+", version("jaxlib"))[:3])
    return _one_at_a_time if installed < _MENDED and _has_batches(lowered) else nullcontext()


def _has_batches(lowered: str) -> bool:
    for name, shape in _CALL.findall(lowered):
        # A tridiagonal matrix comes as vectors, every other one as itself.
        sizes = [int(size) for size in shape.split("x")[: -2 if "gtsv" in name else -3]]
        if any(size > 1 for size in sizes):
            return True
    return False
