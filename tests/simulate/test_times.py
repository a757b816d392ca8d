"""Times that cannot be, derivatives at the end, and what happens between steps."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm
from systems import matrix_problem, vector_problem

import implicit_flow as imf
from implicit_flow import RESULTS, flows


T1, SAVEAT = 1.0, np.array([0.0, 0.3, 1.0])


@pytest.fixture(scope="module")
def follow():
    """The end, X on the way and the result, with derivatives by `t1` and by the save times."""

    def of(t1, saveat):
        sol = imf.simulate(
            vector_problem(),
            flows.HadamardFlow(),
            alpha=0.1,
            t1=t1,
            saveat=saveat,
            solver=diffrax.Tsit5(),
            adjoint=diffrax.ForwardMode(),
            throw=False,
        )
        diagonals = jnp.diagonal(sol.Xs, axis1=1, axis2=2)
        return (sol.x, diagonals), (sol.result, sol.residuals)

    @jax.jit
    def both(t1, saveat):
        by_end = jax.jvp(of, (t1, saveat), (jnp.ones(()), jnp.zeros(3)), has_aux=True)
        by_saves = jax.jvp(of, (t1, saveat), (jnp.zeros(()), jnp.ones(3)), has_aux=True)
        return *by_end, by_saves[1]

    return lambda t1, saveat: both(jnp.asarray(t1, float), jnp.asarray(saveat, float))


@pytest.mark.parametrize(
    ("t1", "saveat"),
    [
        (-1.0, SAVEAT),
        (0.0, np.zeros(3)),
        (np.nan, SAVEAT),
        (np.inf, SAVEAT),
        (T1, [0.3, 0.2, 1.0]),
        (T1, [0.0, np.nan, 1.0]),
        (T1, [0.0, 0.3, 2.0]),
        (T1, [-0.1, 0.3, 1.0]),
    ],
)
def test_traced_times_that_cannot_be_are_a_result(follow, t1, saveat):
    (x, xs), _, (result, _), _ = follow(t1, saveat)
    assert result == RESULTS.invalid_input
    assert np.all(np.isnan(x))
    assert np.all(np.isnan(xs))


def test_derivatives_by_times_are_velocities_also_at_the_end(follow):
    (_, xs), by_end, (result, residuals), by_saves = follow(T1, SAVEAT)
    assert result == RESULTS.successful
    # x' = -2 (A' r) x for x = u^2.
    pulls = np.asarray(residuals) @ np.asarray(vector_problem().measurement.matrix)
    velocity = -2 * pulls * np.asarray(xs)
    np.testing.assert_allclose(by_saves[1], velocity, rtol=1e-4)
    np.testing.assert_allclose(by_end[0], velocity[-1], rtol=1e-4)
    np.testing.assert_allclose(by_saves[0], 0, atol=1e-12)
    np.testing.assert_allclose(by_end[1], 0, atol=1e-12)


def test_a_pulse_between_two_steps_is_not_silent():
    problem, turn = matrix_problem(), jnp.array([1.0, -0.5])

    @jax.jit
    def steered(width, middle):
        # Narrow or not, it turns X by the same.
        pulse = lambda t: jnp.where(jnp.abs(t - middle) < width / 2, turn / width, 0.0)
        sol = imf.simulate(
            problem, flows.SteeredFlow(pulse), alpha=1.0, t1=100.0, saveat=[0.0, 99.9],
            solver=diffrax.Tsit5(), adjoint=diffrax.ForwardMode(), throw=False
        )  # fmt: skip
        late = sol.Xs[1], sol.error_estimates[1]
        return sol.X, sol.error_estimate, sol.result == RESULTS.successful, *late

    E = expm(-np.tensordot(turn, np.asarray(problem.measurement.as_stack()), 1))
    exact, missed = E @ E.T, 0
    for width, middle in ((99.0, 50.0), (10.0, 50.0), (1.0, 50.5), (0.1, 50.0), (0.1, 33.3)):
        X, estimate, successful, *late = steered(jnp.asarray(width), jnp.asarray(middle))
        error = np.linalg.norm(X - exact) / np.linalg.norm(exact)
        assert error <= estimate + 1e-9
        assert np.linalg.norm(late[0] - exact) / np.linalg.norm(exact) <= late[1] + 1e-9
        missed += error > 0.1
        assert not (successful and error > 1e-6)
    # Or nothing was tried here.
    assert missed >= 2


def test_what_was_not_reached_is_no_number_and_its_error_is_infinite():
    sol = imf.simulate(
        vector_problem(),
        flows.HadamardFlow(),
        alpha=1e-2,
        t1=50.0,
        saveat=[0.0, 1e-3, 40.0, 50.0],
        solver=diffrax.Tsit5(),
        max_steps=6,
        throw=False,
    )
    assert sol.result == RESULTS.max_steps_reached
    assert 1e-3 < float(sol.time) < 40
    assert np.isinf(sol.error_estimate)
    np.testing.assert_array_equal(np.isnan(sol.Xs[:, 0, 0]), [False, False, True, True])
    np.testing.assert_array_equal(np.isinf(sol.error_estimates), [False, False, True, True])


@pytest.mark.parametrize("solver", [None, imf.solvers.RungeKuttaChebyshev(), diffrax.Dopri8()])
def test_the_dual_grows_past_rest_where_targets_are_missed(solver):
    A = imf.measurements.DenseMeasurement(np.eye(2)[None])
    problem = imf.Problem(A, np.array([-1.0]))
    sol = imf.simulate(problem, alpha=1e-2, solver=solver, saveat=jnp.array([1e6, 2e6]))
    assert sol.result == imf.RESULTS.vanished
    # r = 1, as soon as X = 0.
    np.testing.assert_allclose(sol.duals[:, 0], [-1e6, -2e6], rtol=1e-6)
