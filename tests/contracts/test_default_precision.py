"""Everything in the registry with float64 off, where JAX starts: in a process of its own."""

import os
import pathlib
import subprocess
import sys


PROGRAM = """
import sys
import warnings

warnings.simplefilter("error")
import jax
import jax.numpy as jnp
import numpy as np
import runpy

assert not jax.config.jax_enable_x64
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
registry = runpy.run_path(sys.argv[1])
single, key = jnp.dtype("float32"), jax.random.key(0)


def types(tree):
    return {x.dtype for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)}


@jax.jit
def apply(A, X):
    return A.apply(X)


for name, make in registry["MEASUREMENTS"].items():
    # Data in float64, as NumPy makes them, are taken in float32.
    for given in (np.float32, np.float64):
        A, stack = make(np.random.default_rng(3), 4, 5, given)
        assert A.dtype == single, name
        assert types(A) <= {single}, name
    X = np.random.default_rng(0).normal(size=(5, 5))
    X = X + X.T
    got = apply(A, jnp.asarray(X))
    # 25 terms of size 10, each rounded to 24 bits.
    np.testing.assert_allclose(got, np.einsum("kij,ij->k", stack, X), atol=25 * 10 * 2.0**-24)
    factors = jnp.ones((5, 2)), jnp.ones((5, 2))
    r = jnp.ones(4)
    # Types alone need no compilation.
    parts = jax.eval_shape(
        lambda A, r, U, V: (
            A.adjoint(r), A.adjoint_times(r, U), A.as_stack(), A.apply_product(U, V), A.gram(U, V)
        ),
        A, r, *factors,
    )
    assert types((got, parts)) == {single}, name

for name, (make, formula) in registry["LOSSES"].items():
    loss, y, p = make(), jnp.array([1.0, -1.0, -1.0, 1.0]), jnp.array([0.2, -1.5, 3.0, 2.1])
    outputs = jax.jit(
        lambda p, y: (loss.value(p, y), loss.residual(p, y), loss.curvature(p, y))
    )(p, y)
    assert types((loss, outputs)) == {single}, name
    want = float(sum(formula(float(a), float(b), k) for k, (a, b) in enumerate(zip(p, y))))
    assert abs(float(outputs[0]) - want) <= 1e-6 * want, name

for name, (make, _) in registry["PROBLEMS"].items():
    @jax.jit
    def draw(key):
        problem = make(key=key, noise=0.0)
        return problem, problem.misfit(problem.ground_truth)

    problem, misfit = draw(key)
    assert types((problem, misfit)) == {single}, name
    assert float(misfit) < 1e-5, name
print("all in float32")
"""


def test_float32_in_float32_out():
    registry = pathlib.Path(__file__).with_name("conftest.py")
    environment = {**os.environ, "JAX_ENABLE_X64": "0", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(registry)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.stdout == "all in float32\n", done.stderr[-2000:]
