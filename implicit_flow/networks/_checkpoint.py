"""A file that a killed run goes on from."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import equinox as eqx
from jaxtyping import PyTree

from .. import _checks


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that is either the old one or the new one, whenever the power goes.

    Args:
        path: the file.
        content: its new content.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def save_checkpoint(path: Path, header: dict[str, Any], arrays: PyTree) -> None:
    """Saves a header and the arrays of a tree.

    Args:
        path: the file.
        header: what JSON can hold.
        arrays: the tree.
    """
    with tempfile.SpooledTemporaryFile(max_size=1 << 30) as buffer:
        buffer.write(json.dumps(header).encode() + b"\n")
        eqx.tree_serialise_leaves(buffer, arrays)
        buffer.seek(0)
        write_atomically(path, buffer.read())


def load_checkpoint(
    path: Path, like: PyTree, *, check: Callable[[dict[str, Any]], None] = lambda header: None
) -> tuple[dict[str, Any], PyTree]:
    """Loads what `save_checkpoint` saved.

    Args:
        path: the file.
        like: a tree of the same structure.
        check: given the header, raises where the arrays cannot be those wanted.

    Returns:
        The header and the tree.

    Raises:
        ValueError: if the file cannot be read.
    """
    with path.open("rb") as stream:
        try:
            header = json.loads(stream.readline())
        except ValueError as error:
            _refuse_damaged(path, error)
        check(header)
        try:
            return header, eqx.tree_deserialise_leaves(stream, like)
        except Exception as error:  # whatever NumPy and Equinox raise on a damaged file
            _refuse_damaged(path, error)


def _refuse_damaged(path: Path, error: Exception) -> NoReturn:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    _checks.refuse(
        "folder",
        "hold a whole checkpoint",
        f"{path} cannot be read ({reason})",
        "Remove it to start again, or pass another folder.",
    )
