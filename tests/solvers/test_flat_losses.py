"""Losses without curvature at X = 0: the linear phase knows where the targets are."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import implicit_flow as imf


def drawn():
    rng = np.random.default_rng(0)
    G = rng.normal(size=(2, 3, 3))
    A, v = (G + G.transpose(0, 2, 1)) / 2, rng.normal(size=(3, 1))
    return A, np.einsum("kij,ij->k", A, v @ v.T)


A, PLANTED = drawn()
# Huber's slope is constant, and the curvature of log cosh is e^{-2 |y|}, until X is near.
CASES = {
    "Huber": (
        imf.losses.Huber(0.1),
        PLANTED / np.max(np.abs(PLANTED)),
        lambda rest: np.clip(rest, -0.1, 0.1),
    ),
    "LogCosh": (imf.losses.LogCosh(), 30 * PLANTED / np.min(np.abs(PLANTED)), np.tanh),
}


@pytest.mark.parametrize("name", CASES)
def test_the_end_is_that_of_another_method(name):
    loss, y, slope = CASES[name]
    sol = imf.simulate(
        imf.Problem(imf.measurements.DenseMeasurement(jnp.asarray(A)), y, loss=loss), alpha=1e-3
    )

    def velocity(_, u):
        U = u.reshape(3, 3)
        r = slope(np.einsum("kij,ij->k", A, U @ U.T) - y)
        return -(np.tensordot(r, A, 1) @ U).ravel()

    start = np.sqrt(1e-3) * np.eye(3).ravel()
    span = (0, float(sol.time))
    U = solve_ivp(velocity, span, start, method="LSODA", rtol=1e-11, atol=1e-14).y[:, -1]
    X = U.reshape(3, 3) @ U.reshape(3, 3).T
    assert np.linalg.norm(sol.X - X) <= float(sol.error_estimate) * np.linalg.norm(X)
    assert np.linalg.norm(sol.residual) < 1e-6
