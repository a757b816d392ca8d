"""Computations that Ctrl-C stops at once."""

import threading
from collections.abc import Callable
from typing import TypeVar


Answer = TypeVar("Answer")


def interruptible(function: Callable[[], Answer]) -> Answer:
    """Run a function so that Ctrl-C is heard while compiled code runs.

    Python hears a signal between two instructions of its main thread only, and a compiled loop may
    run for minutes. So the work is done in another thread, which cannot be stopped from outside:
    after an interrupt the process should end.

    Args:
        function: what to run.

    Returns:
        Its result.

    Raises:
        KeyboardInterrupt: on Ctrl-C.
    """
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(function())
        except BaseException as error:
            errors.append(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(0.1)
    if errors:
        raise errors[0]
    return answers[0]
