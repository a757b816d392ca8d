"""A Zarr store on disk: every block is one file per array, whole before it is marked done."""

import math
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from ._durable import fresh_folder, publish_folder, write_files
from ._grid import Blocks
from ._ledger import Ledger, checksum
from ._manifest import Record, run_record
from ._outputs import Returned
from ._placement import Placement
from ._store import (
    LOADED_BYTES,
    AbstractStore,
    BlockResult,
    Field,
    MemoryStore,
    coordinates,
    fields,
)


if TYPE_CHECKING:
    import xarray


@final
class ZarrStore(AbstractStore):
    """Results in a Zarr store, format 3, that `xarray.open_zarr` reads.

    The chunks of the arrays are the blocks of the sweep: processes write disjoint files and need
    no lock. They are written by this class rather than through Zarr's own writer because they
    must be on the disk (`fsync`) before the ledger says so, and because the ledger vouches for
    their very bytes; the encoding is the plainest that Zarr has, little-endian with a CRC-32C.
    """

    def __init__(self, path: Path, blocks: Blocks, returned: Returned) -> None:
        self._path = path
        self._blocks = blocks
        self._fields = {field.name: field for field in fields(returned)}
        self._ledger = Ledger(path)
        # Of the blocks that are done: the number of cells, and of failed ones.
        self._done: dict[int, tuple[int, int]] = {}
        self._listed: set[int] = set()
        self._returned = returned
        # What this object has written from the first block on, so that nothing need be read.
        self._written: MemoryStore | None = None

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    @property
    def block_count(self) -> int:
        return self._blocks.count

    def create(self, manifest: Record, attributes: Mapping[str, Any]) -> None:
        """Lays out an empty store; it appears under its name when it is complete.

        Args:
            manifest: what the store is made by.
            attributes: of the Dataset.
        """
        folder = fresh_folder(self._path)
        try:
            self._lay_out(folder, attributes)
            skeleton = {
                str(path.relative_to(folder)): checksum(path.read_bytes())
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
            record = {**manifest, "attributes": dict(attributes), "skeleton": skeleton}
            Ledger.create(folder, record)
            publish_folder(folder, self._path)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def verify(self) -> int:
        """Reads all that is marked done; what has changed on disk will be computed again.

        Returns:
            The number of blocks that were damaged.
        """
        manifest = self._ledger.manifest()
        self._ledger.mend()
        if not self._ledger.is_whole(manifest["skeleton"]):
            self._rebuild(manifest)
        self._done, self._written = {}, None
        self._listed = self._ledger.blocks()
        damaged = 0
        for block, entry in self._ledger.entries():
            if block >= self._blocks.count:
                # Not of this sweep: a file that somebody put there.
                continue
            if entry is not None and self._ledger.is_whole(entry["files"]):
                self._done[block] = (entry["cells"], entry["failed"])
            else:
                damaged += 1
        if not self._done and self._size() <= LOADED_BYTES:
            self._written = MemoryStore(self._blocks, self._returned, manifest["attributes"])
        return damaged

    def has_changed(self) -> bool:
        """Whether another process has marked blocks done since the last `verify`."""
        return self._ledger.blocks() != self._listed

    def missing(self) -> np.ndarray:
        """Blocks without a valid entry in the ledger, as of the last `verify`."""
        done = np.zeros(self._blocks.count, bool)
        done[list(self._done)] = True
        return np.flatnonzero(~done)

    def claimed(self, placement: Placement) -> AbstractContextManager[None]:
        """By a lock on a file of the ledger."""
        devices = list(placement.mesh.devices.flat)
        return self._ledger.claimed(run_record(devices, placement.process, placement.processes))

    def begin(self, block: int) -> int:
        """Counted in the ledger, so that a block that kills its process is seen to."""
        return self._ledger.begin(block)

    def write(self, results: Sequence[BlockResult]) -> None:
        """All data first, then the entries that mark the blocks done."""
        contents: list[tuple[Path, bytes]] = []
        entries: dict[int, Record] = {}
        for result in results:
            files = {
                self._file(field, result.block): self._encode(
                    field, result.block, result.arrays[field.name]
                )
                for field in self._fields.values()
            }
            contents += [(self._path / name, content) for name, content in files.items()]
            entries[result.block] = {
                "cells": result.cells,
                "failed": result.failed,
                "errors": list(result.errors),
                "files": {name: checksum(content) for name, content in files.items()},
            }
        write_files(contents)
        self._ledger.finish(entries)
        if self._written is not None:
            self._written.write([replace(result, errors=()) for result in results])
        for result in results:
            self._done[result.block] = (result.cells, result.failed)

    def tally(self) -> tuple[int, int]:
        """As the ledger has it."""
        counts = self._done.values()
        return sum(cells for cells, _ in counts), sum(failed for _, failed in counts)

    def dataset(self) -> "xarray.Dataset":
        """The store as it is now, read when looked at; from memory if it was all written here."""
        if self._written is not None and len(self._done) == self._blocks.count:
            return self._written.dataset()
        return open_dataset(self._path)

    def advice(self) -> str:
        """The store is good for another run."""
        return (
            f"They are safe in {str(self._path)!r}: run the same call (or command) again, and only "
            "the others are computed."
        )

    def _size(self) -> int:
        """Bytes of all arrays."""
        cells = self._blocks.grid.size
        return cells * sum(
            math.prod(field.extra_shape) * field.dtype.itemsize for field in self._fields.values()
        )

    def _file(self, field: Field, block: int) -> str:
        place = (*self._blocks.position(block), *(0 for _ in field.extra_shape))
        return f"{field.name}/c." + ".".join(str(index) for index in place)

    def _encode(self, field: Field, block: int, values: np.ndarray) -> bytes:
        import google_crc32c

        inside = tuple(part.stop - part.start for part in self._blocks.slices(block))
        # A chunk at the edge of the grid has full size too; what lies outside holds the fill.
        full = np.full(
            (*self._blocks.shape, *field.extra_shape), field.fill, field.dtype.newbyteorder("<")
        )
        full[tuple(slice(length) for length in inside)] = values.reshape(
            *inside, *field.extra_shape
        )
        content = full.tobytes()
        return content + google_crc32c.value(content).to_bytes(4, "little")

    def _lay_out(self, folder: Path, attributes: Mapping[str, Any]) -> None:
        import xarray
        import zarr
        from zarr.codecs import Crc32cCodec

        with warnings.catch_warnings():
            # Zarr points out that strings and consolidated metadata are extensions of the format.
            warnings.simplefilter("ignore")
            labels = xarray.Dataset(coords=coordinates(self._blocks), attrs=dict(attributes))
            labels.to_zarr(folder, mode="w", zarr_format=3, consolidated=False)
            group = zarr.open_group(folder, mode="r+")
            for field in self._fields.values():
                group.create_array(
                    field.name,
                    shape=(*self._blocks.grid.shape, *field.extra_shape),
                    chunks=(*self._blocks.shape, *(max(1, size) for size in field.extra_shape)),
                    dtype=field.dtype,
                    fill_value=field.fill,
                    compressors=[Crc32cCodec()],
                    chunk_key_encoding={"name": "default", "separator": "."},
                    dimension_names=(*self._blocks.grid.names, *field.extra_dims),
                    attributes=dict(field.attributes),
                )
            zarr.consolidate_metadata(folder)

    def _rebuild(self, manifest: Record) -> None:
        """Lays out the labels and the metadata anew, and leaves the data alone."""
        folder = fresh_folder(self._path)
        self._lay_out(folder, manifest["attributes"])
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                target = self._path / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                write_files([(target, path.read_bytes())])
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()


def open_dataset(path: str | os.PathLike[str]) -> "xarray.Dataset":
    """Opens a store, also one that is being filled.

    Args:
        path: of the store.

    Returns:
        The Dataset; its values are read when they are looked at.
    """
    import xarray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return xarray.open_zarr(path, chunks=None, consolidated=True)


def as_path(store: str | os.PathLike[str]) -> Path:
    """Checks that a store is named by a path of a file system.

    Args:
        store: as given by the user.

    Returns:
        The path.

    Raises:
        ValueError: for a URL.
        TypeError: for what is no path.
    """
    if not isinstance(store, str | os.PathLike):
        raise TypeError(
            f"Argument `store` must be a path, but is {store!r}. Pass the path given to `sweep`."
        )
    text = os.fspath(store)
    if "://" in text:
        raise ValueError(
            f"Argument `store` must be a path, but is the URL {text!r}. Durable writes need a file "
            "system: compute into a path, and copy the finished store."
        )
    return Path(text).expanduser()
