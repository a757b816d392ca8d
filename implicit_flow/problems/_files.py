"""Problems from files: measurement matrices in `.npz`, a partly observed matrix in `.csv`."""

import os
import stat
from pathlib import Path

import numpy as np

from .. import _checks
from ..measurements import DenseMeasurement, EntryMeasurement, rectangular_entries
from ._archive import read_archive
from ._problem import Problem
from ._triplets import Triplet, merge_mirrored, read_triplets, refuse_repeats


def load(
    path: str | os.PathLike[str],
    *,
    dim: int | None = None,
    rectangular: bool = False,
    shape: tuple[int, int] | None = None,
) -> Problem:
    r"""Read a problem from a file. A pickle is never opened.

    A `.npz` holds `stack` (m, n, n) and `targets` (m,); other arrays in it are left alone. A
    `.csv` holds lines `row,col,value`, 0-based, with or without a header: entries of a symmetric
    matrix, in which a mirrored line (j, i) is allowed if it has the value of (i, j), and is then
    counted once; or, with `rectangular=True`, entries of a rectangular matrix.

    Args:
        path: of the file.
        dim: n, for a symmetric `.csv` whose last rows are all unseen; the largest index + 1 if
            None.
        rectangular: read a `.csv` as entries of a rectangular W, embedded in a positive
            semidefinite matrix.
        shape: (p, q) of W, for a rectangular `.csv` with unseen last rows or columns.

    Returns:
        The problem.

    Raises:
        ValueError: a file that is missing, empty, of another kind, or wrong; the message has the
            line number.

    Example:
        >>> import tempfile, pathlib, implicit_flow as imf
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "ratings.csv"
        >>> _ = path.write_text("row,col,value\n0,1,2.5\n2,2,1\n")
        >>> imf.problems.load(path).dim
        3
    """
    path = _file(path)
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".csv"):
        _checks.refuse(
            "path",
            "end in .npz (stack, targets) or .csv (row,col,value)",
            f"{path.name} ends in {suffix!r}",
        )
    symmetric = suffix == ".csv" and not rectangular
    if rectangular and suffix != ".csv":
        _checks.refuse("rectangular", "be left out for a .npz", "is True")
    if dim is not None and not symmetric:
        _checks.refuse(
            "dim",
            "be left out unless a .csv is read as a symmetric matrix",
            f"is {dim}",
            "For a rectangular one give `shape=(p, q)`." if rectangular else "",
        )
    if shape is not None and not rectangular:
        _checks.refuse(
            "shape",
            "be left out unless a .csv is read with `rectangular=True`",
            f"is {shape}",
            "For a symmetric one give `dim=n`." if symmetric else "",
        )
    if suffix == ".npz":
        stack, targets = read_archive(path)
        return Problem(DenseMeasurement(stack), targets)
    return _symmetric(path, dim) if symmetric else _rectangular(path, shape)


def _file(path: str | os.PathLike[str]) -> Path:
    """The path of a file that exists, can be looked at, and has content."""
    try:
        path = Path(path)
        status = path.stat()
    except FileNotFoundError:
        _checks.refuse("path", "name a file", f"{path} does not exist")
    except (TypeError, ValueError):
        _checks.refuse("path", "be the path of a file", f"is {path!r}")
    except OSError as error:
        _checks.refuse("path", "name a file", f"{path} cannot be opened ({error.strerror})")
    if stat.S_ISDIR(status.st_mode):
        _checks.refuse("path", "name a file", f"{path} is a folder")
    if not stat.S_ISREG(status.st_mode):
        # Reading a pipe could wait forever.
        _checks.refuse("path", "name an ordinary file", f"{path} is a pipe or a device")
    if status.st_size == 0:
        _checks.refuse("path", "name a file with content", f"{path} is empty")
    return path


def _symmetric(path: Path, dim: int | None) -> Problem:
    lines = read_triplets(path)
    refuse_repeats(lines, path)
    lines = merge_mirrored(lines, path)
    last = max(lines, key=lambda line: max(line.row, line.col))
    n = _extent(path, "dim", dim, last, max(last.row, last.col))
    rows, cols = [line.row for line in lines], [line.col for line in lines]
    return Problem(EntryMeasurement(rows, cols, n), np.array([line.value for line in lines]))


def _rectangular(path: Path, shape: tuple[int, int] | None) -> Problem:
    lines = read_triplets(path)
    refuse_repeats(lines, path)
    p_given, q_given = (None, None) if shape is None else _checks.sides(shape, "shape")
    lowest, rightmost = max(lines, key=lambda line: line.row), max(lines, key=lambda line: line.col)
    p = _extent(path, "shape[0]", p_given, lowest, lowest.row)
    q = _extent(path, "shape[1]", q_given, rightmost, rightmost.col)
    rows, cols = [line.row for line in lines], [line.col for line in lines]
    values = np.array([line.value for line in lines])
    return Problem(rectangular_entries(rows, cols, (p, q)), values)


# Beyond this a dense n x n matrix no longer fits the memory of an ordinary machine.
_LARGEST_DIM = 50_000


def _extent(path: Path, name: str, given: int | None, last: Triplet, largest: int) -> int:
    """The size that was given, if it holds the largest index; else the least that does."""
    if given is not None:
        _checks.at_least(given, name, 1)
        if largest >= given:
            _checks.refuse(
                name,
                f"exceed every index of {path.name}",
                f"is {given}, and line {last.number} has index {largest}",
            )
        return given
    if largest >= _LARGEST_DIM:
        _checks.refuse(
            "path",
            f"hold indices below {_LARGEST_DIM}",
            f"line {last.number} of {path.name} has index {largest}",
            "Renumber the rows and columns that occur as 0, 1, 2, ...",
        )
    return largest + 1
