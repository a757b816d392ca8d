"""The folder of a training run: made, writable, and used by one process at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .._checks import refuse


LOCK = ".lock"


@contextmanager
def training_folder(path: Path | None) -> Iterator[None]:
    """Holds a folder while a run writes to it; the system lets go of it when the process ends.

    Args:
        path: of the folder; nothing is done if None.

    Raises:
        ValueError: it is a file, cannot be written, or another process trains in it.
    """
    if path is None:
        yield
        return
    if path.exists() and not path.is_dir():
        refuse("--out", "name a folder", f"{path} is a file")
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("wb")
    except OSError as error:
        reason = error.strerror or error
        refuse("--out", "name a folder that can be written", f"{path} cannot be: {reason}")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            refuse(
                "--out",
                "be a folder of this run alone",
                f"another process is training in {path}",
                "Wait for it, or pass another folder.",
            )
        except OSError:
            # Some network file systems have no locks; a run is possible all the same.
            pass
        yield
