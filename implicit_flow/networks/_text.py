"""Text as a sequence of characters, split by book."""

import csv
import dataclasses
from pathlib import Path

import numpy as np

from ._files import find_file, read_bytes


@dataclasses.dataclass(frozen=True, eq=False)
class Text:
    """Characters as small integers, a byte each: those beyond ASCII are several in UTF-8.

    Attributes:
        alphabet: the characters, in the order of their numbers.
        train: the numbers of the training text.
        validation: those of the held-out text.
        test: those of the test text.
    """

    alphabet: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def text(folder: Path | str, *, max_length: int | None = None) -> Text:
    """Plain text from a folder.

    Args:
        folder: where the text is: `*.txt`, `*.txt.gz` or `*.txt.xz` (the first by name). If there
            is an `*_offsets.csv` beside it with the columns start and length, a row for each book,
            whole books are split 90 : 5 : 5; otherwise the text is cut at those shares.
        max_length: the number of training characters to keep, from the front; all if None.

    Returns:
        The text.

    Raises:
        ValueError: if there is no text, or too little.
    """
    folder = Path(folder)
    path = find_file(folder, "*.txt.xz", "*.txt.gz", "*.txt")
    content = np.frombuffer(read_bytes(path), np.uint8)
    if content.size < 20:
        raise ValueError(
            f"File {path} must hold at least 20 characters, but holds {content.size}. Pass a "
            "folder with a longer text."
        )
    present = np.flatnonzero(np.bincount(content, minlength=256))
    numbers = np.zeros(256, np.uint8)
    numbers[present] = np.arange(len(present), dtype=np.uint8)
    tokens = numbers[content]
    name = path.name.split(".")[0]
    tables = sorted(folder.glob(f"{name}*_offsets.csv"))
    first, second = _cuts(tables[0] if tables else None, tokens.size)
    return Text(
        bytes(present.astype(np.uint8)).decode("latin-1"),
        tokens[:first][:max_length],
        tokens[first:second],
        tokens[second:],
    )


def _cuts(table: Path | None, size: int) -> tuple[int, int]:
    """Where the held-out and the test part begin: at the start of a book, if books are known."""
    wanted = (int(0.9 * size), int(0.95 * size))
    if table is None:
        return wanted
    with table.open(newline="") as stream:
        starts = np.array([int(row["start"]) for row in csv.DictReader(stream)])
    starts = starts[(starts > 0) & (starts < size)]
    if starts.size < 2:
        return wanted
    first = int(starts[np.argmin(np.abs(starts - wanted[0]))])
    later = starts[starts > first]
    if later.size == 0:
        return int(starts[-2]), int(starts[-1])
    return first, int(later[np.argmin(np.abs(later - wanted[1]))])
