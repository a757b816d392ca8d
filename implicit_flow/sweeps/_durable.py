"""Files that are either whole and on the disk, or not there."""

import glob
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


_PARTIAL = ".partial"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
_HOUR = 3600.0
_WRITERS = 8
# Waits of a few milliseconds each, which one thread may well do one after the other.
_FILES_FOR_ONE = 8


def write_files(contents: Sequence[tuple[Path, bytes]]) -> None:
    """Writes files so that a crash of the machine leaves none of them half written.

    When this returns, the bytes and the names are on the disk.

    Args:
        contents: paths and what they shall hold.

    Raises:
        OSError: if the disk refuses.
    """
    shares = _shares(contents)
    if len(shares) > 1:
        with ThreadPoolExecutor(len(shares)) as pool:
            list(pool.map(_write_partials, shares))
    else:
        _write_partials(contents)
    for path, _ in contents:
        os.replace(_partial(path), path)
    for folder in {path.parent for path, _ in contents}:
        sync_folder(folder)


def _shares(contents: Sequence[tuple[Path, bytes]]) -> list[Sequence[tuple[Path, bytes]]]:
    """Deals files out to writers that work side by side, where there are many.

    A file system answers many waiting `fsync` with one turn of the disk. But threads that wait
    together cost two to three times the processor time of one that waits for each in turn, and
    while the disk keeps up with the chunks that time is the computation's.
    """
    writers = min(_WRITERS, -(-len(contents) // _FILES_FOR_ONE))
    return [contents[first::writers] for first in range(writers)]


def _write_partials(contents: Sequence[tuple[Path, bytes]]) -> None:
    """Writes a few files before it waits for the first: they may share a turn of the disk then.

    Through descriptors: Python's file objects cost as much as the system does for small files.
    """
    for first in range(0, len(contents), _FILES_FOR_ONE):
        descriptors: list[int] = []
        try:
            for path, content in contents[first : first + _FILES_FOR_ONE]:
                descriptors.append(os.open(_partial(path), _NEW, 0o666))
                _write_all(descriptors[-1], content, path)
            for descriptor in descriptors:
                os.fsync(descriptor)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _write_all(descriptor: int, content: bytes, path: Path) -> None:
    """The system may take less than it is given, of more than 2 GiB or at the end of a disk."""
    left = memoryview(content)
    try:
        while left:
            left = left[os.write(descriptor, left) :]
    except OSError as error:
        # It does not say where.
        raise OSError(error.errno, error.strerror, str(path)) from None


def _partial(path: Path) -> str:
    return f"{path}{_PARTIAL}"


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable, where the system can.

    Args:
        folder: an existing folder.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish_folder(built: Path, final: Path) -> None:
    """Gives a finished folder its name, durably and at once.

    Args:
        built: the folder, on the same file system.
        final: its name, which must be free.
    """
    for root, _, names in os.walk(built):
        for name in names:
            with open(os.path.join(root, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(root))
    try:
        built.rename(final)
    except OSError:
        if not final.exists():
            raise
        raise FileExistsError(
            f"Argument `store` must be the path of one sweep, but another process made "
            f"{str(final)!r} meanwhile. Run the same call again, when that process has ended."
        ) from None
    sync_folder(final.parent)


def fresh_folder(path: Path) -> Path:
    """An empty folder beside `path` to build it in, which no other process builds in.

    Args:
        path: the name that the folder will have.

    Returns:
        The folder. What a killed run left there more than an hour ago is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"{glob.escape(path.name)}{_PARTIAL}-{'[0-9a-f]' * 16}"):
        if left.is_dir() and time.time() - left.stat().st_mtime > _HOUR:
            shutil.rmtree(left, ignore_errors=True)
    folder = path.with_name(f"{path.name}{_PARTIAL}-{secrets.token_hex(8)}")
    folder.mkdir()
    return folder
