"""Every flow on stock Diffrax solvers, against SciPy's DOP853 on equations written out again."""

from functools import partial

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import nnls
from systems import ROWS, SYSTEMS, matrix_problem, vector_problem

import implicit_flow as imf
from implicit_flow import RESULTS, flows
from implicit_flow.flows._stationarity import _diverges


# The first time lies within the first step.
ALPHA, TIMES = 1e-3, np.array([2e-3, 0.4, 1.1, 2.0])


def stock(flow):
    """The flow's own Diffrax solver, also where the default is ours."""
    return diffrax.Dopri8() if isinstance(flow, flows.FactorFlow | flows.MatrixFlow) else None


@pytest.mark.parametrize("name", SYSTEMS)
def test_path_agrees_with_scipy_and_its_error_is_honest(name):
    system = SYSTEMS[name]
    options = {"alpha": ALPHA} if system.flow.needs_alpha else {}
    sol = imf.simulate(
        system.problem,
        system.flow,
        t1=TIMES[-1],
        saveat=TIMES,
        solver=stock(system.flow),
        rtol=1e-6,
        **options,
    )
    reference = solve_ivp(
        system.field,
        (0, TIMES[-1]),
        system.start(ALPHA),
        "DOP853",
        TIMES,
        rtol=1e-12,
        atol=1e-14,
    )
    exact = [system.unknown(y) for y in reference.y.T]
    size = np.linalg.norm(exact[-1])
    error = np.linalg.norm(np.asarray(sol.X) - exact[-1]) / size
    # 1e-11: what DOP853 at rtol 1e-12 leaves of its own.
    assert error <= float(sol.error_estimate) + 1e-11
    assert float(sol.error_estimate) <= 1e-6
    # Between steps the interpolant of a stock solver is of lower order than its steps.
    for X, Y, bound in zip(np.asarray(sol.Xs), exact, sol.error_estimates, strict=True):
        assert np.linalg.norm(X - Y) <= (bound + 1e-11) * np.linalg.norm(Y)
    # Early, where X may be nearly nothing, it is still larger.
    assert np.max(sol.error_estimates[1:]) <= 3e-5
    np.testing.assert_allclose(sol.ts, TIMES)
    assert sol.residuals.shape == (4, 2)
    assert sol.duals.shape == (4, 2)


def test_what_cancels_between_large_terms_is_part_of_the_error():
    # With log u = log(alpha)/2 + w and log v the same with -w, x is 2 alpha sinh(2w) without loss.
    # In float32 u^2 - v^2 has lost three digits, in two integrations alike.
    matrix, targets = np.array([[1.0, 2.0], [0.5, -1.0]]), np.array([1.0, 2.0])
    alpha, t1 = 10**3.5, float(np.float32(9.5e-4))
    measurement = imf.measurements.DiagonalMeasurement(jnp.asarray(matrix, jnp.float32))
    problem = imf.Problem(measurement, jnp.asarray(targets, jnp.float32))
    sol = imf.simulate(
        problem,
        flows.SignedHadamardFlow(),
        log10_alpha=3.5,
        t1=t1,
        saveat=[t1 / 9, t1],
        throw=False,
    )
    x_of = lambda w: 2 * alpha * np.sinh(2 * w)
    field = lambda t, w: matrix.T @ (targets - matrix @ x_of(w))
    paths = solve_ivp(field, (0, t1), np.zeros(2), "DOP853", sol.ts, rtol=1e-12, atol=1e-18).y.T
    errors = [
        float(np.linalg.norm(np.diagonal(X) - x_of(w)) / np.linalg.norm(x_of(w)))
        for X, w in zip(np.asarray(sol.Xs, float), paths, strict=True)
    ]
    assert all(errors <= np.asarray(sol.error_estimates))
    assert 1e-4 < errors[-1] <= float(sol.error_estimate) < 0.1


@pytest.mark.parametrize("depth", [2, pytest.param(3, marks=pytest.mark.long)])
def test_a_deep_product_comes_to_rest_where_its_end_is_known(depth):
    # As many measurements as X has entries: the planted matrix of rank 2 is the only end. It is
    # approached like a power of t, by an X that small eigenvalues make wait at first, and that
    # would lose its symmetry were all factors integrated.
    problem = imf.problems.gaussian_sensing(4, 2, 10, key=jax.random.key(1))
    sol = imf.simulate(problem, flows.DeepFlow(depth), alpha=1e-2)
    assert sol.solver == "Kvaerno5"
    error = np.linalg.norm(sol.X - problem.ground_truth) / np.linalg.norm(problem.ground_truth)
    assert error <= sol.error_estimate <= 1e-6
    np.testing.assert_allclose(sol.X, sol.X.T, atol=1e-13)


