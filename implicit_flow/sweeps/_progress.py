"""One line that says how far a sweep is."""

import abc
import io
import sys
import time
from typing import final


class AbstractProgress(abc.ABC):
    """Hears of the cells as they are done."""

    @abc.abstractmethod
    def start(self, total: int, done: int, failed: int) -> None:
        """Called once.

        Args:
            total: the number of cells that are reported on.
            done: how many of them an earlier run has left in the store.
            failed: how many of those failed.
        """

    @abc.abstractmethod
    def update(self, done: int, failed: int) -> None:
        """Called after each chunk.

        Args:
            done: cells done in this chunk.
            failed: how many of them failed.
        """

    @abc.abstractmethod
    def note(self, text: str) -> None:
        """Says something beside the count.

        Args:
            text: one line.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Called at the end, also after an error."""


@final
class NoProgress(AbstractProgress):
    """Says nothing."""

    def start(self, total: int, done: int, failed: int) -> None:
        """Ignored."""

    def update(self, done: int, failed: int) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""

    def close(self) -> None:
        """Ignored."""


@final
class ProgressLine(AbstractProgress):
    """Cells done, failed, rate, and time left, on standard error.

    A terminal's line is rewritten; anything else gets plain lines, fewer of them.

    Args:
        stream: where to write, `sys.stderr` if None.
        seconds: the least time between two lines: 0.2 on a terminal and 10 elsewhere if None.

    Example:
        >>> import io
        >>> stream = io.StringIO()
        >>> line = ProgressLine(stream)
        >>> line.start(8, 0, 0); line.update(8, 1); line.close()
        >>> stream.getvalue().splitlines()[-1].split(", ")[:2]
        ['sweep: 8 of 8 cells (100%)', '1 failed']
    """

    def __init__(self, stream: io.TextIOBase | None = None, seconds: float | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._rewrites = self._stream.isatty()
        self._seconds = (0.2 if self._rewrites else 10.0) if seconds is None else seconds
        self._total = self._done = self._failed = self._before = 0
        self._started = self._shown = time.monotonic()
        self._is_stale = False

    def start(self, total: int, done: int, failed: int) -> None:
        """Shows the first line."""
        self._total, self._done, self._failed, self._before = total, done, failed, done
        self._started = time.monotonic()
        self._show()

    def update(self, done: int, failed: int) -> None:
        """Counts, and shows the line when it is due."""
        self._done += done
        self._failed += failed
        self._is_stale = True
        if time.monotonic() - self._shown >= self._seconds:
            self._show()

    def note(self, text: str) -> None:
        """Writes a line of its own."""
        self._stream.write(f"\n{text}\n" if self._rewrites else f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Shows the last count."""
        if self._is_stale:
            self._show()
        if self._rewrites:
            self._stream.write("\n")
            self._stream.flush()

    def _show(self) -> None:
        text = self._line()
        self._stream.write(f"\r\x1b[2K{text}" if self._rewrites else f"{text}\n")
        self._stream.flush()
        self._shown = time.monotonic()
        self._is_stale = False

    def _line(self) -> str:
        share = self._done / self._total if self._total else 1.0
        parts = [
            f"sweep: {self._done:,} of {counted(self._total, 'cell')} ({share:.0%})",
            f"{self._failed:,} failed",
        ]
        elapsed = time.monotonic() - self._started
        computed = self._done - self._before
        if computed and elapsed > 0:
            rate = computed / elapsed
            parts.append(f"{rate:.3g} cells/s")
            parts.append(f"{duration((self._total - self._done) / rate)} left")
        return ", ".join(parts)


def counted(number: int, noun: str) -> str:
    """A number of things, in words.

    Args:
        number: how many.
        noun: what they are, one of them.

    Returns:
        Such as `1 chunk` or `1,200 chunks`.

    Example:
        >>> counted(1, "chunk"), counted(1200, "chunk")
        ('1 chunk', '1,200 chunks')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time span as people write it.

    Args:
        seconds: the span.

    Returns:
        Such as `0:07`, `12:30` or `3:05:00`.

    Example:
        >>> duration(3723.4)
        '1:02:03'
    """
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}" if hours else f"{minutes}:{whole:02d}"
