"""Ctrl-C is counted while a sweep runs, and heard while it prepares."""

import os
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import pytest

from implicit_flow import sweeps
from implicit_flow.sweeps._interrupt import counted_interrupts


@pytest.fixture(autouse=True)
def heeds_control_c():
    """As on a terminal, whatever the tests were started by."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_interrupts_are_counted_and_the_handler_comes_back():
    with counted_interrupts() as interruption:
        assert interruption.times == 0
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert interruption.times == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_handler_of_the_users_own_is_still_called():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with counted_interrupts() as interruption:
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]
    assert interruption.times == 0


def test_what_is_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with counted_interrupts() as interruption:
        signal.raise_signal(signal.SIGINT)
    assert interruption.times == 0
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_hear_nothing():
    counts = []

    def work():
        with counted_interrupts() as interruption:
            counts.append(interruption.times)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert counts == [0]


def test_interrupt_while_a_long_cell_is_timed():
    started, release = threading.Event(), threading.Event()

    def wait_long(x):
        started.set()
        release.wait(30)
        return x

    def interrupt():
        if not started.wait(30):
            return
        os.kill(os.getpid(), signal.SIGINT)

    def cell(x):
        shape = jax.ShapeDtypeStruct((), jnp.float64)
        return {"y": jax.pure_callback(wait_long, shape, x, vmap_method="sequential")}

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        sweeps.sweep(cell, {"x": [0.0, 1.0, 2.0]}, threads=1, progress=False)
    assert not release.is_set()
    release.set()


STUDY = """
[function]
file = "slow.py"
name = "slow"
[axes]
x = {from = 0.0, to = 1.0, count = 400}
[output]
store = "s.zarr"
chunk_size = 1
"""
FUNCTION = """
import jax.numpy as jnp
from jax import lax

def slow(x):
    return lax.fori_loop(0, 3_000_000, lambda _, v: jnp.sin(v) + x, x)
"""


def test_a_job_in_the_background_heeds_a_terminate(tmp_path):
    """A shell's background job is deaf to SIGINT, and stays so; SIGTERM ends it in order."""
    (tmp_path / "slow.py").write_text(FUNCTION)
    (tmp_path / "study.toml").write_text(STUDY)
    main = "from implicit_flow.cli import main; main()"
    process = subprocess.Popen(
        # `exec`, so that the process is the command itself.
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", main]
        + ["sweep", "study.toml"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    done = tmp_path / "s.zarr" / ".sweep" / "done"
    deadline = time.monotonic() + 120
    while not done.exists() or len(list(done.glob("*.json"))) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "run the same call (or command) again" in err
    status = sweeps.status(tmp_path / "s.zarr")
    assert 3 <= status.done < 400
    assert f"{status.done} of 400 cells are done" in err
    assert status.damaged == 0