@jax.jit
def rest_of_cubes(matrix, targets, log10_alpha):
    problem = imf.Problem(imf.measurements.DiagonalMeasurement(matrix), targets)
    flow = flows.HadamardFlow(3)
    return imf.simulate(problem, flow, log10_alpha=log10_alpha, throw=False)


@pytest.mark.parametrize("seed", [0, 2, 4])
@pytest.mark.parametrize("log10_alpha", [0.0, -2.0, -8.0])
def test_rest_is_told_from_waiting(seed, log10_alpha):
    # Entries that vanish in the limit fall like a power of t, after a time like 1 / |r| in which
    # they hardly move; to stop there, or to call the targets out of reach, would be wrong.
    problem = imf.problems.nonnegative_least_squares(5, 5, key=jax.random.key(seed))
    sol = rest_of_cubes(problem.measurement.matrix, problem.targets, log10_alpha)
    exact = imf.closed_forms.hadamard(problem, depth=3, log10_alpha=log10_alpha)
    assert sol.result == imf.RESULTS.successful
    error = np.linalg.norm(sol.X - exact) / np.linalg.norm(exact)
    # 1e-11: of the closed form.
    assert error <= float(sol.error_estimate) + 1e-11
    assert float(sol.error_estimate) <= 1e-6


def test_rest_is_found_where_the_generator_vanishes_and_targets_are_missed():
    # At the nonnegative least squares point A'r = 0 in all entries, the first two among them, which
    # fall like a power of t for ever.
    matrix, targets = np.eye(5), np.array([1.0, 1.0, 3.0, 1.0, 1.0])
    matrix[:3, :3] = [[1, 1, 0], [1, 2, 1], [0, 1, 1]]
    end = nnls(matrix, targets)[0]
    np.testing.assert_allclose(end, [0, 0, 2, 1, 1], atol=1e-12)
    sol = rest_of_cubes(jnp.asarray(matrix), jnp.asarray(targets), -4.0)
    assert sol.result == imf.RESULTS.stationary
    error = np.linalg.norm(sol.x - end) / np.linalg.norm(end)
    assert error <= float(sol.error_estimate) <= 1e-6


def test_the_dual_is_minus_the_integral_of_the_residual():
    # log det X = log det X0 + 2 tr A*(s): an identity of the flow, and no line of the integrator.
    problem = matrix_problem()
    sol = imf.simulate(problem, alpha=0.1, t1=3.0, solver=diffrax.Dopri8())
    trace = jnp.trace(problem.measurement.adjoint(sol.dual))
    expected = 3 * jnp.log(0.1) + 2 * trace
    np.testing.assert_allclose(jnp.linalg.slogdet(sol.X)[1], expected, rtol=1e-7)


@jax.jit
def rest_of_vectors(targets, alpha):
    problem = imf.Problem(vector_problem().measurement, targets)
    return imf.simulate(
        problem, flows.HadamardFlow(), alpha=alpha, saveat=jnp.array([0.0, 1e12]), throw=False
    )


@jax.jit
def rest_of_matrices(alpha):
    return imf.simulate(matrix_problem(), alpha=alpha, solver=diffrax.Dopri8(), throw=False)


def test_rest_is_found_and_named():
    sol = rest_of_matrices(0.1)
    assert sol.result == RESULTS.successful
    assert sol.residual_norm < 1e-7
    assert sol.error_estimate < 1e-6


def test_a_saddle_is_not_taken_for_the_end():
    # At tiny alpha dU/dt is tiny at the start: rest must be judged relative to X.
    sol = rest_of_matrices(1e-12)
    assert sol.residual_norm < 1e-7
    assert sol.nuclear_norm > 1.6


def test_targets_out_of_reach_end_at_rest():
    # Nonnegative least squares by a code of its own says how far one can get.
    targets = np.array([-0.5, 2.0])
    best, _ = nnls(ROWS, targets)
    sol = rest_of_vectors(targets, 1e-3)
    assert sol.result == RESULTS.stationary
    np.testing.assert_allclose(sol.x, best, atol=1e-6)
    assert sol.residual_norm > 0.1


def test_x_to_zero_is_named():
    # The generator at zero is -B'y = (2, 1, 1/2) > 0: every entry decays.
    sol = rest_of_vectors(np.array([-1.0, 0.0]), 0.5)
    assert sol.result == RESULTS.vanished
    assert jnp.max(sol.x) < 1e-5


