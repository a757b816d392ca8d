"""What goes wrong is a result: never a nan, or a wrong number, passed off as an answer."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import implicit_flow as imf
from implicit_flow import RESULTS
from implicit_flow._congruence_term import congruence_term
from implicit_flow.solvers import ResidualRadau, RungeKuttaChebyshev, integrate


def logistic_term(a=1.0, y=1.0):
    A = imf.measurements.DenseMeasurement(np.full((1, 1, 1), a))
    return congruence_term(imf.Problem(A, np.array([y])))


@jax.jit
def solve(broken, frame, log_alpha):
    """One number, with a residual that stops being a number where x passes `broken`."""
    term = logistic_term()
    whole = term.residual

    def residual(prediction):
        return jnp.where(prediction > broken, jnp.nan, whole(prediction))

    term = eqx.tree_at(lambda t: t.residual, term, residual)
    return integrate(term, ResidualRadau(), frame=frame, log_alpha=log_alpha)


def ended(broken=np.inf, frame=1.0, log_alpha=-7.0):
    return solve(jnp.asarray(broken), jnp.full((1, 1), frame), jnp.asarray(log_alpha))


def test_a_residual_that_breaks_within_newtons_iteration():
    sol = ended(broken=0.5)
    assert sol.result == RESULTS.solver_failed
    assert not np.isfinite(float(sol.error_estimate))
    # What is returned is the last point that was reached.
    assert 0 < float(sol.X[0, 0]) <= 0.5
    whole = ended()
    assert whole.result == RESULTS.successful
    assert abs(float(whole.X[0, 0]) - 1) <= float(whole.error_estimate)


def test_a_start_at_the_end_and_above_it():
    sol = ended(log_alpha=0.0)
    assert sol.result == RESULTS.successful
    assert float(sol.X[0, 0]) == pytest.approx(1.0, rel=1e-12)
    for log_alpha in (np.log(1e3), np.log(1e8)):
        sol = ended(log_alpha=log_alpha)
        assert sol.result == RESULTS.successful
        assert abs(float(sol.X[0, 0]) - 1) <= float(sol.error_estimate)


def test_a_start_at_zero_stays_there():
    sol = ended(frame=0.0)
    assert np.all(np.asarray(sol.X) == 0)
    # It is no end of the flow: the least seed would grow.
    assert not bool(sol.result == RESULTS.successful)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ResidualRadau(max_newton_iterations=0),
            "`max_newton_iterations` must be at least",
        ),
        (lambda: ResidualRadau(recorded_steps=-1), "`recorded_steps` must be at least 1"),
        (lambda: ResidualRadau(spread=0.0), "`spread` must be a positive number"),
        (lambda: ResidualRadau(growth_per_step=np.nan), "`growth_per_step` must be a positive"),
        (lambda: RungeKuttaChebyshev(max_stages=1), "`max_stages` must be at least 2"),
        (lambda: RungeKuttaChebyshev(refinements=0), "`refinements` must be at least 1"),
    ],
)
def test_options_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_lanes_that_end_in_different_ways_do_not_disturb_each_other():
    frames = jnp.ones((4, 1, 1)).at[3].set(jnp.nan)
    logs = jnp.array([-7.0, -700.0, 9.0, -7.0])
    broken = jnp.array([0.5, jnp.inf, jnp.inf, jnp.inf])
    lanes = jax.vmap(solve)(broken, frames, logs)
    X = lanes.graded.matrix[:, 0, 0]
    for index in (1, 2):
        one = solve(broken[index], frames[index], logs[index])
        np.testing.assert_allclose(X[index], one.X[0, 0], rtol=1e-10)
    assert 0 < float(X[0]) <= 0.5
    failed = np.asarray(lanes.result == RESULTS.solver_failed)
    invalid = np.asarray(lanes.result == RESULTS.invalid_input)
    answers = np.asarray(lanes.result == RESULTS.successful)
    assert failed.tolist() == [True, False, False, False]
    assert invalid.tolist() == [False, False, False, True]
    assert answers.tolist() == [False, True, True, False]


@pytest.mark.long
def test_an_iteration_that_is_cut_short_claims_nothing():
    """Newton is given one iteration: whatever comes out is held to what it says of itself."""
    solver = ResidualRadau(max_newton_iterations=1)
    problem = imf.problems.gaussian_sensing(3, 1, 6, key=jax.random.key(0))
    sol = imf.simulate(problem, alpha=1e-3, solver=solver, max_steps=200, throw=False)
    exact = problem.ground_truth
    error = np.linalg.norm(sol.X - exact) / np.linalg.norm(exact)
    assert np.all(np.isfinite(sol.X))
    assert error <= float(sol.error_estimate)
