"""Kill, starve, corrupt and interrupt sweeps, for real, and look at what is left."""

import errno
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from implicit_flow import sweeps
from implicit_flow.sweeps import _zarr_store

from .study_process import AXES, CHUNK_SIZE, slow_cell


SCRIPT = Path(__file__).with_name("study_process.py")
CELLS = 48
TIMEOUT = 120


def launch(store, *arguments, prefix=()):
    # One thread of XLA for each loop: the processes of a test share the cores.
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        [*prefix, sys.executable, str(SCRIPT), str(store), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    line = process.stdout.readline()
    assert line == "ready\n", (line, process.communicate(timeout=TIMEOUT))
    return process


def finish(process):
    out, err = process.communicate(timeout=TIMEOUT)
    return process.returncode, out, err


def done_blocks(store):
    folder = store / ".sweep" / "done"
    return {path.name for path in folder.glob("*.json")} if folder.exists() else set()


def wait_for(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def footprint(store, blocks):
    """Identity and time of every file that the given blocks vouch for, and of the vouchers."""
    found = {}
    for name in blocks:
        entry = json.loads((store / ".sweep" / "done" / name).read_text())
        for file in [*entry["files"], f".sweep/done/{name}"]:
            stat = (store / file).stat()
            found[file] = (stat.st_ino, stat.st_mtime_ns)
        # One byte for every time that the block was started.
        started = store / ".sweep" / "started" / name.removesuffix(".json")
        found[str(started)] = started.stat().st_size
    return found


def values(dataset):
    return dataset.drop_vars(["seconds", "attempt"]).load()


def assert_same_bits(left, right):
    assert set(left.variables) == set(right.variables)
    for name in left.variables:
        assert left[name].dtype == right[name].dtype
        assert left[name].values.tobytes() == right[name].values.tobytes(), name


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    store = tmp_path_factory.mktemp("whole") / "study.zarr"
    sweeps.sweep(slow_cell, AXES, store=store, chunk_size=CHUNK_SIZE, threads=2, progress=False)
    return values(sweeps.load(store))


@pytest.fixture(scope="module")
def half_done(tmp_path_factory):
    """A store whose process was killed about half way."""
    store = tmp_path_factory.mktemp("half") / "study.zarr"
    process = launch(store)
    wait_for(lambda: len(done_blocks(store)) >= 8)
    process.kill()
    finish(process)
    assert 8 <= len(done_blocks(store)) < CELLS // CHUNK_SIZE
    return store


@pytest.fixture
def resumable(half_done, tmp_path):
    store = tmp_path / "study.zarr"
    shutil.copytree(half_done, store)
    return store


def resume(store, **options):
    return sweeps.sweep(slow_cell, AXES, store=store, threads=2, progress=False, **options)


@pytest.mark.parametrize(
    ("kills", "seeds"), [(3, 16), pytest.param(20, 120, marks=pytest.mark.long)]
)
def test_killed_at_random_moments(kills, seeds, tmp_path):
    axes = {**AXES, "seed": range(seeds)}
    whole, store = tmp_path / "whole.zarr", tmp_path / "study.zarr"
    options = {"chunk_size": CHUNK_SIZE, "threads": 2, "progress": False}
    sweeps.sweep(slow_cell, axes, store=whole, **options)
    blocks = len(done_blocks(whole))
    moments = random.Random(20260404)
    grown = 0
    for _ in range(kills):
        before = done_blocks(store)
        marks = footprint(store, before)
        process = launch(store, "--seeds", str(seeds))
        # From before the store is opened to the middle of the work, and there at any point
        # between two chunks: none, or up to four of them, and a moment more.
        new = moments.choice([None, 1, 2, 3, 4])
        if new is not None:
            goal = len(before) + new
            wait_for(lambda goal=goal: len(done_blocks(store)) >= goal)
        time.sleep(moments.uniform(0.0, 0.3 if new is None else 0.02))
        process.kill()
        finish(process)
        assert footprint(store, before) == marks
        grown += len(done_blocks(store)) > len(before)
    before = done_blocks(store)
    # Every kill found work that was still to be done, and most of them came in its middle.
    assert len(before) < blocks
    assert grown >= kills / 2
    marks = footprint(store, before)
    code, out, err = finish(launch(store, "--seeds", str(seeds)))
    assert code == 0, err
    assert json.loads(out)["pending"] == 0
    # What was done has not been touched, nor started again.
    assert footprint(store, before) == marks
    assert_same_bits(values(sweeps.load(store)), values(sweeps.load(whole)))


def test_a_block_that_was_under_way_counts_its_attempts(resumable):
    begun = {path.name for path in (resumable / ".sweep" / "started").iterdir()}
    lost = {int(name) for name in begun} - {
        int(name.removesuffix(".json")) for name in done_blocks(resumable)
    }
    ds = resume(resumable)
    # The kill hit the two threads at work, or between two chunks.
    assert (ds["attempt"].values == 2).sum() == CHUNK_SIZE * len(lost)
    assert set(np.unique(ds["attempt"].values)) <= {1, 2}


def test_corrupted_chunk_is_detected_and_computed_again(resumable, uninterrupted):
    ds = resume(resumable).load()
    assert_same_bits(values(ds), uninterrupted)
    attempts = ds["attempt"].values.copy()
    good = footprint(resumable, done_blocks(resumable))
    victim = resumable / "end" / "c.1.3"
    content = bytearray(victim.read_bytes())
    content[5] ^= 1
    victim.write_bytes(content)
    with pytest.raises(ValueError, match="checksum"):
        sweeps.load(resumable)["end"].load()
    (resumable / "path" / "c.0.0.0").unlink()
    (resumable / ".sweep" / "done" / "9.json").write_text("{")

    # Zarr would read zeros, or nan, that nothing marks.
    with pytest.raises(ValueError, match="lacks some of chunk 0"):
        sweeps.load(resumable)
    assert sweeps.status(resumable).damaged == 3
    ds = resume(resumable)
    assert_same_bits(values(ds), uninterrupted)
    now = footprint(resumable, done_blocks(resumable))
    repaired = {name for name in now if now[name] != good[name]}
    # Exactly the three blocks: five arrays, an entry and a start each.
    assert len(repaired) == 3 * 7
    assert (ds["attempt"].values - attempts).sum() == 3 * CHUNK_SIZE


def test_damaged_labels_are_rebuilt(resumable, uninterrupted):
    resume(resumable)
    (resumable / "seed" / "c" / "0").write_bytes(b"nonsense")
    (resumable / "end" / "zarr.json").write_text("")
    assert_same_bits(values(resume(resumable)), uninterrupted)
    assert not list(resumable.parent.glob("*.partial*"))


def test_damaged_manifest_is_refused(resumable):
    manifest = resumable / ".sweep" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("0.5", "0.6"))
    with pytest.raises(ValueError, match=r"manifest .* is damaged"):
        resume(resumable)


def test_interrupted_by_control_c(tmp_path, uninterrupted):
    store = tmp_path / "study.zarr"
    process = launch(store)
    wait_for(lambda: len(done_blocks(store)) >= 3)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code != 0
    assert "KeyboardInterrupt: Interrupted." in err
    assert "run the same call (or command) again" in err
    done = done_blocks(store)
    assert 3 <= len(done) < CELLS // CHUNK_SIZE
    assert f"{CHUNK_SIZE * len(done)} of {CELLS} cells are done" in err
    # The chunks under way were waited for: none was started and then lost.
    assert len(list((store / ".sweep" / "started").iterdir())) == len(done)
    marks = footprint(store, done)
    assert_same_bits(values(resume(store)), uninterrupted)
    assert footprint(store, done) == marks


def test_full_disk(tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    prefix = [
        "unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
        f'mount -t tmpfs -o size=1m tmpfs "{mount}" && exec "$@"', "sh",
    ]  # fmt: skip
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], check=False).returncode:
        # Only the kernel can say that a disk is full; next, a store that raises says it instead.
        pytest.skip("this system lets no user mount a file system; the next test stands in for it")
    code, out, err = finish(launch(mount / "study.zarr", "--pad", "32768", prefix=prefix))
    assert code == 3, err
    seen = json.loads(out)
    assert "could not be written: No space left on device" in seen["error"]
    assert "run the same call" in seen["error"]
    assert f"{seen['done']} of {CELLS} cells are done" in seen["error"]
    # 48 cells of 32 KiB do not fit into a mebibyte, but about half of them do.
    assert 8 <= seen["done"] <= 32
    assert seen["damaged"] == 0
    assert seen["right"] >= seen["done"]


