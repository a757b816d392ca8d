"""Lines `row,col,value` of a `.csv`, each checked by itself and against the others."""

import csv
import io
import math
import re
from pathlib import Path
from typing import NamedTuple

from .. import _checks


class Triplet(NamedTuple):
    """One observed entry, and the line that it stands on.

    Attributes:
        number: of the line, from 1.
        row: 0-based.
        col: 0-based.
        value: finite.
    """

    number: int
    row: int
    col: int
    value: float


def read_triplets(path: Path) -> list[Triplet]:
    """Read the observed entries, in the order of the file.

    Args:
        path: of the file.

    Returns:
        At least one triplet.

    Raises:
        ValueError: not text, no lines, or a line that is not two indices and a number.
    """
    triplets: list[Triplet] = []
    first = True
    for number, fields in _records(path):
        if first and _is_header(fields, path):
            first = False
            continue
        first = False
        triplets.append(_triplet(fields, number, path))
    if not triplets:
        _checks.refuse("path", "hold lines `row,col,value`", f"{path.name} holds none")
    return triplets


def refuse_repeats(lines: list[Triplet], path: Path) -> None:
    """Refuse two lines for the same (row, col).

    Args:
        lines: the triplets.
        path: of the file, for the message.

    Raises:
        ValueError: with both line numbers.
    """
    seen: dict[tuple[int, int], int] = {}
    for line in lines:
        before = seen.setdefault((line.row, line.col), line.number)
        if before != line.number:
            _checks.refuse(
                "path",
                "name each entry once",
                f"line {line.number} of {path.name} repeats {(line.row, line.col)} of line "
                f"{before}",
                "Drop or average the repeats.",
            )


def merge_mirrored(lines: list[Triplet], path: Path) -> list[Triplet]:
    """Keep the first of (i, j) and (j, i), which must have the same value.

    Args:
        lines: the triplets, without repeats.
        path: of the file, for the message.

    Returns:
        The triplets that are kept, in their order.

    Raises:
        ValueError: mirrored entries with different values.
    """
    kept: dict[tuple[int, int], Triplet] = {}
    for line in lines:
        mirror = kept.get((line.col, line.row))
        if mirror is None or mirror is line:
            kept[line.row, line.col] = line
        elif mirror.value != line.value:
            _checks.refuse(
                "path",
                "give a symmetric matrix",
                f"line {line.number} of {path.name} has {line.value} at {(line.row, line.col)} "
                f"and line {mirror.number} has {mirror.value} at {(mirror.row, mirror.col)}",
                "Make them equal, or read the file as a rectangular matrix (`rectangular=True`, "
                "`--rectangular`).",
            )
    return list(kept.values())


def _records(path: Path) -> list[tuple[int, list[str]]]:
    """Lines that are not blank, with their numbers."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _checks.refuse("path", "be a text file in UTF-8", f"{path.name} is not ({error.reason})")
    except OSError as error:
        _checks.refuse("path", "be readable", f"{path.name} is not ({error.strerror})")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    records, number = [], 1
    try:
        for fields in reader:
            # A quoted field may span lines: a record has the number of its first.
            if any(field.strip() for field in fields):
                records.append((number, [field.strip() for field in fields]))
            number = reader.line_num + 1
    except csv.Error as error:
        _checks.refuse(
            "path", "hold lines `row,col,value`", f"line {number} of {path.name} is not ({error})"
        )
    return records


# Python's own readers also take 1_000, and digits of other scripts.
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(nan|inf(inity)?)", re.I
)

_SEPARATORS = re.compile(r"\s*[;|:]\s*|\s+")


def _is_header(fields: list[str], path: Path) -> bool:
    """Whether no field is a number: one that is makes it a line with a mistake."""
    if any(_NUMBER.fullmatch(field) for field in fields):
        return False
    # Numbers that something else than commas separates are no names of columns either.
    pieces = _SEPARATORS.split(fields[0])
    if len(fields) == 1 and all(_NUMBER.fullmatch(piece) for piece in pieces):
        return False
    names = [field.lower() for field in fields]
    if sorted(names) == ["col", "row", "value"] and names != ["row", "col", "value"]:
        _checks.refuse(
            "path",
            "have the columns row, col, value in this order",
            f"{path.name} has {', '.join(names)}",
            "Reorder the columns.",
        )
    return True


def _triplet(fields: list[str], number: int, path: Path) -> Triplet:
    place = f"line {number} of {path.name}"
    if len(fields) != 3:
        _checks.refuse(
            "path",
            "hold lines `row,col,value`",
            f"{place} has {len(fields)} field{'s' if len(fields) > 1 else ''}",
            "Separate the fields by commas, and write decimals with a point.",
        )
    row, col = _index("row", fields[0], place), _index("col", fields[1], place)
    if not _NUMBER.fullmatch(fields[2]):
        _checks.refuse("path", "hold numbers as value", f"{place} has {_short(fields[2])}")
    value = float(fields[2])
    if not math.isfinite(value):
        _checks.refuse(
            "path",
            "hold finite numbers as value",
            f"{place} has {_short(fields[2])}",
            "Leave out the lines of entries that were not observed.",
        )
    return Triplet(number, row, col, value)


def _index(name: str, field: str, place: str) -> int:
    if not _INTEGER.fullmatch(field):
        _checks.refuse("path", f"hold integers as {name}", f"{place} has {_short(field)}")
    if int(field) < 0:
        _checks.refuse("path", f"hold 0-based indices as {name}", f"{place} has {field}")
    return int(field)


def _short(field: str) -> str:
    return repr(field if len(field) <= 40 else field[:37] + "...")
