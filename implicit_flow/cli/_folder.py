"""The output folder: checked before anything is computed, and written whole or not at all."""

import shutil
import tempfile
from pathlib import Path
from typing import NoReturn

from .. import _checks


class OutputFolder:
    """A folder that appears complete, or stays as it was.

    Files are written to a hidden temporary folder beside (or, where the folder exists, inside) the
    real one, and renamed at the end. Leaving the `with` block without `publish` removes it.

    Attributes:
        path: of the folder.
        draft: where to write until `publish`; there while the `with` block runs.
    """

    def __init__(self, path: Path, *, force: bool):
        """Check that the folder may be written.

        Args:
            path: of the folder.
            force: replace files of an older report in a folder that exists.

        Raises:
            ValueError: the folder exists and `force` is false, or it is not a folder.
        """
        refuse_used(path, force=force)
        self.path = path
        self._force = force and path.exists()
        self._created: list[Path] = []

    def __enter__(self) -> "OutputFolder":
        """Make the draft, and so learn now whether the place can be written.

        Raises:
            ValueError: it cannot.
        """
        home = self.path if self.path.is_dir() else self.path.parent
        try:
            missing = [folder for folder in (home, *home.parents) if not folder.exists()]
            for folder in reversed(missing):
                folder.mkdir()
                self._created.append(folder)
            self.draft = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=home))
        except OSError as error:
            self._remove_parents()
            _unwritable(self.path, error)
        return self

    def publish(self) -> list[Path]:
        """Give the files of the draft their place; files of other names are left alone.

        Returns:
            The files, in alphabetical order.

        Raises:
            ValueError: the place cannot be written after all.
        """
        try:
            if not self._force:
                if self.path.exists():
                    _checks.refuse(
                        "--out", "stay free", f"{self.path} appeared meanwhile", "Start again."
                    )
                # mkdtemp makes folders that only their owner can read.
                self.draft.chmod(0o755)
                self.draft.rename(self.path)
                return sorted(self.path.iterdir())
            names = sorted(file.name for file in self.draft.iterdir())
            for name in names:
                (self.draft / name).replace(self.path / name)
        except OSError as error:
            _unwritable(self.path, error)
        return [self.path / name for name in names]

    def __exit__(self, *_: object) -> None:
        """Remove the draft, and the parents that were made for nothing."""
        shutil.rmtree(self.draft, ignore_errors=True)
        self._remove_parents()

    def _remove_parents(self) -> None:
        for folder in reversed(self._created):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def refuse_used(path: Path, *, force: bool) -> None:
    """Check that a folder is free, or may be written all the same.

    Args:
        path: of the folder.
        force: replace files of an older report in a folder that exists.

    Raises:
        ValueError: the folder exists and `force` is false, or it is not a folder.
    """
    try:
        there, folder = path.exists(), path.is_dir()
    except (OSError, ValueError) as error:
        _unwritable(path, error)
    if there and not folder:
        _checks.refuse("--out", "name a folder", f"{path} is a file")
    if there and not force:
        _checks.refuse(
            "--out",
            "name a folder that does not exist yet",
            f"{path} exists",
            "Pass --force to replace the report in it, or another --out.",
        )


def _unwritable(path: Path, error: Exception) -> NoReturn:
    reason = getattr(error, "strerror", None) or str(error)
    _checks.refuse("--out", "name a folder that can be written", f"{path} cannot be: {reason}")
