"""Measurement matrices and targets from a `.npz` archive."""

from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np

from .. import _checks


def read_archive(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read `stack` and `targets`, without ever opening a pickle.

    Args:
        path: of the archive.

    Returns:
        The two arrays, as they stand in the file.

    Raises:
        ValueError: no archive, no such arrays in it, or no plain numbers in them.
    """
    with _file(path) as file, _opened(file, path) as archive:
        held = sorted(archive.files)
        missing = [name for name in ("stack", "targets") if name not in held]
        if missing:
            _checks.refuse(
                "path",
                "hold the arrays `stack` (m, n, n) and `targets` (m,)",
                f"{path.name} lacks {' and '.join(missing)} and holds {_listed(held)}",
            )
        return _member(archive, "stack", path), _member(archive, "targets", path)


def _file(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        _unreadable(path, str(error.strerror))


def _opened(file: BinaryIO, path: Path) -> "np.lib.npyio.NpzFile":
    try:
        archive = np.load(file, allow_pickle=False)
    except Exception as error:
        # A damaged archive raises whatever the part of the reader raises that it confuses.
        _unreadable(path, _pickled(error) or f"{type(error).__name__}: {error}")
    if not isinstance(archive, np.lib.npyio.NpzFile):
        _unreadable(path, "it is a single array, a .npy")
    return archive


def _member(archive: "np.lib.npyio.NpzFile", name: str, path: Path) -> np.ndarray:
    try:
        array = archive[name]
    except Exception as error:
        # As above; among the causes is a header that asks for more memory than there is.
        if _pickled(error):
            _checks.refuse(
                "path",
                "hold plain arrays of numbers",
                f"`{name}` of {path.name} is a pickled object, which could run code when opened",
                "Save it with `numpy.savez(path, stack=numpy.asarray(stack, float), targets=...)`.",
            )
        _unreadable(path, f"`{name}` is damaged, {type(error).__name__}: {error}")
    if not isinstance(array, np.ndarray):
        _unreadable(path, f"`{name}` is no array")
    return array


def _pickled(error: Exception) -> str:
    return "it holds a pickled object" if "pickle" in str(error).lower() else ""


def _listed(names: list[str]) -> str:
    few = ", ".join(names[:5]) or "nothing"
    return few + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _unreadable(path: Path, reason: str) -> NoReturn:
    _checks.refuse(
        "path",
        "be a NumPy .npz archive",
        f"{path.name} cannot be read ({' '.join(reason.split())[:200]})",
        "Write one with `numpy.savez(path, stack=stack, targets=targets)`.",
    )
