"""The ledger of a store: which blocks are done, with the checksum of each of their files."""

import datetime
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from ._durable import write_files
from ._manifest import Record


_FOLDER = ".sweep"
_FOLDERS = ("done", "started", "runs")


@final
class Ledger:
    """Small files inside the store: a manifest, one entry per finished block, one per run.

    Every file is written by one process only, once, so that processes need no lock. An entry is
    written after the data that it vouches for.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / _FOLDER

    @staticmethod
    def create(root: Path, manifest: Record) -> None:
        """Lays an empty ledger into a store that is being built."""
        folder = root / _FOLDER
        for name in _FOLDERS:
            (folder / name).mkdir(parents=True)
        # An empty Zarr group, so that readers who list the store do not stumble over the folder.
        group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
        (folder / "zarr.json").write_text(json.dumps(group))
        (folder / "manifest.json").write_text(_dump(manifest, indent=1))

    @property
    def exists(self) -> bool:
        return (self._folder / "manifest.json").is_file()

    def manifest(self) -> Record:
        """What the store was made by.

        Raises:
            ValueError: if the manifest is damaged.
        """
        try:
            manifest = json.loads((self._folder / "manifest.json").read_bytes())
            return manifest if _is_intact(manifest) else _damaged(self._root)
        except ValueError:
            return _damaged(self._root)

    @contextmanager
    def claimed(self, record: Record) -> Iterator[None]:
        """Records who computes now, and keeps all others with the same share of the work out.

        The claim ends with the process, however that ends. Where the file system has no locks there
        is none.

        Args:
            record: of the run; its `process` is the number among those that share the sweep.

        Raises:
            FileExistsError: if another one is at work.
        """
        try:
            import fcntl
        except ModuleNotFoundError:
            self._add_run(record)
            yield
            return
        with open(self._folder / f"claimed-{record['process']}", "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise FileExistsError(
                    f"Argument `store` must have one sweep at a time, but {str(self._root)!r} is "
                    f"being computed by {file.read() or 'another process'}. Wait for its end, or "
                    "pass another path; processes that share a sweep are told so (docs/sweeps.md)."
                ) from None
            except OSError:
                # A file system without locks: then nothing can be kept out, and nothing is lost
                # that was not at risk before.
                pass
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
            self._add_run(record)
            yield

    def begin(self, block: int) -> int:
        """Notes that a block is being computed, and says for the how-many-th time."""
        with open(self._folder / "started" / str(block), "ab") as file:
            file.write(b".")
            return file.tell()

    def finish(self, entries: Mapping[int, Record]) -> None:
        """Marks blocks done; the files that their entries name must be durable by now."""
        write_files(
            [
                (self._entry(block), _dump({**entry, "block": block}).encode())
                for block, entry in entries.items()
            ]
        )

    def entries(self) -> Iterator[tuple[int, Record | None]]:
        """The entries of the blocks that are marked done, one by one; None for damaged ones."""
        for block in sorted(self.blocks()):
            entry = _read(self._entry(block))
            # A copy under another number vouches for nothing.
            own = _is_intact(entry) and entry.get("block") == block
            yield block, entry if own else None

    def blocks(self) -> set[int]:
        """The blocks that are marked done, by the names of their entries alone."""
        try:
            with os.scandir(self._folder / "done") as listing:
                # Copies that a synchronized folder makes have other names.
                whole = re.compile(r"(0|[1-9][0-9]*)\.json")
                names = [item.name for item in listing if whole.fullmatch(item.name)]
        except FileNotFoundError:
            return set()
        return {int(name.removesuffix(".json")) for name in names}

    def has(self, files: Iterable[str]) -> bool:
        """Whether files are there, whatever they hold.

        Args:
            files: paths inside the store.

        Returns:
            False if one is missing.
        """
        return all((self._root / name).is_file() for name in files)

    def is_whole(self, files: Mapping[str, str]) -> bool:
        """Whether files hold what was written.

        Args:
            files: checksum by path inside the store.

        Returns:
            False if one is missing or changed.
        """
        for name, expected in files.items():
            try:
                content = (self._root / name).read_bytes()
            except OSError:
                return False
            if checksum(content) != expected:
                return False
        return True

    def _add_run(self, record: Record) -> None:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%f")
        name = f"{now}-{record['process']}-{os.getpid()}.json"
        write_files([(self._folder / "runs" / name, _dump(record, indent=1).encode())])

    def runs(self) -> list[Record]:
        """The records of all runs, oldest first; those that can be read."""
        paths = sorted((self._folder / "runs").glob("*.json"))
        return [record for path in paths if (record := _read(path)) is not None]

    def mend(self) -> None:
        """Makes folders that have been removed."""
        for name in _FOLDERS:
            (self._folder / name).mkdir(exist_ok=True)

    def _entry(self, block: int) -> Path:
        return self._folder / "done" / f"{block}.json"


def checksum(content: bytes) -> str:
    """The checksum by which a file is recognized.

    Args:
        content: all of its bytes.

    Returns:
        32 hexadecimal digits.
    """
    return hashlib.sha256(content).hexdigest()[:32]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


def _dump(record: Record, indent: int | None = None) -> str:
    """JSON that carries a checksum of itself; indented for people, which Python is slow at."""
    body = {name: value for name, value in record.items() if name != "checksum"}
    body["checksum"] = checksum(json.dumps(body, sort_keys=True).encode())
    return json.dumps(body, indent=indent)


def _is_intact(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    body = {name: value for name, value in record.items() if name != "checksum"}
    return record.get("checksum") == checksum(json.dumps(body, sort_keys=True).encode())


def _damaged(root: Path) -> Record:
    raise ValueError(
        f"Argument `store` must hold a sweep, but the manifest of {str(root)!r} is damaged, so "
        "nothing says what its cells are. Restore `.sweep/manifest.json` from a copy, or compute "
        "into another path."
    )
