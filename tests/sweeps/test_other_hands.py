"""Stores that something else than one sweep has touched, and cells that raise."""

import os

import jax
import numpy as np
import pytest

from implicit_flow import sweeps
from implicit_flow.sweeps._durable import fresh_folder
from implicit_flow.sweeps._ledger import Ledger
from implicit_flow.sweeps._zarr_store import ZarrStore


def cell(x):
    return {"v": 2 * x, "n": (10 * x).astype(int)}


AXES = {"x": [1.0, 2.0, 3.0, 4.0]}


def run(store, **options):
    return sweeps.sweep(cell, AXES, store=store, chunk_size=2, progress=False, **options)


@pytest.fixture
def store(tmp_path):
    run(tmp_path / "s.zarr")
    return tmp_path / "s.zarr"


def test_a_second_sweep_into_one_store_is_refused_while_the_first_computes(store):
    (store / "v" / "c.0").unlink()
    ledger = Ledger(store)
    with ledger.claimed({"process": 0}):
        with pytest.raises(FileExistsError, match="one sweep at a time"):
            run(store)
        # Nothing is left to do for the others, who may look and go.
        assert sweeps.status(store).damaged == 1
    np.testing.assert_array_equal(run(store).v, [2.0, 4.0, 6.0, 8.0])
    with ledger.claimed({"process": 0}):
        np.testing.assert_array_equal(run(store).v, [2.0, 4.0, 6.0, 8.0])


@pytest.mark.parametrize("name", ["x/c/0", "v/zarr.json"])
def test_damaged_labels_are_told_and_restored(store, name):
    (store / name).write_bytes(b"")
    for look in (sweeps.load, sweeps.status):
        with pytest.raises(ValueError, match="labels or metadata"):
            look(store)
    run(store)
    np.testing.assert_array_equal(sweeps.load(store).x, AXES["x"])


def test_files_that_others_put_into_the_ledger_are_passed_over(store):
    entry = (store / ".sweep/done/0.json").read_bytes()
    for name in ("._0.json", "0 (conflicted copy).json", "77.json"):
        (store / ".sweep/done" / name).write_bytes(entry)
    (store / ".sweep/runs/damaged.json").write_bytes(b"{")
    for name in ("started", "runs"):
        folder = store / ".sweep" / name
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    (store / "v/c.1").unlink()
    np.testing.assert_array_equal(run(store).v, [2.0, 4.0, 6.0, 8.0])
    assert sweeps.status(store).done == 4


def test_an_entry_vouches_for_its_own_chunk_only(store):
    done = store / ".sweep/done"
    (done / "1.json").write_bytes((done / "0.json").read_bytes())
    (done / "00.json").write_bytes((done / "0.json").read_bytes())
    for name in "vn":
        (store / name / "c.1").unlink()
    assert (sweeps.status(store).done, sweeps.status(store).damaged) == (2, 1)
    np.testing.assert_array_equal(run(store).v, [2.0, 4.0, 6.0, 8.0])


@pytest.mark.parametrize(("lost", "attempts"), [((1,), [1, 1, 2, 2]), ((0, 1), [2, 2, 2, 2])])
def test_what_another_run_has_finished_before_the_claim_is_not_computed_again(
    store, monkeypatch, lost, attempts
):
    claim = ZarrStore.claimed
    for block in lost:
        (store / f".sweep/done/{block}.json").unlink()

    def late(*given):
        monkeypatch.setattr(ZarrStore, "claimed", claim)
        run(store)
        return claim(*given)

    monkeypatch.setattr(ZarrStore, "claimed", late)
    ds = run(store)
    assert ds.attempt.values.tolist() == attempts
    np.testing.assert_array_equal(ds.v, [2.0, 4.0, 6.0, 8.0])


def test_folders_beside_the_store_are_left_alone(tmp_path):
    (tmp_path / "s.zarr.partial").mkdir()
    (tmp_path / "s.zarr.partial/mine.txt").write_text("mine")
    run(tmp_path / "s.zarr")
    assert (tmp_path / "s.zarr.partial/mine.txt").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"s.zarr", "s.zarr.partial"}


def test_two_processes_that_make_one_store_leave_it_whole(tmp_path, monkeypatch):
    make = ZarrStore.create

    def later(*given):
        # Between the look at the path and the making of the store.
        monkeypatch.setattr(ZarrStore, "create", make)
        run(tmp_path / "s.zarr")
        make(*given)

    monkeypatch.setattr(ZarrStore, "create", later)
    with pytest.raises(FileExistsError, match="another process made"):
        run(tmp_path / "s.zarr")
    assert {path.name for path in tmp_path.iterdir()} == {"s.zarr"}
    assert sweeps.status(tmp_path / "s.zarr").done == 4
    # What a killed process left is removed when it is old.
    left = fresh_folder(tmp_path / "t.zarr")
    os.utime(left, (0, 0))
    run(tmp_path / "t.zarr")
    assert {path.name for path in tmp_path.iterdir()} == {"s.zarr", "t.zarr"}


def test_the_home_folder_has_its_usual_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run("~/s.zarr")
    assert sweeps.status("~/s.zarr").done == 4
    assert {path.name for path in tmp_path.iterdir()} == {"s.zarr"}


@pytest.mark.parametrize("stored", [False, True])
def test_cells_that_raised_hold_nan(tmp_path, stored):
    def raises(x):
        def host(x):
            if x > 2:
                raise ArithmeticError("too large")
            return np.asarray(x)

        shape = jax.ShapeDtypeStruct((), x.dtype)
        return {"v": jax.pure_callback(host, shape, x, vmap_method="sequential")}

    path = tmp_path / "s.zarr" if stored else None
    ds = sweeps.sweep(raises, AXES, store=path, chunk_size=2, progress=False)
    np.testing.assert_array_equal(ds.v, [1.0, 2.0, np.nan, np.nan])
    texts = sweeps.status(path).errors if stored else ds.attrs["exceptions"]
    assert len(texts) == 2
    assert "too large" in texts[0]