@pytest.mark.parametrize("init", [None, pytest.param(np.eye(2), marks=pytest.mark.long)])
def test_a_deep_product_of_infeasible_targets_stays_in_the_cone(init):
    # The generator at zero, diag(2, 4), lets both eigenvalues fall like t^-3 for ever; beyond zero,
    # where no flow goes but rounding does, one of them would grow again, to X = diag(0, -1/4).
    stack = np.array([[[-2.0, -1.0], [-1.0, 0.0]], [[2.0, 0.0], [0.0, 4.0]]])
    problem = imf.Problem(imf.measurements.DenseMeasurement(stack), [0.0, -1.0])
    sol = imf.simulate(problem, flows.DeepFlow(3), alpha=0.1, init=init)
    assert sol.result == imf.RESULTS.vanished
    assert jnp.max(jnp.abs(sol.X)) < 1e-6


def test_an_x_outside_of_the_cone_is_no_answer():
    stack = np.array([[[-2.0, -1.0], [-1.0, 0.0]], [[2.0, 0.0], [0.0, 4.0]]])
    problem = imf.Problem(imf.measurements.DenseMeasurement(stack), [0.0, -1.0])
    late = imf.simulate(
        problem, flows.DeepFlow(3), alpha=0.1, t1=1e7, solver=diffrax.Kvaerno5(), throw=False
    )
    # The path has long been at 0 there, and both runs are at diag(0, -1/4).
    np.testing.assert_allclose(late.X, np.diag([0, -0.25]), atol=1e-6)
    assert 1 <= late.error_estimate < np.inf


def test_after_rest_the_end_is_saved():
    sol = rest_of_vectors(vector_problem().targets, 0.1)
    np.testing.assert_allclose(sol.Xs[0], 0.1 * np.eye(3), rtol=1e-12)
    np.testing.assert_allclose(sol.Xs[1], sol.X, rtol=1e-12)


@pytest.mark.parametrize(
    ("rows", "targets", "message"),
    [
        (1.0, 1e-200, "`problem` must have targets between 5e-124 and 2e"),
        (1e150, 1.0, "`problem` must have measurements between"),
        (1e-100, 1e100, "`problem` must have a quotient of targets and measurements between"),
        (1e100, 1e100, "`problem` must have a product of targets and measurements below 1e"),
    ],
)
def test_data_whose_squares_are_no_floats_are_refused(rows, targets, message):
    problem = vector_problem()
    measurement = imf.measurements.DiagonalMeasurement(rows * problem.measurement.matrix)
    with pytest.raises(ValueError, match=message):
        imf.simulate(imf.Problem(measurement, targets * problem.targets), alpha=0.1)
    if rows == 1:
        # Under `jit` they are known too late, and the result says so.
        sol = rest_of_vectors(targets * problem.targets, 0.1)
        assert sol.result == RESULTS.invalid_input
        assert np.isinf(sol.error_estimate)


def test_the_size_of_a_commuting_family_is_that_of_its_spectra():
    measurement = imf.measurements.CommutingMeasurement(np.eye(2), np.array([[1e-200, 2e-200]]))
    with pytest.raises(ValueError, match="measurements between"):
        imf.simulate(imf.Problem(measurement, [1.0]), alpha=0.1)
    # Vectors count twice.
    measurement = imf.measurements.RankOneMeasurement(np.array([[1e100, 1.0]]))
    with pytest.raises(ValueError, match="measurements between"):
        imf.simulate(imf.Problem(measurement, [1.0]), alpha=0.1)


@pytest.mark.long
def test_stages_are_solved_no_further_than_rounding_allows():
    # u^3 - v^3 of 1e5 each: what is left of the digits of x is no reason to reject a step.
    problem = vector_problem()
    sol = imf.simulate(problem, flows.SignedHadamardFlow(3), alpha=1e5, t1=1e-4, throw=False)
    assert sol.stats["num_steps"] < 500
    assert np.isfinite(sol.error_estimate)


def test_lanes_carry_their_results():
    alphas = jnp.array([0.1, -1.0, jnp.nan, 1e-3])
    lanes = jax.vmap(rest_of_matrices)(alphas)
    assert list(np.asarray(lanes.result == RESULTS.invalid_input)) == [False, True, True, False]
    assert np.all(np.isnan(lanes.X[1])) and np.all(np.isfinite(lanes.X[3]))
    # vmap = loop, to the error that both report: where stability limits the steps, rounding has a
    # say in which are accepted, and so in where exactly rest is found.
    alone = rest_of_matrices(1e-3)
    apart = jnp.linalg.norm(lanes.X[3] - alone.X) / jnp.linalg.norm(alone.X)
    assert apart <= jnp.minimum(lanes.error_estimate[3], alone.error_estimate)
    assert alone.error_estimate <= 1e-6


