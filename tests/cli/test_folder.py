"""The output folder: whole or not at all."""

import contextlib
from pathlib import Path

import pytest

from implicit_flow.cli._folder import OutputFolder


def fill(folder, text):
    for name in ("a", "b"):
        (folder.draft / name).write_text(text)


def give_up(place):
    with contextlib.suppress(ZeroDivisionError), place as folder:
        fill(folder, "new")
        assert 1 / 0


def contents(path):
    return {file.name: file.read_text() for file in path.iterdir()}


def test_appears_at_the_end(tmp_path):
    path = tmp_path / "x" / "y" / "out"
    with OutputFolder(path, force=False) as folder:
        fill(folder, "new")
        assert not path.exists()
        folder.publish()
    assert contents(path) == {"a": "new", "b": "new"}
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o055 == 0o055


def test_leaves_nothing_when_the_work_fails(tmp_path):
    give_up(OutputFolder(tmp_path / "x" / "out", force=False))
    assert list(tmp_path.iterdir()) == []


def test_force_replaces_its_own_files_only(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "mine").write_text("mine")
    with OutputFolder(tmp_path, force=True) as folder:
        fill(folder, "new")
        assert (tmp_path / "a").read_text() == "old"
        folder.publish()
    assert contents(tmp_path) == {"a": "new", "b": "new", "mine": "mine"}


def test_force_keeps_the_old_report_when_the_work_fails(tmp_path):
    (tmp_path / "a").write_text("old")
    give_up(OutputFolder(tmp_path, force=True))
    assert contents(tmp_path) == {"a": "old"}


def test_somebody_else_made_the_folder_meanwhile(tmp_path):
    path = tmp_path / "out"
    with OutputFolder(path, force=False) as folder:
        fill(folder, "new")
        path.mkdir()
        (path / "theirs").write_text("theirs")
        with pytest.raises(ValueError, match="appeared"):
            folder.publish()
    assert contents(path) == {"theirs": "theirs"}


def test_a_full_disk_is_bad_input(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    folder = OutputFolder(tmp_path / "x" / "y", force=False)
    with pytest.raises(ValueError, match="No space left"):
        folder.__enter__()
