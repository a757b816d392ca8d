"""Derivatives of the engine, both modes, against central differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import implicit_flow as imf


STACK = np.array([[[2, 1, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 1], [1, 0, 0], [1, 0, 3]]], float)
WEIGHTS = np.arange(9.0).reshape(3, 3)
POINT = (STACK, np.array([4.0, 3.0]), np.eye(3) + 0.1 * np.diag([1.0, 0.5], 1))
DIRECTION = (
    0.3 * STACK[::-1],
    np.array([0.7, -0.4]),
    np.array([[0.1, 0.2, 0.0], [-0.3, 0.2, 0.1], [0.0, 0.4, -0.2]]),
)


def value(stack, targets, init, log10_alpha):
    problem = imf.Problem(imf.measurements.DenseMeasurement(stack), targets)
    # 1e-9, so that differences over 1e-4 are known to 1e-5.
    sol = imf.simulate(problem, log10_alpha=log10_alpha, init=init, rtol=1e-9, throw=False)
    return jnp.sum(sol.X * WEIGHTS) + sol.nuclear_norm


@pytest.fixture(scope="module")
def compiled():
    everything = tuple(range(4))
    return {
        "reverse": jax.jit(jax.grad(value, everything)),
        "forward": jax.jit(lambda p, d: jax.jvp(value, p, d)),
    }


@pytest.mark.parametrize("log10_alpha", [-2.0, -30.0])
def test_both_modes_against_differences(compiled, log10_alpha):
    point = tuple(jnp.asarray(p) for p in (*POINT, log10_alpha))
    gradient = compiled["reverse"](*point)
    # Each argument by itself, so that a large one cannot hide a small one that is wrong.
    for place, move in enumerate((*DIRECTION, 0.5)):
        direction = tuple(
            jnp.asarray(move) if k == place else jnp.zeros_like(p) for k, p in enumerate(point)
        )
        h = 1e-4

        def at(sign, direction=direction, h=h):
            shifted = tuple(p + sign * h * d for p, d in zip(point, direction, strict=True))
            return float(compiled["forward"](shifted, direction)[0])

        difference = (at(1) - at(-1)) / (2 * h)
        reverse = sum(float(jnp.sum(g * d)) for g, d in zip(gradient, direction, strict=True))
        forward = float(compiled["forward"](point, direction)[1])
        # h^2 times third derivatives, and 1e-9 / h of the solver.
        np.testing.assert_allclose(reverse, difference, rtol=1e-4, atol=2e-4)
        np.testing.assert_allclose(forward, reverse, rtol=1e-8, atol=1e-10)


def test_a_derivative_over_more_steps_than_were_recorded_is_no_number():
    """The transpose of a choice between a number and nan is 0, which would look like an answer."""
    A = imf.measurements.DenseMeasurement(np.ones((1, 1, 1)))
    problem = imf.Problem(A, np.ones(1))
    short = imf.solvers.ResidualRadau(recorded_steps=2)

    def end(log10_alpha):
        return imf.simulate(problem, log10_alpha=log10_alpha, solver=short, throw=False).X[0, 0]

    assert np.isnan(jax.grad(end)(jnp.asarray(-3.0)))