def test_lanes_to_a_time_are_a_loop_to_rounding():
    until = jax.jit(
        lambda alpha: (
            imf.simulate(
                matrix_problem(), alpha=alpha, t1=2.0, solver=diffrax.Dopri8(), throw=False
            ).X
        )
    )
    lanes = jax.vmap(until)(jnp.array([0.1, 1e-3]))
    np.testing.assert_allclose(lanes[1], until(1e-3), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("rtol", [1e-1, 1e-3, 1e-6])
def test_the_trembling_of_an_explicit_method_does_not_hide_rest(rtol):
    # Where stability limits the steps, X trembles by the step tolerance, and t |dX/dt| with it:
    # coarse steps came to no rest at all, neither those of the answer nor of its companion.
    exact = rest_of_matrices(0.1)
    sol = imf.simulate(
        matrix_problem(), alpha=0.1, solver=diffrax.Tsit5(), rtol=rtol, max_steps=1000
    )
    assert sol.result == RESULTS.successful
    assert sol.stats["num_companion_steps"] <= 4 * sol.stats["num_steps"] < 4000
    error = jnp.linalg.norm(sol.X - exact.X) / jnp.linalg.norm(exact.X)
    assert error <= float(sol.error_estimate) + float(exact.error_estimate)
    assert sol.error_estimate <= rtol


def test_too_few_steps_are_not_taken_for_a_norm_without_bound():
    # At rest at t = 3e6, which takes an explicit method 3e7 steps: all that it may say is that
    # these are too few. The speed at which it trembles, times t, is 10% of X.
    problem = imf.problems.gaussian_sensing(4, 1, 8, key=jax.random.key(0))
    sol = imf.simulate(
        problem, alpha=0.1, solver=diffrax.Tsit5(), rtol=1e-2, max_steps=4000, throw=False
    )
    assert sol.result == RESULTS.max_steps_reached
    assert sol.error_estimate > 1e-2


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (lambda t: (6 * t) ** (1 / 3), True),
        (lambda t: 1e-9 * t**0.1, True),
        (lambda t: 0.01 + t, False),
        (lambda t: 1 - 0.9 * (1 + t) ** -0.25, False),
        (lambda t: 1 - np.exp(-t / 300), False),
        (lambda t: np.where(t < 700, 1.0, 2.0), False),
        (lambda t: np.minimum(1e-3 * np.exp(t / 100), 1), False),
    ],
    ids=[
        "t^(1/3)",
        "t^(1/10)",
        "a start from zero",
        "slow limit",
        "fast limit",
        "a late jump",
        "a late start",
    ],
)
@pytest.mark.parametrize("end", [50, 1000])
def test_growth_without_bound_is_told_from_a_slow_limit(size, expected, end):
    t = 2.0 ** np.arange(-4, 60)
    sizes = jnp.asarray(np.where(t <= end, size(np.minimum(t, end)), np.inf))
    assert _diverges(sizes, jnp.asarray(t <= end)) == expected
    assert not _diverges(sizes, jnp.asarray(t < end / 8))


def test_a_norm_without_bound_is_named():
    # X12 = 1 and X22 = 0: the determinant stays positive, and X11 grows like (6t)^(1/3).
    A = imf.measurements.EntryMeasurement([0, 1, 1], [1, 0, 1], 2)
    problem = imf.Problem(A, np.array([1.0, 1.0, 0.0]))
    sol = imf.simulate(
        problem, alpha=1e-2, solver=diffrax.Tsit5(), rtol=1e-3, max_steps=5000, throw=False
    )
    assert sol.result == RESULTS.norm_diverges


def test_max_steps_is_a_result_and_an_exception_at_the_door():
    problem = matrix_problem()
    sol = imf.simulate(problem, alpha=1e-3, solver=diffrax.Tsit5(), max_steps=5, throw=False)
    assert sol.result == RESULTS.max_steps_reached
    with pytest.raises(Exception, match="max_steps"):
        imf.simulate(problem, alpha=1e-3, solver=diffrax.Tsit5(), max_steps=5)


@pytest.mark.parametrize(
    ("solver", "lacks"),
    [
        (diffrax.Euler(), "does not estimate the error of its steps"),
        (diffrax.KenCarp4(), "takes several terms or noise"),
        (diffrax.SemiImplicitEuler(), "takes several terms or noise"),
    ],
)
def test_solvers_that_cannot_are_refused(solver, lacks):
    with pytest.raises(ValueError, match=f"`solver` must be an adaptive solver .* {lacks}"):
        imf.simulate(vector_problem(), flows.HadamardFlow(), alpha=1e-3, solver=solver)


