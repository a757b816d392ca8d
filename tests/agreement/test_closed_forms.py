"""Flows against closed forms: two codes that share no line above the problem."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import implicit_flow as imf
from implicit_flow import closed_forms, flows


def distance(X, Y):
    return float(jnp.linalg.norm(X - Y) / jnp.linalg.norm(Y))


def agrees(sol, exact):
    """The error is within what is asked for, and within what is reported."""
    error = distance(sol.X, exact)
    # 1e-12: rounding of the closed form itself.
    assert error <= float(sol.error_estimate) + 1e-12
    assert error <= 1e-6
    return error


@pytest.fixture(scope="module")
def commuting():
    problem = imf.problems.commuting_sensing(8, 3, key=jax.random.key(5))
    return problem, lambda value: imf.simulate(problem, log10_alpha=value, throw=False)


@pytest.mark.parametrize("log10_alpha", [-1.0, -8.0, -30.0, -300.0, -3000.0])
def test_commuting_at_any_alpha(commuting, log10_alpha):
    problem, solve = commuting
    sol = solve(log10_alpha)
    assert sol.result == imf.RESULTS.successful
    agrees(sol, closed_forms.commuting(problem, log10_alpha=log10_alpha))


def test_single_measurement_exactly():
    # X = diag(a z^2, a z) with z = (-a + sqrt(a^2 + 8a)) / (4a).
    A = imf.measurements.DenseMeasurement(np.diag([2.0, 1.0])[None])
    problem = imf.Problem(A, np.array([1.0]))
    solve = lambda alpha: imf.simulate(problem, alpha=alpha, rtol=1e-9)
    np.testing.assert_allclose(solve(0.1).X, np.diag([0.4, 0.2]), rtol=1e-8)
    exact = [0.4658725707547876, 0.06825485849042454]
    np.testing.assert_allclose(jnp.diagonal(solve(1e-2).X), exact, rtol=1e-8)


def test_single_measurement_from_a_thin_start():
    problem = imf.problems.single_measurement(5, key=jax.random.key(2))
    init = np.random.default_rng(0).normal(size=(5, 2))
    sol = imf.simulate(problem, log10_alpha=-5.0, init=init)
    agrees(sol, closed_forms.single_measurement(problem, log10_alpha=-5.0, init=init))
    assert "theorems about full rank do not apply" in sol.notes[0]


VECTOR = imf.problems.nonnegative_least_squares


@pytest.mark.parametrize(
    ("flow", "form", "log10_alpha"),
    [
        (flows.HadamardFlow(2), closed_forms.hadamard, -12.0),
        pytest.param(flows.HadamardFlow(3), closed_forms.hadamard, -3.0, marks=pytest.mark.long),
        pytest.param(
            flows.SignedHadamardFlow(2),
            closed_forms.signed_hadamard,
            -6.0,
            marks=pytest.mark.long,
        ),
        (flows.SignedHadamardFlow(4), closed_forms.signed_hadamard, -2.0),
    ],
)
def test_vector_flows(flow, form, log10_alpha):
    problem = VECTOR(5, 2, key=jax.random.key(1))
    init = np.array([1.0, 1.5, 0.7, 1.2, 0.9])
    sol = imf.simulate(problem, flow, log10_alpha=log10_alpha, init=init)
    agrees(sol, form(problem, depth=flow.depth, log10_alpha=log10_alpha, init=init))
    np.testing.assert_allclose(jnp.diag(sol.x), sol.X)


def test_ties_are_resolved_by_entropy():
    # x1 + x2 = 1 from x0 = alpha (1, 3) goes to (1/4, 3/4), at every alpha.
    A = imf.measurements.DiagonalMeasurement(np.ones((1, 2)))
    problem = imf.Problem(A, np.ones(1))
    sol = imf.simulate(problem, flows.HadamardFlow(), alpha=1e-9, init=np.sqrt([1.0, 3.0]))
    np.testing.assert_allclose(sol.x, [0.25, 0.75], rtol=1e-6)
    limit = closed_forms.commuting_limit(problem, init=np.diag(np.sqrt([1.0, 3.0])))
    np.testing.assert_allclose(jnp.diagonal(limit), [0.25, 0.75], rtol=1e-8)


def test_full_observation_in_time():
    # Measuring every entry makes the flow a Riccati equation.
    n = 3
    rows, cols = (index.ravel() for index in np.indices((n, n)))
    M = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 0.3]])
    problem = imf.Problem(imf.measurements.EntryMeasurement(rows, cols, n), M.ravel())
    sol = imf.simulate(problem, alpha=1e-4, t1=6.0)
    agrees(sol, closed_forms.full_observation(problem, alpha=1e-4, t=6.0))


def test_the_euclidean_flow_is_linear():
    problem = imf.problems.gaussian_sensing(4, 2, 5, key=jax.random.key(3))
    for t in (0.3, None):
        sol = imf.simulate(problem, flows.EuclideanFlow(), t1=t)
        agrees(sol, closed_forms.linear(problem, t=t))
    np.testing.assert_allclose(sol.X, imf.convex.min_frobenius(problem).X, atol=1e-6)
