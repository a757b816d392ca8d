"""A store goes on with its own study only, and says how another one differs."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

from implicit_flow import sweeps
from implicit_flow.sweeps import _zarr_store


bare = functools.partial(sweeps.sweep, progress=False)
AXES = {"a": [0.1, 0.2, 0.3], "seed": range(4)}


def study(a, seed):
    return {"x": jnp.sin(a) + seed.astype(float)}


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "study.zarr"
    bare(study, AXES, store=path, chunk_size=4)
    return path


def test_the_store_is_a_labeled_zarr_store_for_everyone(store):
    with xarray.open_zarr(store) as ds:
        assert ds["x"].dims == ("a", "seed")
        expected = np.sin([[0.1], [0.2], [0.3]]) + np.arange(4.0)
        np.testing.assert_allclose(ds["x"], expected, rtol=1e-15)
        assert ds["result"].values.tolist() == [[0] * 4] * 3
        assert np.all(ds["seconds"] > 0)
        assert np.all(ds["attempt"] == 1)
    assert sweeps.load(store).identical(xarray.open_zarr(store))


@pytest.mark.parametrize("kind", [np.float32, np.int32, np.bool_, np.complex128, np.uint8])
def test_every_kind_of_number_comes_back(kind, tmp_path):
    def cell(seed):
        return {"x": jnp.stack([seed, 3 * seed]).astype(kind)}

    path = tmp_path / "study.zarr"
    bare(cell, {"seed": range(5)}, store=path, chunk_size=2)
    got = sweeps.load(path)["x"]
    assert got.dtype == kind
    assert np.array_equal(got, np.outer(np.arange(5), [1, 3]).astype(kind))


def test_strings_as_labels(tmp_path):
    path = tmp_path / "study.zarr"
    axes = {"a": [1.0, 2.0], "name": ["short", "much longer"]}
    bare(lambda a, name: a * len(name), axes, static=("name",), store=path)
    with xarray.open_zarr(path) as ds:
        assert ds["value"].sel(a=2.0, name="much longer").item() == 22.0


def test_what_was_just_written_is_not_read_back(tmp_path, monkeypatch):
    """It is the same Dataset, labels and attributes included."""
    kept, path = _zarr_store.open_dataset, tmp_path / "study.zarr"
    monkeypatch.setattr(_zarr_store, "open_dataset", None)
    axes = {"a": sweeps.Axis([0.1, 0.2], units="m"), "name": ["one", "other"]}
    outputs = {"x": sweeps.Output(units="s", dims=("place",))}
    ds = bare(
        lambda a, name: {"x": jnp.ones(3) * a * len(name)},
        axes,
        static=("name",),
        outputs=outputs,
        store=path,
        chunk_size=1,
    )
    monkeypatch.setattr(_zarr_store, "open_dataset", kept)
    xarray.testing.assert_identical(ds, sweeps.load(path).load())


def test_what_is_too_large_to_keep_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(_zarr_store, "LOADED_BYTES", 12 * (8 + 4 + 8 + 4) - 1)
    monkeypatch.setattr(_zarr_store.MemoryStore, "__init__", None)
    ds = bare(study, AXES, store=tmp_path / "study.zarr", chunk_size=4)
    assert ds["x"].sel(a=0.2, seed=3).item() == pytest.approx(math.sin(0.2) + 3, rel=1e-15)


def test_finished_store_is_read_and_not_computed(store):
    entries = sorted((store / ".sweep").rglob("started/*"))
    before = [(path, path.stat().st_size) for path in entries]
    ds = bare(study, AXES, store=store)
    assert ds["x"].sel(a=0.2, seed=3).item() == pytest.approx(math.sin(0.2) + 3, rel=1e-15)
    assert [(path, path.stat().st_size) for path in entries] == before
    assert len(before) == 3


def test_resume_false_never_overwrites(store):
    with pytest.raises(FileExistsError, match="nothing is ever overwritten"):
        bare(study, AXES, store=store, resume=False)


def test_something_else_at_the_path(tmp_path):
    (tmp_path / "notes").mkdir()
    with pytest.raises(ValueError, match="is something else"):
        bare(study, AXES, store=tmp_path / "notes")
    with pytest.raises(ValueError, match="there is none at"):
        sweeps.load(tmp_path / "nothing.zarr")
    with pytest.raises(ValueError, match="must be a path, but is the URL"):
        bare(study, AXES, store="s3://bucket/study.zarr")


def test_another_source_is_refused_with_the_difference(store):
    def study(a, seed):
        return {"x": jnp.cos(a) + seed.astype(float)}

    with pytest.raises(ValueError, match="made by another one") as caught:
        bare(study, AXES, store=store)
    message = str(caught.value)
    assert '-    return {"x": jnp.sin(a) + seed.astype(float)}' in message
    assert '+    return {"x": jnp.cos(a) + seed.astype(float)}' in message
    assert "--force-resume" in message
    # Insisting is possible: the finished cells stay as they are.
    ds = bare(study, AXES, store=store, force_resume=True)
    assert ds["x"].sel(a=0.2, seed=3).item() == pytest.approx(math.sin(0.2) + 3, rel=1e-15)


def scaled(factor):
    def scaled_study(a):
        return {"x": factor * a}

    return scaled_study


def test_another_value_closed_over_is_refused(tmp_path):
    path = tmp_path / "study.zarr"
    bare(scaled(2.0), {"a": [1.0]}, store=path)
    bare(scaled(2.0), {"a": [1.0]}, store=path)
    with pytest.raises(ValueError, match="a value that it closes over") as caught:
        bare(scaled(3.0), {"a": [1.0]}, store=path)
    assert "source" not in str(caught.value)


@pytest.mark.parametrize(
    ("axes", "difference"),
    [
        ({"a": [0.1, 0.2, 0.3], "seed": range(5)}, r"`seed` was 4 int64 values .* and is 5"),
        ({"a": [0.1, 0.2, 0.25], "seed": range(4)}, r"`a` was 3 float64 values \[0.1, 0.2, 0.3\]"),
        ({"seed": range(4), "a": [0.1, 0.2, 0.3]}, r"the order was a, seed, and is seed, a"),
    ],
)
def test_other_axes_are_refused_even_by_force(axes, difference, store):
    for force in (False, True):
        with pytest.raises(ValueError, match=difference):
            bare(study, axes, store=store, force_resume=force)


def test_other_results_are_refused(store):
    with pytest.raises(ValueError, match=r"returns: `x` was float64\[\], and is float64\[2\]"):
        bare(lambda a, seed: {"x": a * jnp.ones(2)}, AXES, store=store, force_resume=True)


def test_other_labels_and_another_meaning_of_nan_are_refused(store):
    outputs = {"x": sweeps.Output(may_be_nonfinite=True)}
    with pytest.raises(ValueError, match=r"outputs: `x` was.*nan and inf an answer"):
        bare(study, AXES, store=store, outputs=outputs, force_resume=True)


def test_another_precision_is_refused(tmp_path):
    path = tmp_path / "study.zarr"

    def cell(seed):
        return {"x": seed.astype(jnp.float32)}

    bare(cell, {"seed": range(3)}, store=path)
    with jax.enable_x64(False), pytest.raises(ValueError, match="precision: `x64` was True"):
        bare(cell, {"seed": range(3)}, store=path)


def test_another_version_is_refused(store, monkeypatch):
    monkeypatch.setattr("implicit_flow.sweeps._manifest.__version__", "99.0")
    with pytest.raises(ValueError, match=r"versions: `implicit_flow` was .*, and is 99.0"):
        bare(study, AXES, store=store)


def test_another_chunk_size_is_refused_and_none_adopts_the_stored_one(store):
    with pytest.raises(ValueError, match=r"`chunk_size` must cut the grid as the store has it"):
        bare(study, AXES, store=store, chunk_size=12)
    bare(study, AXES, store=store, chunk_size=4)
    bare(study, AXES, store=store)


def test_the_store_remembers_what_made_it(store):
    manifest = json.loads((store / ".sweep" / "manifest.json").read_text())
    assert "jnp.sin(a)" in manifest["identity"]["source"]["text"]
    run = sweeps.status(store).runs[0]
    assert run["versions"]["jax"] == jax.__version__
    assert run["devices"] == [f"cpu: {jax.devices()[0].device_kind}"]
    assert run["command"]
    assert "git" in run


def test_ledger_folder_is_no_obstacle_to_readers_who_list(store):
    import zarr

    members = dict(zarr.open_group(store, mode="r", use_consolidated=False).members())
    assert {"x", "a", "seed", "result", "seconds", "attempt"} <= set(members)


def test_memory_and_store_agree(store):
    from_memory = bare(study, AXES).drop_vars("seconds")
    xarray.testing.assert_identical(from_memory, sweeps.load(store).drop_vars("seconds").load())