@pytest.mark.long
def test_a_solver_within_another_has_its_options():
    # Its root finder gets tolerances, and its loops over stages the kind that forward mode needs.
    problem = vector_problem()

    def x_of(log10_alpha):
        x = imf.simulate(
            problem,
            flows.HadamardFlow(),
            log10_alpha=log10_alpha,
            solver=diffrax.HalfSolver(diffrax.Kvaerno3()),
            adjoint=diffrax.ForwardMode(),
        ).x
        return x, x

    derivative, x = jax.jit(jax.jacfwd(x_of, has_aux=True))(jnp.array(-2.0))
    exact = lambda at: jnp.diagonal(imf.closed_forms.hadamard(problem, log10_alpha=at))
    np.testing.assert_allclose(x, exact(-2.0), rtol=1e-6)
    np.testing.assert_allclose(
        derivative, (exact(-1.999) - exact(-2.001)) / 2e-3, rtol=1e-4, atol=1e-6
    )


def test_the_step_of_a_solver_is_traced_once():
    traced = []

    class Watched(diffrax.Bosh3):
        def step(self, *args):
            traced.append(1)
            return super().step(*args)

    imf.simulate(vector_problem(), flows.HadamardFlow(), alpha=1e-2, solver=Watched())
    assert len(traced) == 1


@pytest.mark.long
def test_rounding_that_acts_like_a_larger_alpha_is_not_silent():
    # A completion whose limit is reached only at extreme alpha: explicit steps lose the small
    # directions, and the estimate has to show it.
    A = imf.measurements.EntryMeasurement([0, 0, 1], [2, 3, 2], 4)
    problem = imf.Problem(A, np.array([1.0, 2.0, 2.0]))
    exact = imf.simulate(problem, log10_alpha=-60)
    stock = imf.simulate(
        problem, log10_alpha=-60, solver=diffrax.Dopri8(), throw=False, max_steps=20_000
    )
    error = jnp.linalg.norm(stock.X - exact.X) / jnp.linalg.norm(exact.X)
    assert error <= stock.error_estimate + exact.error_estimate


@pytest.mark.parametrize("solver", [None, diffrax.Tsit5()], ids=["default", "Tsit5"])
def test_the_error_of_a_few_steps_is_not_understated(solver):
    """x' = 2 x (1 - x): both runs took the same steps, and their distance was that of rounding."""
    one = imf.Problem(imf.measurements.DiagonalMeasurement(jnp.ones((1, 1))), [1.0])
    flow = imf.flows.HadamardFlow()

    @partial(jax.jit, static_argnames="rtol")
    def follow(alpha, t1, rtol):
        sol = imf.simulate(one, flow, alpha=alpha, t1=t1, rtol=rtol, solver=solver, throw=False)
        return sol.x[0], sol.error_estimate

    for rtol in (1e-1, 1e-4):
        for alpha in (1e-3, 0.1, 5.0, 100.0):
            for t1 in (1e-3, 0.1, 0.5, 2.0, 10.0):
                x, estimate = follow(alpha, t1, rtol)
                exact = 1 / (1 + (1 / alpha - 1) * np.exp(-2 * t1))
                assert abs(x / exact - 1) <= estimate + 1e-11


@pytest.mark.long
def test_slow_directions_in_float32_are_not_taken_for_rest():
    """Slower than rounding of the fastest: what is left of them was understated 2.6 times."""
    n, m = 4, 7
    rng = np.random.default_rng(36)
    G = rng.normal(size=(m, n, n)).astype(np.float32)
    A, u = (G + np.swapaxes(G, 1, 2)) / 2, rng.normal(size=n).astype(np.float32) / 2
    y = np.einsum("kij,i,j->k", A, u, u)

    def end(dtype, flow, rtol):
        measurement = imf.measurements.DenseMeasurement(jnp.asarray(A, dtype))
        problem = imf.Problem(measurement, jnp.asarray(y, dtype))
        return imf.simulate(problem, flow, alpha=0.1, rtol=rtol, throw=False)

    exact = end(jnp.float64, None, 1e-6)
    sol = end(jnp.float32, flows.DeepFlow(2), 1e-3)
    error = np.linalg.norm(np.asarray(sol.X, float) - exact.X) / np.linalg.norm(exact.X)
    assert error <= float(sol.error_estimate) + float(exact.error_estimate)
