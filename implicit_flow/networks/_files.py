"""Reading MNIST's IDX files, CIFAR's binary files and plain text, compressed or not."""

import gzip
import lzma
import math
import zlib
from pathlib import Path

import numpy as np


# The type byte of an IDX file; numbers are stored with the high byte first.
_IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_CIFAR_RECORD = 1 + 3 * 32 * 32


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked if its name ends in `.gz` or `.xz`.

    Args:
        path: the file.

    Returns:
        Its bytes.

    Raises:
        ValueError: if it cannot be read or unpacked.
    """
    openers = {".gz": gzip.open, ".xz": lzma.open}
    try:
        with openers.get(path.suffix, open)(path, "rb") as stream:
            return stream.read()
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(
            f"File {path} must be readable, but is not ({error}). If it is damaged, fetch it again."
        ) from None


def find_file(folder: Path, *patterns: str) -> Path:
    """The one file in a folder that matches a pattern.

    Args:
        folder: the folder.
        patterns: glob patterns, in order of preference.

    Returns:
        The first match in the order of names.

    Raises:
        ValueError: if there is no such folder, or nothing in it matches.
    """
    if not folder.is_dir():
        raise ValueError(
            f"Argument `folder` must be a folder that exists, but {folder} is none. Pass the "
            "folder that the data set was unpacked or downloaded to."
        )
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if found:
            return found[0]
    raise ValueError(
        f"Argument `folder` must hold a file named {' or '.join(patterns)}, but {folder} holds "
        "none. Pass the folder that the data set was unpacked or downloaded to."
    )


def read_idx(path: Path) -> np.ndarray:
    """An array in the IDX format of MNIST.

    Args:
        path: the file.

    Returns:
        The array, in its own type and this machine's byte order.

    Raises:
        ValueError: if the file is not in that format.
    """
    content = read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES:
        raise ValueError(
            f"File {path} must be in the IDX format, but begins with {content[:4]!r}. Pass the "
            "original files of MNIST."
        )
    rank = content[3]
    if len(content) < 4 + 4 * rank:
        raise ValueError(f"File {path} ends within its header. It is damaged: fetch it again.")
    shape = tuple(int(n) for n in np.frombuffer(content, ">i4", count=rank, offset=4))
    dtype = np.dtype(_IDX_TYPES[content[2]])
    start = 4 + 4 * rank
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise ValueError(
            f"File {path} must hold {expected} bytes for an array of shape {shape}, but holds "
            f"{len(content)}. The file is damaged: fetch it again."
        )
    return (
        np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
    )


def read_cifar(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels in the binary format of CIFAR-10.

    Args:
        path: the file: records of a label byte and the red, green and blue planes of 32x32 bytes.

    Returns:
        Images of shape (count, 3, 32, 32) and labels of shape (count,), bytes both.

    Raises:
        ValueError: if the file is not a whole number of records with labels from 0 to 9.
    """
    content = np.frombuffer(read_bytes(path), np.uint8)
    if content.size == 0 or content.size % _CIFAR_RECORD:
        raise ValueError(
            f"File {path} must hold records of {_CIFAR_RECORD} bytes, but holds {content.size} "
            "bytes. Pass files in the binary format of CIFAR-10."
        )
    records = content.reshape(-1, _CIFAR_RECORD)
    if records[:, 0].max() > 9:
        raise ValueError(
            f"File {path} must hold labels from 0 to 9, but holds {records[:, 0].max()}. Pass "
            "files in the binary format of CIFAR-10 (that of CIFAR-100 is another one)."
        )
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]
