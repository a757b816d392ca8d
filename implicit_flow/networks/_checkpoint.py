"""A file that a killed run goes on from."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import equinox as eqx
from jaxtyping import PyTree


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


def load_checkpoint(path: Path, like: PyTree) -> tuple[dict[str, Any], PyTree]:
    """Loads what `save_checkpoint` saved.

    Args:
        path: the file.
        like: a tree of the same structure.

    Returns:
        The header and the tree.
    """
    with path.open("rb") as stream:
        header = json.loads(stream.readline())
        return header, eqx.tree_deserialise_leaves(stream, like)
