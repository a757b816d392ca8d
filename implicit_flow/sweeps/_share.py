"""What the processes of one run agree on before they part: the layout, and who does what."""

from collections.abc import Callable

import jax
import numpy as np


def agree(on_first: Callable[[], np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Runs a function on process 0 alone and hands its answer to all.

    Args:
        on_first: returns an array of 32-bit integers of the given shape; it may raise.
        shape: known to all processes.

    Returns:
        The answer, on every process.

    Raises:
        RuntimeError: on the other processes, if the first one raised.
    """
    if jax.process_count() == 1:
        return on_first()
    from jax.experimental import multihost_utils

    message = np.zeros(1 + int(np.prod(shape)), np.int32)
    problem: Exception | None = None
    if jax.process_index() == 0:
        try:
            message[1:] = on_first().reshape(-1)
        except Exception as error:
            # Raised below, after the others have been told: they would wait forever.
            problem = error
            message[0] = 1
    message = np.asarray(multihost_utils.broadcast_one_to_all(message))
    if problem is not None:
        raise problem
    if message[0]:
        raise RuntimeError(
            "Process 0 could not open the store, so no process computes. Its own message says why."
        )
    return message[1:].reshape(shape)
