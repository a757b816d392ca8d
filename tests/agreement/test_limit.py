"""The limit, its error estimate and its verdict, against closed forms and the convex program."""

import math

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import implicit_flow as imf
from implicit_flow import closed_forms, flows
from implicit_flow._limit import limit_error


STACK = np.array(
    [[[2, 1, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 1], [1, 0, 0], [1, 0, 3]]], dtype=float
)


def three(targets):
    return imf.Problem(imf.measurements.DenseMeasurement(STACK), np.array(targets))


@pytest.fixture(scope="module")
def counterexample():
    return imf.limit(three([4.0, 3.0]))


def test_the_conjecture_fails_on_three_by_three(counterexample):
    # The limit of the flow and the minimum, both computed to 1e-15 before this library was.
    assert counterexample.verdict == "not minimal"
    trace = float(jnp.trace(counterexample.X))
    error = abs(trace - 1.678507352080517) / trace
    assert error <= float(counterexample.error_estimate) * math.sqrt(3)
    certificate = counterexample.certificate
    np.testing.assert_allclose(certificate.upper_bound, 1.674316024366309, rtol=1e-7)
    assert 0.0024 <= float(certificate.excess_at_least) / 1.674316024366309 <= 0.0026
    assert float(certificate.dual_bound) <= 1.674316024366309 + 1e-12


def test_targets_that_nothing_fits():
    lim = imf.limit(three([-4.0, 3.0]))
    assert lim.verdict == "infeasible targets"
    assert all(bool(sol.result == imf.RESULTS.stationary) for sol in lim.solutions)


def test_commuting_limits_are_minimal_and_their_errors_honest():
    problem = imf.problems.commuting_sensing(6, 3, key=jax.random.key(5))
    exact = closed_forms.commuting_limit(problem)
    # -4, -8, -12: alphas at which the limit is still in sight.
    for ladder in ((-4.0, -8.0, -12.0), None):
        lim = imf.limit(problem, log10_alphas=ladder)
        error = float(jnp.linalg.norm(lim.X - exact) / jnp.linalg.norm(exact))
        assert error <= float(lim.error_estimate) + 1e-8  # the convex solver's own error
    assert lim.verdict == "minimal"
    assert error <= 1e-6


def test_a_divergent_norm_is_undecided():
    A = imf.measurements.EntryMeasurement([0, 1, 1], [1, 0, 1], 2)
    lim = imf.limit(imf.Problem(A, np.array([1.0, 1.0, 0.0])))
    assert lim.verdict == "undecided"
    assert "without bound" in lim.explanation


def test_a_last_rung_without_an_end_is_undecided(monkeypatch):
    def simulate(*given, log10_alpha, **options):
        sol = imf.simulate(*given, log10_alpha=log10_alpha, **options)
        failed = (sol.X * jnp.nan, imf.RESULTS.solver_failed)
        return sol if log10_alpha > -50 else eqx.tree_at(lambda s: (s.X, s.result), sol, failed)

    monkeypatch.setattr("implicit_flow._limit.simulate", simulate)
    lim = imf.limit(three([4.0, 3.0]), throw=False)
    assert lim.verdict == "undecided"
    assert "the last rung of the ladder failed" in lim.explanation
    assert np.isinf(lim.error_estimate)
    assert lim.certificate.primal_value > 1.6
    with pytest.raises(ValueError, match="ended nowhere"):
        imf.limit(three([4.0, 3.0]), log10_alphas=[-60.0], throw=False)


def test_the_vector_limit_is_the_least_l1_norm():
    problem = imf.problems.nonnegative_least_squares(5, 2, key=jax.random.key(1))
    lim = imf.limit(problem, flows.HadamardFlow())
    least = imf.convex.min_l1(problem, nonnegative=True)
    np.testing.assert_allclose(jnp.trace(lim.X), least.value, rtol=1e-6)


@pytest.mark.parametrize(
    "exponents", [(0.5,), (0.03,), (0.02, 0.01), (0.3, 0.004), (1.0, 0.1, 0.02)]
)
@pytest.mark.parametrize("ladder", [(-10.0, -30.0, -100.0, -300.0), (-4.0, -8.0, -16.0)])
def test_the_extrapolation_never_understates(exponents, ladder):
    # Sums of powers of alpha with equal weights: what theory says X(alpha) - X0 is made of.
    directions = np.random.default_rng(0).normal(size=(len(exponents), 3, 3))

    def X(value):
        terms = [10.0 ** (g * value) * D for g, D in zip(exponents, directions, strict=True)]
        return jnp.asarray(np.eye(3) + sum(terms))

    Xs = [X(value) for value in ladder]
    error = float(jnp.linalg.norm(Xs[-1] - jnp.eye(3)) / jnp.linalg.norm(Xs[-1]))
    assert error <= limit_error(ladder, Xs, [1e-12] * len(ladder))


