"""Ctrl-C, heard between two steps rather than in the middle of one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import final


@final
@dataclass
class Interruption:
    """How often the user has asked to stop."""

    times: int = 0


@contextmanager
def counted_interrupts() -> Iterator[Interruption]:
    """Counts interrupts instead of raising them.

    An exception that a signal raises can strike between a result and its entry in the books, or
    inside a callback of the garbage collector, where Python drops it. The handlers that are
    installed are still called; only the `KeyboardInterrupt` that they raise is counted.

    Yields:
        The count. It stays at zero in threads other than the main one, which hear no signals.
    """
    heard = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def count(number: int, frame: FrameType | None) -> None:
        handler = previous[signal.Signals(number)]
        try:
            if callable(handler):
                handler(number, frame)
        except KeyboardInterrupt:
            heard.times += 1

    # What is ignored or left to the system has no handler of Python's, and stays as it is.
    taken = [number for number, handler in previous.items() if callable(handler)]
    try:
        for number in taken:
            signal.signal(number, count)
        yield heard
    finally:
        for number in taken:
            signal.signal(number, previous[number])
