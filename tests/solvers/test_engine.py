"""The structure-preserving solver, against values that other code computed."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import implicit_flow as imf
from implicit_flow import RESULTS
from implicit_flow._congruence import congruence_term
from implicit_flow.solvers import ResidualRadau, integrate
from implicit_flow.solvers._full_newton import stage_jacobian
from implicit_flow.solvers._stages import defect


STACK = np.array([[[2, 1, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 1], [1, 0, 0], [1, 0, 3]]], float)
TRACE = 1.678507352080517


def three(targets):
    return imf.Problem(imf.measurements.DenseMeasurement(STACK), jnp.asarray(targets, float))


@pytest.fixture(scope="module")
def solve():
    """One compilation for everything of size three."""

    @jax.jit
    def run(stack, targets, log10_alpha):
        problem = imf.Problem(imf.measurements.DenseMeasurement(stack), targets)
        return imf.simulate(problem, log10_alpha=log10_alpha, throw=False)

    return lambda stack, y, la: run(jnp.asarray(stack), jnp.asarray(y, float), jnp.asarray(la))


@pytest.mark.parametrize("log10_alpha", [-32.0, -300.0, -3000.0])
def test_the_limit_of_the_counterexample(solve, log10_alpha):
    sol = solve(STACK, (4.0, 3.0), log10_alpha)
    assert sol.result == RESULTS.successful
    error = abs(float(sol.nuclear_norm) - TRACE) / TRACE
    assert error <= 1e-6
    # |tr X - tr Y| <= sqrt(n) |X - Y|.
    assert error <= np.sqrt(3) * float(sol.error_estimate)


def test_rotated_and_rescaled_problems_have_rotated_and_rescaled_answers(solve):
    sol = solve(STACK, (4.0, 3.0), -12.0)
    Q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turned = solve(Q @ STACK @ Q.T, (4.0, 3.0), -12.0)
    allowed = float(sol.error_estimate + turned.error_estimate) * np.linalg.norm(sol.X)
    assert np.linalg.norm(Q @ sol.X @ Q.T - turned.X) <= allowed
    # Targets and X scale together, alpha with them.
    for scale in (1e-8, 1e8):
        scaled = solve(STACK, (4.0 * scale, 3.0 * scale), -12.0 + np.log10(scale))
        assert scaled.result == RESULTS.successful
        allowed = float(sol.error_estimate + scaled.error_estimate) * np.linalg.norm(sol.X)
        assert np.linalg.norm(scaled.X / scale - sol.X) <= allowed


def test_duplicated_measurements_change_nothing_but_the_clock(solve):
    """A measurement given twice is one of twice the weight: K is singular, the flow is not."""
    double = np.concatenate([STACK, STACK])
    sol = solve(double, (4.0, 3.0, 4.0, 3.0), -12.0)
    assert sol.result == RESULTS.successful
    once = solve(STACK, (4.0, 3.0), -12.0)
    # Both weights doubled: the same path.
    allowed = float(sol.error_estimate + once.error_estimate) * np.linalg.norm(once.X)
    assert np.linalg.norm(sol.X - once.X) <= allowed


def test_targets_that_nothing_fits_end_at_rest(solve):
    sol = solve(STACK, (-4.0, 3.0), -12.0)
    assert sol.result == RESULTS.stationary
    generator = np.tensordot(np.asarray(sol.residual), STACK, 1)
    # KKT: A*(r) X = 0 and A*(r) >= 0.
    size = np.linalg.norm(generator) * np.linalg.norm(sol.X)
    assert np.linalg.norm(generator @ sol.X) <= 1e-6 * size
    assert np.linalg.eigvalsh(generator)[0] >= -1e-6 * np.linalg.norm(generator)


def test_nothing_to_fit_vanishes(solve):
    assert solve(STACK, (0.0, 0.0), -2.0).result == RESULTS.vanished


def test_a_nan_is_a_result_and_not_an_answer(solve):
    sol = solve(STACK, (np.nan, 3.0), -2.0)
    assert sol.result == RESULTS.invalid_input
    assert not np.isfinite(float(sol.error_estimate))


def test_lanes_are_what_a_loop_computes(solve):
    values = jnp.array([-1.0, -6.0, -40.0])
    problem = three((4.0, 3.0))
    run = jax.jit(lambda la: imf.simulate(problem, log10_alpha=la, throw=False))
    lanes = jax.vmap(run)(values)
    for index, value in enumerate(values):
        one = run(value)
        np.testing.assert_allclose(lanes.X[index], one.X, atol=1e-11)
        assert lanes.stats["num_steps"][index] == one.stats["num_steps"]


@pytest.mark.parametrize(("t1", "first"), [(1e2, 7.85455291), (1e3, 17.90018161)])
def test_the_determinant_stays_positive_where_every_norm_diverges(t1, first):
    """The 2x2 completion: X11 grows like (6 t)^(1/3); its values by other integrators."""
    A = imf.measurements.EntryMeasurement([0, 1, 1], [1, 0, 1], 2)
    problem = imf.Problem(A, jnp.array([1.0, 1.0, 0.0]))
    sol = eqx.filter_jit(
        lambda t1: integrate(
            congruence_term(problem),
            ResidualRadau(),
            frame=jnp.eye(2),
            log_alpha=jnp.log(jnp.array(1e-2)),
            t1=t1,
        )
    )(jnp.array(t1))
    assert sol.X[0, 0] == pytest.approx(first, rel=1e-6)
    # log det X_t = log det X_0 - 2 integral of tr A*(r); it is far below the rounding of X.
    exact = 2 * np.log(1e-2) + 2 * float(jnp.trace(A.adjoint(sol.dual)))
    assert float(sol.graded.log_determinant) == pytest.approx(exact, rel=1e-6)
    assert exact < -40


def test_the_jacobian_of_the_stage_equations():
    """Against automatic differentiation, also where directions grow and decay in a step."""
    problem = three((4.0, 3.0))
    term = congruence_term(problem)
    rng = np.random.default_rng(1)
    residuals, factor = jnp.asarray(rng.normal(size=(3, 2))), jnp.asarray(rng.normal(size=(3, 3)))
    for step in (0.1, 3.0):
        h = jnp.asarray(step)
        exact = jax.jacfwd(lambda k, h=h: defect(term, k.reshape(3, 2), h, factor).ravel())
        jacobian = stage_jacobian(term, residuals, h, factor)
        size = np.abs(jacobian).max()
        # The exponentials of the two have radius-dependent truncation of 1e-11 at most.
        np.testing.assert_allclose(jacobian, exact(residuals.ravel()), atol=1e-9 * size)


def test_an_algebraic_approach_is_followed_to_its_end():
    """A completion whose directions decay like powers of t, for eighteen orders of magnitude."""
    problem = imf.problems.matrix_completion(10, 2, 30, key=jax.random.key(1))
    sol = imf.simulate(problem, alpha=1e-3, throw=False)
    assert sol.result == RESULTS.successful
    # Far beyond the time at which the residual alone looks small.
    assert float(sol.time) > 1e12
    assert float(sol.residual_norm) <= 1e-8
    assert np.linalg.eigvalsh(np.asarray(sol.X))[0] >= -1e-14


def test_targets_that_can_be_met_are_not_given_up():
    """Two ways to stop too early: unsolved stage equations, and a direction still to grow."""

    @jax.jit
    def run(seed, log10_alpha):
        problem = imf.problems.gaussian_sensing(4, 1, 8, key=jax.random.key(seed))
        solution = imf.simulate(problem, log10_alpha=log10_alpha, rtol=1e-8, throw=False)
        return solution.X, solution.error_estimate, solution.result, problem.ground_truth

    for seed, log10_alpha in ((21, -8.0), (13, -8.0), (24, -30.0)):
        X, estimate, result, truth = run(seed, log10_alpha)
        # A few units beyond the tolerance may be admitted, but no misfit be blamed on the targets.
        assert result in (RESULTS.successful, RESULTS.tolerance_not_met), seed
        # These planted matrices are the only ones that fit, up to what alpha leaves (1e-11).
        error = np.linalg.norm(X - truth) / np.linalg.norm(truth)
        assert error <= float(estimate) + 1e-11, seed
        assert float(estimate) <= 1e-7, seed


def test_measurements_that_see_nothing_move_nothing():
    problem = imf.Problem(imf.measurements.DenseMeasurement(jnp.zeros((2, 3, 3))), jnp.ones(2))
    sol = imf.simulate(problem, alpha=0.5)
    assert sol.result == RESULTS.stationary
    np.testing.assert_allclose(sol.X, 0.5 * np.eye(3), atol=1e-15)