def test_alphas_that_are_not_small_follow_no_law():
    # Phase retrieval (n = 3, m = 4, key 3) at 1e-1, 1e-3 and 1e-6: how far from the limit. The ends
    # at -9 and -12 show the law, which the first three do not.
    far = {-1.0: 7.58e-2, -3.0: 1.59e-3, -6.0: 3.86e-4, -9.0: 1.75e-5, -12.0: 5.3e-7}
    rungs = list(far)
    Xs = [jnp.eye(1) * (1 + far[rung]) for rung in rungs]
    for count in (3, 4, 5):
        estimate = limit_error(rungs[:count], Xs[:count], [1e-9] * count)
        assert estimate >= far[rungs[count - 1]]
    # One that has been tried is believed: the estimate falls below the last distance.
    rungs = [-2.0, -4.0, -6.0, -8.0]
    Xs = [jnp.eye(1) * (1 + 10**rung) for rung in rungs]
    assert 1e-8 < limit_error(rungs, Xs, [1e-9] * 4) < 3e-7
    assert limit_error(rungs[1:], Xs[1:], [1e-9] * 3) > 9e-7


def test_a_slow_term_beside_a_fast_one_is_seen():
    # One diagonal measurement a: x_i = alpha x~_i exp(2 s a_i) with a'x = 1, and the limit is e_1.
    # The second entry goes like alpha^0.04, from a start of one; the third like alpha^0.001, from
    # 1e-3: on the last rung it is all that is left.
    a, start = np.array([1.0, 0.96, 0.999]), np.array([1.0, 1.0, 1e-3])

    def end(rung):
        x = lambda s: np.exp(rung * math.log(10) + np.log(start) + 2 * s * a)
        s = brentq(lambda s: math.log(a @ x(s)), 0, -1.3 * rung + 10, xtol=1e-14, rtol=1e-15)
        return jnp.diag(x(s))

    rungs = [-10.0, -30.0, -100.0, -300.0]
    Xs = [end(rung) for rung in rungs]
    error = np.linalg.norm(Xs[-1] - np.diag([1.0, 0, 0])) / np.linalg.norm(Xs[-1])
    assert error > 5e-4
    assert limit_error(rungs, Xs, [1e-7] * 4) >= error


def test_rungs_more_decades_apart_than_floats_have():
    Xs = [jnp.eye(1) * (1 + far) for far in (1e-1, 1e-6, 1e-7)]
    assert limit_error([-1.0, -320.0, -330.0], Xs, [1e-9] * 3) >= 1e-7


def test_no_estimate_without_three_rungs_or_without_convergence():
    I = jnp.eye(2)
    assert limit_error([-2.0, -4.0], [I, I], [0.0, 0.0]) == math.inf
    # Equal distances on an arithmetic ladder: like log(alpha), no power.
    assert limit_error([-2.0, -4.0, -6.0], [I, 2 * I, 3 * I], [0.0] * 3) == math.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"flow": flows.SteeredFlow(lambda t: jnp.zeros(2))}, "SteeredFlow"),
        ({"log10_alphas": [-4.0, -2.0]}, "`log10_alphas` must decrease strictly"),
        ({"log10_alphas": []}, r"`log10_alphas` must have shape \(k,\)"),
        ({"log10_alphas": [-2.0, math.nan]}, "`log10_alphas` must be finite"),
        ({"flow": flows.EuclideanFlow(), "log10_alphas": [-2.0]}, "starts at 0"),
        ({"flow": flows.HadamardFlow()}, "DiagonalMeasurement"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        imf.limit(three([4.0, 3.0]), **arguments)


def test_a_rung_that_a_solver_cannot_hold_is_refused_before_the_first():
    stack = jnp.asarray(STACK, jnp.float32)
    problem = imf.Problem(imf.measurements.DenseMeasurement(stack), jnp.array([4, 3], jnp.float32))
    found = []
    with pytest.raises(ValueError, match="representable in float32 with Dopri8, but is -100"):
        imf.limit(problem, solver=diffrax.Dopri8(), progress=found.append)
    assert found == []


def test_losses_without_a_minimum_are_refused():
    problem = imf.Problem(
        imf.measurements.DenseMeasurement(STACK), np.array([1.0, -1.0]), imf.losses.Logistic()
    )
    with pytest.raises(ValueError, match="loss with a finite minimizer"):
        imf.limit(problem)
    with pytest.raises(ValueError, match="`t1` must be given with Logistic"):
        imf.simulate(problem, alpha=0.1)