def test_a_write_that_fails(resumable, uninterrupted, monkeypatch):
    before = done_blocks(resumable)
    write, calls = _zarr_store.write_files, []

    def failing(contents):
        calls.append(1)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(contents)

    monkeypatch.setattr(_zarr_store, "write_files", failing)
    with pytest.raises(OSError, match="No space left") as caught:
        resume(resumable)
    assert caught.value.errno == errno.ENOSPC
    assert sweeps.status(resumable).damaged == 0
    # Three turns of the disk, each for one block or a few that came together.
    assert len(before) + 3 <= len(done_blocks(resumable)) < CELLS // CHUNK_SIZE
    monkeypatch.undo()
    assert_same_bits(values(resume(resumable)), uninterrupted)


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_two_processes_share_a_store_and_one_is_killed(tmp_path, uninterrupted):
    store = tmp_path / "study.zarr"

    def both():
        port = str(free_port())
        options = ("--processes", "2", "--port", port, "--process")
        # The first process waits for the second before it is ready.
        first = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(store), *options, "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        return first, launch(store, *options, "1")

    first, second = both()
    wait_for(lambda: len(done_blocks(store)) >= 4)
    second.kill()
    finish(second)
    # The other goes on to the end of its own share; then it misses its companion, and may fail.
    wait_for(lambda: len(done_blocks(store)) >= CELLS // CHUNK_SIZE // 2)
    first.kill()
    finish(first)
    status = sweeps.status(store)
    assert status.damaged == 0
    assert status.done < CELLS
    before = done_blocks(store)
    marks = footprint(store, before)

    first, second = both()
    for process in (second, first):
        code, _, err = finish(process)
        assert code == 0, err
    assert sweeps.status(store).done == CELLS
    assert footprint(store, before) == marks
    assert_same_bits(values(sweeps.load(store)), uninterrupted)
    processes = {run["process"] for run in sweeps.status(store).runs}
    assert processes == {0, 1}
