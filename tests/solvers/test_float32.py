"""The engine in float32: its stated accuracy at alphas far below its floats, reported honestly."""

import jax.numpy as jnp
import numpy as np
import pytest

import implicit_flow as imf
from implicit_flow import RESULTS


STACK = np.array([[[2, 1, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 1], [1, 0, 0], [1, 0, 3]]], float)
# The default accuracy of float32.
RTOL = 1e-3


def run(dtype):
    def of(stack, targets, log10_alpha):
        problem = imf.Problem(imf.measurements.DenseMeasurement(stack), targets)
        return imf.simulate(problem, log10_alpha=log10_alpha, throw=False)

    return lambda stack, y, value: of(
        jnp.asarray(stack, dtype), jnp.asarray(y, dtype), jnp.asarray(value, dtype)
    )


@pytest.fixture(scope="module")
def both():
    return run(jnp.float32), run(jnp.float64)


def instances():
    rng = np.random.default_rng(3)
    yield STACK, np.array([4.0, 3.0])
    for _ in range(4):
        A = rng.normal(size=(2, 3, 3))
        u = rng.normal(size=(3, 1))
        stack = A + A.transpose(0, 2, 1)
        yield stack, np.tensordot(stack, u @ u.T, 2)


@pytest.mark.parametrize("log10_alpha", [-1.0, -8.0, -60.0, -3000.0])
def test_accuracy_and_honesty(both, log10_alpha):
    single, double = both
    for stack, targets in instances():
        sol, exact = single(stack, targets, log10_alpha), double(stack, targets, log10_alpha)
        assert {sol.X.dtype, sol.dual.dtype, sol.error_estimate.dtype} == {jnp.dtype(jnp.float32)}
        size = np.linalg.norm(exact.X)
        error = np.linalg.norm(np.asarray(sol.X, float) - exact.X) / size
        assert error <= float(sol.error_estimate) + float(exact.error_estimate)
        if sol.result == RESULTS.successful:
            assert error <= RTOL
            assert float(sol.error_estimate) <= RTOL
        # Semidefinite by construction: to rounding.
        assert np.linalg.eigvalsh(np.asarray(sol.X, float))[0] >= -1e-6 * size
    # The first instance is not left to a flag.
    sol = single(STACK, (4.0, 3.0), log10_alpha)
    assert sol.result == RESULTS.successful
