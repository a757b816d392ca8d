"""The engine in float32: its stated accuracy at alphas far below its floats, reported honestly."""

import jax.numpy as jnp
import numpy as np
import pytest

import implicit_flow as imf
from implicit_flow import RESULTS
from implicit_flow.solvers._stationarity import advance_window, open_window


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


@pytest.mark.long
def test_a_start_far_above_the_targets_is_no_rest():
    # The first steps move X by less than its rounding, and the last one wants 2e-7 of it.
    stack = np.array(
        [
            [[0, -3, -1], [-3, -5, 2], [-1, 2, -5]],
            [[-6, 3, 5], [3, -9, -7], [5, -7, -5]],
            [[-19, -8, -8], [-8, -13, 0], [-8, 0, -25]],
            [[-5, -8, -3], [-8, -5, 0], [-3, 0, -8]],
        ]
    )
    ends = []
    for dtype in (jnp.float32, jnp.float64):
        measurement = imf.measurements.DenseMeasurement(jnp.asarray(stack / 10, dtype))
        targets = jnp.array([-0.2, -0.7, -2.0, -0.5], dtype)
        problem = imf.Problem(measurement, targets, loss=imf.losses.Huber(0.4))
        ends.append(imf.simulate(problem, alpha=49.0, throw=False))
    single, double = ends
    assert single.result == double.result == RESULTS.successful
    error = np.linalg.norm(np.asarray(single.X, float) - double.X) / np.linalg.norm(double.X)
    assert error <= float(single.error_estimate) <= RTOL
    # The last tolerances are of the size of rounding: no shorter step would mend that.
    assert single.stats["num_steps"] < 100


def test_rounding_before_x_has_begun_to_move_is_no_rest():
    factor, force = jnp.eye(2, dtype=jnp.float32), jnp.ones(1, jnp.float32)
    rounded = lambda k: factor * (1 + (k % 2) * jnp.finfo(jnp.float32).eps)

    def remainder(times, factors):
        window = open_window(factor, force, jnp.float32(1.0))
        for time, now in zip(times, factors, strict=True):
            window = advance_window(window, jnp.asarray(time, jnp.float32), now, force)
        return float(window.remainder)

    early, late = 2.0 ** np.arange(-20, -10), 2.0 ** np.arange(10)
    assert np.isinf(remainder(early, [rounded(k) for k in range(10)]))
    # Where it stood still for many times the time that anything takes, it is at rest,
    assert remainder(late, [rounded(0)] * 10) == 0
    # and where it has moved, and stopped, long before.
    assert remainder(early, [1.1 * factor] * 5 + [factor] * 5) == 0
