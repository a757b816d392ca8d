"""Programs that would wait for each other for ever take turns, and those of the engine need not."""

import os
import subprocess
import sys
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import implicit_flow as imf
from implicit_flow.experiments import _steering_search
from implicit_flow.landscape import _critical_points
from implicit_flow.sweeps import _batched_lapack
from implicit_flow.sweeps._batched_lapack import turn_of


SWEEP = """
import jax, jax.numpy as jnp, numpy as np
import implicit_flow as imf

def cell(seed, key):
    x, y = jax.random.normal(key, (6, 64, 64)), jax.random.normal(key, (256, 256))
    def body(state):
        i, x, y, z = state
        vectors = jnp.linalg.eigh(x + jnp.swapaxes(x, -1, -2))[1]
        left = jnp.linalg.svd(z)[0]
        # Work of another kind: from here on the loop belongs to a thread of the pool.
        y = jnp.tanh(y @ y) / 10 + 1e-9 * jnp.sum(vectors)
        return i + 1, vectors / 2 + x / 10, y, left / 2 + z / 10
    return jax.lax.while_loop(lambda state: state[0] < 20, body, (0, x, y, x))[1].sum()

ds = imf.sweep(cell, {"seed": range(16)}, chunk_size=2, progress=False, threads=2)
assert np.all(ds.result == 0) and np.all(np.isfinite(ds.value))
"""


def test_a_sweep_over_batches_does_not_hang():
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", SWEEP], env=environment, check=True, timeout=120)


def lowered(function, *arguments):
    return jax.jit(function).lower(*arguments).as_text()


def singular(x):
    return jnp.linalg.svd(x)[1]


def solve(x):
    return jnp.linalg.solve(x, x)


def tridiagonal(x):
    return jax.lax.linalg.tridiagonal_solve(x[..., 0], x[..., 1], x[..., 2], x[..., :1])


@pytest.mark.parametrize("function", [jnp.linalg.eigvalsh, singular, solve, tridiagonal])
def test_batches_take_turns_and_single_calls_do_not(function, monkeypatch):
    monkeypatch.setattr(_batched_lapack, "version", lambda name: "0.10.2")
    single, batch = jnp.zeros((4, 4)), jnp.zeros((3, 4, 4))
    assert isinstance(turn_of(lowered(function, single)), nullcontext)
    assert isinstance(turn_of(lowered(function, single[None])), nullcontext)
    assert turn_of(lowered(function, batch)) is turn_of(lowered(jnp.linalg.eigvalsh, batch[None]))
    monkeypatch.setattr(_batched_lapack, "version", lambda name: "0.11.2")
    assert isinstance(turn_of(lowered(function, batch)), nullcontext)


def norm(targets):
    A = imf.measurements.EntryMeasurement([0, 0, 1], [0, 1, 2], 3)
    return imf.simulate(imf.Problem(A, targets), alpha=0.1, throw=False).nuclear_norm


def points(targets):
    objective = imf.landscape.PrincipalComponents(jnp.diag(targets), rank=1)
    starts = jnp.ones((4, 3, 1))
    with jax.numpy_dtype_promotion("standard"):
        return _critical_points._search(objective, starts, 1e-9, 10)["min_eigenvalues"]


def constant(targets):
    A = imf.measurements.DenseMeasurement(targets[:, None, None] * jnp.eye(3)[None])
    return imf.recovery.isometry(A, 1, key=jax.random.key(0), num_starts=2, num_steps=3).lower


def steering(targets):
    """What crazy-steering runs side by side."""
    stack = jnp.stack([jnp.diag(targets), jnp.ones((3, 3))])
    start = jnp.ones((5, 2))
    return _steering_search._minimize.__wrapped__(stack, jnp.eye(3), start, 5)[0]


@pytest.mark.parametrize("function", [norm, jax.grad(norm), points, constant, steering])
def test_the_library_makes_no_batches(function, monkeypatch):
    """Of a single flow, and of what an experiment runs side by side."""
    monkeypatch.setattr(_batched_lapack, "version", lambda name: "0.10.2")
    text = lowered(function, jnp.array([3.0, 2.0, 1.0]))
    assert "lapack_d" in text
    assert isinstance(turn_of(text), nullcontext)


@pytest.mark.parametrize("engine", ["kvaerno5", "dopri8"])
def test_steerings_that_run_side_by_side_make_no_batches(engine, monkeypatch):
    monkeypatch.setattr(_batched_lapack, "version", lambda name: "0.10.2")
    stack, targets = jnp.stack([jnp.eye(2), jnp.ones((2, 2))]), jnp.array([1.0, 2.0])
    problem = imf.Problem(imf.measurements.DenseMeasurement(stack), targets)
    experiment = imf.experiments.load("steering-independence")
    flow = experiment._steerings(problem, np.arange(4) % 2, -2.0)[0]

    def end(log10_alpha):
        solver = experiment.named_engine(engine)
        return experiment._flow.__wrapped__(problem, flow, log10_alpha, solver).X

    assert isinstance(turn_of(lowered(end, jnp.asarray(-2.0))), nullcontext)


def test_an_estimate_counts_on_one_thread_where_chunks_take_turns(monkeypatch):
    monkeypatch.setattr(_batched_lapack, "version", lambda name: "0.10.2")
    shape = (2, 2, 2)
    for function, threads in (
        (lambda a: jnp.linalg.eigvalsh(a * jnp.ones(shape)), 1),
        (lambda a: a * jnp.ones(shape), 3),
    ):
        found = imf.sweeps.estimate(function, {"a": [1.0, 2.0, 3.0, 4.0]}, threads=3)
        assert found.cell_seconds * found.cells == pytest.approx(threads * found.seconds)
        assert ("one computes at a time" in str(found)) == (threads == 1)
