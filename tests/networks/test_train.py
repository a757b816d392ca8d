"""Training: what it learns, and that a killed run goes on with the same numbers."""

import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from implicit_flow.networks import MLP, RNN, AddingTask, ImageTask, digits, path_sgd, train


KEY = jax.random.key(0)


def task():
    return ImageTask(digits().first(200).flat())


def start(dropout=0.0):
    return MLP((64, 16, 10), key=KEY, dtype=jnp.float32, dropout=dropout)


def test_resumed_run_has_the_same_numbers(tmp_path):
    network = start(dropout=0.3)
    optimizer = path_sgd(0.3, network, momentum=0.5, update_every=2)
    options = {"key": KEY, "num_steps": 12, "measure_every": 4, "batch_size": 10}
    whole = train(network, task(), optimizer, **options)
    first = train(
        network, task(), optimizer, folder=tmp_path, stop=lambda r: r["step"] >= 4, **options
    )
    assert first.curve("step") == [0, 4]
    rest = train(network, task(), optimizer, folder=tmp_path, **options)
    assert rest.curves == whole.curves
    pairs = zip(jax.tree.leaves(rest.network), jax.tree.leaves(whole.network), strict=True)
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)
    assert whole.curve("train_loss")[-1] < 0.95 * whole.curve("train_loss")[0]


def test_another_run_is_not_continued(tmp_path):
    options = {"key": KEY, "num_steps": 1, "batch_size": 4, "folder": tmp_path}
    train(start(), task(), optax.sgd(0.1), settings={"seed": 0}, **options)
    with pytest.raises(ValueError, match="one with seed = 0 instead of 1"):
        train(start(), task(), optax.sgd(0.1), settings={"seed": 1}, **options)


def test_checkpoint_of_another_shape_or_damaged_is_refused(tmp_path):
    options = {"key": KEY, "num_steps": 1, "batch_size": 4, "folder": tmp_path}
    train(start(), task(), optax.sgd(0.1), settings={"width": 16}, **options)
    wider = MLP((64, 17, 10), key=KEY, dtype=jnp.float32)
    with pytest.raises(ValueError, match="one with width = 16 instead of 17"):
        train(wider, task(), optax.sgd(0.1), settings={"width": 17}, **options)
    path = tmp_path / "checkpoint.eqx"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="must hold a whole checkpoint"):
        train(start(), task(), optax.sgd(0.1), settings={"width": 16}, **options)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="must hold a whole checkpoint"):
        train(start(), task(), optax.sgd(0.1), settings={"width": 16}, **options)


@pytest.mark.parametrize("name", ["measure_every", "batch_size"])
def test_counts_must_be_positive(name):
    # measure_every=0 would train for ever.
    options = {"key": KEY, "num_steps": 1, name: 0}
    with pytest.raises(ValueError, match=f"Argument `{name}` must be at least 1, but is 0"):
        train(start(), task(), optax.sgd(0.1), **options)


def test_measures_agree_with_numpy():
    data, network = task(), start()
    record = train(network, data, optax.sgd(0.0), key=KEY, num_steps=1).curves[-1]
    logits = np.stack([np.asarray(network(x)) for x in data.test_inputs]).astype(np.float64)
    labels = np.asarray(data.test_labels)
    log_sum = np.log(np.exp(logits).sum(axis=1))
    entropy = np.mean(log_sum - logits[np.arange(len(labels)), labels])
    # Float32 logits of order one: a few roundings.
    assert record["test_loss"] == pytest.approx(entropy, rel=1e-5)
    assert record["test_error"] == pytest.approx(np.mean(logits.argmax(axis=1) != labels), rel=1e-6)


def test_adding_problem_targets_are_the_marked_sums():
    inputs, targets = AddingTask(20).batch(KEY, 50)
    values, marks = np.asarray(inputs[..., 0]), np.asarray(inputs[..., 1])
    assert np.all(marks.sum(axis=1) == 2)
    np.testing.assert_allclose((values * marks).sum(axis=1), targets[:, 0], rtol=1e-6)


def test_recurrent_network_learns_the_adding_problem_better_than_a_constant():
    network = RNN(2, 24, 1, key=KEY, last_only=True, identity=True, dtype=jnp.float32)
    # Optax's Adam divides floats by integers.
    with jax.numpy_dtype_promotion("standard"):
        result = train(
            network, AddingTask(6), optax.adam(0.01), key=KEY, num_steps=400, batch_size=32
        )
    # The variance of a sum of two uniform numbers is 1/6.
    assert result.curve("test_loss")[-1] < 0.05


def run(folder, *, wait=True):
    command = [
        sys.executable,
        "-c",
        "from implicit_flow.cli import main; main()",
        *[
            "train",
            "--width",
            "8",
            "--steps",
            "60",
            "--measure-every",
            "2",
            "--batch-size",
            "10",
            "--dropout",
            "0.2",
        ],
        "--out",
        str(folder),
    ]
    # The three runs compile the same programs.
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **cache},
    )
    if wait:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
    return process


@pytest.mark.long
def test_killed_command_goes_on_with_the_same_numbers(tmp_path):
    run(tmp_path / "whole")
    process = run(tmp_path / "killed", wait=False)
    try:
        deadline = time.monotonic() + 200
        while not (tmp_path / "killed" / "checkpoint.eqx").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert not (tmp_path / "killed" / "curves.csv").exists()
    run(tmp_path / "killed")
    whole = (tmp_path / "whole" / "curves.csv").read_bytes()
    assert (tmp_path / "killed" / "curves.csv").read_bytes() == whole
    assert len(whole.splitlines()) == 32
