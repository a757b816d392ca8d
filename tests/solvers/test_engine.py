"""The structure-preserving solver, against values that other code computed."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from reference import scipy_end

import implicit_flow as imf
from implicit_flow import RESULTS
from implicit_flow._congruence_term import congruence_term
from implicit_flow.linalg import GradedFactor
from implicit_flow.solvers import ResidualRadau, _full_newton, integrate
from implicit_flow.solvers._controller import growth_cap
from implicit_flow.solvers._full_newton import commuting_jacobian, stage_jacobian
from implicit_flow.solvers._newton_matrix import NewtonMatrix
from implicit_flow.solvers._spectrum import spectrum
from implicit_flow.solvers._stages import defect, solve_stages, stage_factors


STACK = np.array([[[2, 1, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 1], [1, 0, 0], [1, 0, 3]]], float)
TRACE = 1.678507352080517


def three(targets):
    return imf.Problem(imf.measurements.DenseMeasurement(STACK), jnp.asarray(targets, float))


@pytest.fixture(scope="module")
def run():
    """One compilation for everything of size three, here and in other files."""

    def simulate(stack, targets, log10_alpha):
        problem = imf.Problem(imf.measurements.DenseMeasurement(stack), targets)
        return imf.simulate(problem, log10_alpha=log10_alpha, throw=False)

    return simulate


@pytest.fixture(scope="module")
def solve(run):
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


def test_lanes_are_what_a_loop_computes_and_a_nan_is_a_result(run, solve):
    values = jnp.array([-1.0, -6.0, -40.0, -2.0])
    targets = jnp.array([[4.0, 3.0]] * 3 + [[jnp.nan, 3.0]])
    lanes = jax.vmap(run, (None, 0, 0))(jnp.asarray(STACK), targets, values)
    assert (lanes.result == RESULTS.invalid_input).tolist() == [False, False, False, True]
    assert not np.isfinite(float(lanes.error_estimate[3]))
    for index, value in enumerate(values[:3]):
        one = solve(STACK, (4.0, 3.0), value)
        np.testing.assert_allclose(lanes.X[index], one.X, atol=1e-11)
        assert lanes.stats["num_steps"][index] == one.stats["num_steps"]


def distance(X, Y):
    return np.linalg.norm(np.asarray(X) - Y) / np.linalg.norm(Y)


# Found by random search. The first two: runs at two tolerances agree to a third of their error,
# by chance. The third starts a thousand times above its targets, and the first step decides.
BY_CHANCE = [
    (
        [[[1, 0, 0], [0, 2, 1], [0, 1, 1]], [[1, -1, 1], [-1, 0, 0], [1, 0, -1]]],
        (544.162632, 537.824532),
        -5.911340111215125,
    ),
    (
        [
            [[0.30283156, -0.85000394, -0.33535143], [-0.85000394, -0.15379843, 0.3830352]]
            + [[-0.33535143, 0.3830352, 0.44552123]],
            [[-3.02392701, 5.18617108, -1.30709014], [5.18617108, 9.39106888, -1.0731657]]
            + [[-1.30709014, -1.0731657, 1.14673063]],
        ],
        (0.0457348749669994, -0.0012365891828343),
        -6.082264050086319,
    ),
    (
        [[[2, 0, 0], [0, 2, 0], [0, 0, 0]], [[1, 0, -1], [0, -1, 0], [-1, 0, 1]]],
        (6.27796e-6, 1.27301e-6),
        -2.625052563435675,
    ),
]


@pytest.mark.parametrize(("stack", "targets", "log10_alpha"), BY_CHANCE)
def test_the_estimate_is_honest_where_runs_agree_by_chance(solve, stack, targets, log10_alpha):
    stack, targets = np.array(stack, float), np.array(targets)
    sol = solve(stack, targets, log10_alpha)
    rate = np.linalg.norm(targets) * np.linalg.norm(stack)
    exact = scipy_end(stack, targets, log10_alpha, end=1e6 / rate)
    # 1e-9: the reference's own error.
    assert distance(sol.X, exact) <= float(sol.error_estimate) + 1e-9
    assert float(sol.error_estimate) <= 1e-6


@pytest.mark.parametrize("small", [7e-3, 1e-4, 1e-6])
def test_a_direction_that_grows_slowly_is_waited_for(solve, small):
    """Two entries of a diagonal: each follows a logistic equation of its own."""
    stack = np.zeros((2, 3, 3))
    stack[0, 1, 1] = stack[1, 2, 2] = 1.0
    sol = solve(stack, (6.0, small), -8.8)
    assert sol.result == RESULTS.successful
    wanted = np.diag([10**-8.8, 6.0, small])
    assert distance(sol.X, wanted) <= float(sol.error_estimate)
    np.testing.assert_allclose(sol.X, wanted, atol=6e-6 * 1e-2)


@pytest.mark.parametrize("gap", [1e-2, 1e-5, 1e-9])
def test_nearly_equal_top_eigenvalues(solve, gap):
    matrix = np.diag([1.0, 1.0 - gap, 0.3])
    for log10_alpha in (-12.0, -100.0):
        # Given twice, which is a change of the clock only.
        sol = solve(np.stack([matrix, matrix]), (1.0, 1.0), log10_alpha)
        once = imf.Problem(imf.measurements.DenseMeasurement(matrix[None]), np.ones(1))
        exact = imf.closed_forms.single_measurement(once, log10_alpha=log10_alpha)
        assert sol.result == RESULTS.successful
        # 1e-12: rounding of the closed form.
        assert distance(sol.X, exact) <= float(sol.error_estimate) + 1e-12


def _stored_dense(spectra, Q):
    stack = np.einsum("ik,mk,jk->mij", Q, spectra, Q)
    return (stack + stack.transpose(0, 2, 1)) / 2


@pytest.mark.parametrize("seed", range(8))
def test_commuting_matrices_stored_dense_are_reported_as_ill_conditioned(solve, seed):
    """At tiny alpha their rounding decides which way X turns: half of the time, by one sign."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    spectra = np.array([[1.0, 0.8, -0.3], [-0.4, 1.0, 0.6]])
    x = np.array([0.5, 1.0, 0.0])
    dense = solve(_stored_dense(spectra, Q), spectra @ x, -100.0)
    structured = imf.measurements.CommutingMeasurement(Q, spectra)
    problem = imf.Problem(structured, spectra @ x)
    exact = imf.closed_forms.commuting(problem, log10_alpha=-100.0)
    assert distance(dense.X, exact) <= float(dense.error_estimate)
    assert dense.result == RESULTS.ill_conditioned


def _drawn_commuting(seed):
    """A problem of commuting matrices, and the matrices entry by entry."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    spectra = rng.normal(size=(2, 3))
    x = np.array([*rng.uniform(0.5, 1.5, 3)[:2], 0.0])
    problem = imf.Problem(imf.measurements.CommutingMeasurement(Q, spectra), spectra @ x)
    return problem, _stored_dense(spectra, Q)


@pytest.mark.parametrize("log10_alpha", [-60.0, -300.0])
def test_rounding_that_turns_x_whatever_its_sign_is_noticed(solve, log10_alpha):
    """Two changes of the data end in one X, far from that of matrices that do commute."""
    problem, dense = _drawn_commuting(7)
    sol = solve(dense, problem.targets, log10_alpha)
    exact = imf.closed_forms.commuting(problem, log10_alpha=log10_alpha)
    assert 0.5 < distance(sol.X, exact) <= float(sol.error_estimate)
    assert sol.result == RESULTS.ill_conditioned


@pytest.mark.parametrize(
    ("seed", "log10_alpha", "result"),
    [
        # The run without rounding is made in their eigenvectors, and turned back.
        (7, -4.0, RESULTS.successful),
        # Runs differ by the sign of rounding, and the last one happens to be like none of it.
        (33, -20.0, RESULTS.ill_conditioned),
    ],
)
def test_commuting_matrices_stored_dense_say_whether_rounding_matters(
    solve, seed, log10_alpha, result
):
    problem, dense = _drawn_commuting(seed)
    sol = solve(dense, problem.targets, log10_alpha)
    assert sol.result == result
    exact = imf.closed_forms.commuting(problem, log10_alpha=log10_alpha)
    assert distance(sol.X, exact) <= float(sol.error_estimate)


def test_waiting_at_saddles_costs_few_steps():
    """Between them nothing moves, and a tiny alpha only makes it last."""
    problem = imf.problems.commuting_sensing(8, 3, key=jax.random.key(3))
    near, far = (imf.simulate(problem, log10_alpha=la, throw=False) for la in (-3.0, -300.0))
    assert near.result == far.result == RESULTS.successful
    assert far.stats["num_total_steps"] <= 3 * near.stats["num_total_steps"]
    exact = imf.closed_forms.commuting(problem, log10_alpha=-300.0)
    assert distance(far.X, exact) <= float(far.error_estimate)


def test_a_slower_direction_that_is_nearer_to_its_targets_is_not_overshot():
    """It may grow by little, and the fast one, far from its own targets, by no more either."""
    problem = imf.Problem(imf.measurements.DiagonalMeasurement(jnp.eye(3)), jnp.array([2.0, 1, 1]))
    term = congruence_term(problem, jnp.eye(3))
    logs = jnp.array([-300.0, -20.0, -100.0])
    graded = GradedFactor(jnp.eye(3), logs, jnp.eye(3))
    force = term.residual(term.predict(graded.factor))
    rates = spectrum(term, force, graded)
    # A*(r) = -diag(2, 1, 1), and x comes to rest at its targets: exponents of 300.35, 20 and 100.
    assert 20 <= float(rates.spare) <= 40
    step = float(growth_cap(term, ResidualRadau(), rates))
    assert 3.0 < step < 20.0


@pytest.mark.long
@pytest.mark.parametrize("log10_alpha", [-6.0, -10.0, -14.0])
def test_a_small_row_that_multiplies_a_large_one_is_not_forgotten(log10_alpha):
    """Observed entries and a start that mixes them: X still moves after the residual is tiny."""
    places = [(0, 0), (0, 1), (1, 1), (2, 3)]

    @jax.jit
    def end(key, init, t1):
        u = jax.random.normal(key, (4,))
        rows, cols = jnp.array(places).T
        measurement = imf.measurements.EntryMeasurement(rows, cols, dim=4, dtype=jnp.float64)
        problem = imf.Problem(measurement, u[rows] * u[cols])
        return imf.simulate(problem, log10_alpha=log10_alpha, init=init, t1=t1, throw=False)

    for seed in range(8):
        key, init = jax.random.key(seed), jax.random.normal(jax.random.key(100 + seed), (4, 4))
        sol = end(key, init, None)
        later = end(key, init, 1e7 * sol.time)
        allowed = float(sol.error_estimate + later.error_estimate)
        assert distance(sol.X, later.X) <= allowed, seed


def _rows_of(frame, spectra, targets, log10_alpha):
    """X of a diagonal family: the lengths of its rows from the closed form, e^A X0 e^A by hand."""
    problem = imf.Problem(imf.measurements.CommutingMeasurement(np.eye(6), spectra), targets)
    lengths = np.linalg.norm(frame, axis=1)
    x = imf.closed_forms.commuting(problem, log10_alpha=log10_alpha, init=np.diag(lengths))
    U = np.sqrt(np.diagonal(x) / lengths**2)[:, None] * frame
    return U @ U.T


@pytest.mark.long
@pytest.mark.parametrize("columns", [2, 6])
def test_commuting_measurements_from_a_start_that_they_do_not_know(columns):
    """Small rows are seen in X long before they are in the residual, and must not feel large ones.

    Three measurements of two large rows: one direction of K is as slow as the small rows are small.
    """
    direction = np.random.default_rng(3).normal(size=(6, columns))

    @jax.jit
    def end(Q, spectra, targets, init, log10_alpha):
        def solve(init):
            measurement = imf.measurements.CommutingMeasurement(Q, spectra)
            problem = imf.Problem(measurement, targets)
            return imf.simulate(problem, log10_alpha=log10_alpha, init=init, throw=False)

        sol, tangent = jax.jvp(solve, (init,), (jnp.asarray(direction),))
        return sol, tangent.X

    for seed in (0, 2, 3):
        rng = np.random.default_rng(seed)
        Q, _ = np.linalg.qr(rng.normal(size=(6, 6)))
        spectra, init = rng.normal(size=(3, 6)), rng.normal(size=(6, columns))
        targets = spectra @ np.array([1.0, 2.0, 0.0, 0.0, 0.0, 0.0])
        for log10_alpha in (-2.0, -8.0, -12.0, -16.0):
            sol, tangent = end(Q, spectra, targets, init, log10_alpha)

            def exact(h, at=(spectra, targets, log10_alpha), Q=Q, init=init):
                return Q @ _rows_of(Q.T @ (init + h * direction), *at) @ Q.T

            # 1e-11: of the closed form.
            assert distance(sol.X, exact(0.0)) <= float(sol.error_estimate) + 1e-11
            # A few units beyond 1e-6 may be admitted; ended by the residual it is 1e-4.
            assert float(sol.error_estimate) <= 1e-5, (seed, log10_alpha)
            # Beyond 1024 steps a derivative is no number.
            if sol.stats["num_accepted_steps"] <= 1024:
                difference = (exact(1e-5) - exact(-1e-5)) / 2e-5
                np.testing.assert_allclose(tangent, difference, atol=1e-3)


def _random_instance(seed):
    """Generic, duplicated, rank-one, integer and badly scaled measurements; all sizes of y."""
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(2, 3, 3))
    stack = (half + half.transpose(0, 2, 1)) / 2
    kind = rng.integers(6)
    if kind == 1:
        stack[1] = stack[0]
    elif kind == 2:
        vectors = rng.normal(size=(2, 3))
        stack = np.einsum("mi,mj->mij", vectors, vectors)
    elif kind == 3:
        stack = np.round(2 * stack) / 2
    elif kind == 4:
        stack[1] *= 10.0 ** rng.uniform(-3, 3)
    rank = rng.integers(1, 4)
    root = rng.normal(size=(3, rank))
    targets = np.einsum("mij,ik,jk->m", stack, root, root)
    if rng.random() < 0.3:
        targets = rng.normal(size=2)
    size, scale = 10.0 ** rng.choice([0.0, rng.uniform(-8, 8)], size=2)
    log10_alpha = rng.uniform(-9, -1) + np.log10(scale / size)
    return size * stack, scale * targets, log10_alpha


@jax.jit
def _patient(stack, targets, log10_alpha):
    problem = imf.Problem(imf.measurements.DenseMeasurement(stack), targets)
    return integrate(
        congruence_term(problem),
        ResidualRadau(),
        frame=jnp.eye(3),
        log_alpha=log10_alpha * jnp.log(10.0),
        max_steps=16_384,
    )


def _held_to_scipy(solve, seed):
    stack, targets, log10_alpha = _random_instance(seed)
    sol = solve(stack, targets, log10_alpha)
    assert np.all(np.isfinite(sol.X))
    answers = (RESULTS.successful, RESULTS.stationary, RESULTS.vanished, RESULTS.norm_diverges)
    warnings = (RESULTS.tolerance_not_met, RESULTS.ill_conditioned)
    if bool(sol.result == RESULTS.not_stationary):
        # More steps than there are: no answer, it says so, and with more of them there is one.
        assert np.isinf(sol.error_estimate)
        sol = _patient(jnp.asarray(stack), jnp.asarray(targets), jnp.asarray(log10_alpha))
    assert any(bool(sol.result == item) for item in answers + warnings)
    end = float(sol.time)
    if bool(sol.result == RESULTS.norm_diverges) or not 0 < end < 1e300:
        return
    exact = scipy_end(stack, targets, log10_alpha, end=2 * end)
    if bool(sol.result == RESULTS.vanished):
        predicted = np.einsum("mij,ij->m", stack, exact)
        assert np.linalg.norm(predicted) <= 1e-6 * np.linalg.norm(targets)
        return
    # 1e-8: the reference's own error.
    assert distance(sol.X, exact) <= float(sol.error_estimate) + 1e-8


@settings(max_examples=15, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**31))
# Two runs that agree 25 times, and fifty times, as well as they are right.
@example(seed=454)
@example(seed=4356)
def test_random_instances_end_where_scipy_says(solve, seed):
    _held_to_scipy(solve, seed)


@pytest.mark.long
@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**31))
# Its norm grows like the root of t, while other directions decay and bound the steps.
@example(seed=9521)
def test_many_random_instances_end_where_scipy_says(solve, seed):
    _held_to_scipy(solve, seed)


@eqx.filter_jit
def _completed_until(problem, t1):
    return integrate(
        congruence_term(problem),
        ResidualRadau(),
        frame=jnp.eye(2),
        log_alpha=jnp.log(jnp.array(1e-2)),
        t1=t1,
    )


@pytest.mark.parametrize(("t1", "first"), [(1e2, 7.85455291), (1e3, 17.90018161)])
def test_the_determinant_stays_positive_where_every_norm_diverges(t1, first):
    """The 2x2 completion: X11 grows like (6 t)^(1/3); its values by other integrators."""
    A = imf.measurements.EntryMeasurement([0, 1, 1], [1, 0, 1], 2)
    problem = imf.Problem(A, jnp.array([1.0, 1.0, 0.0]))
    sol = _completed_until(problem, jnp.array(t1))
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


@pytest.mark.parametrize("small", [1e-9, 0.3])
def test_the_jacobian_with_few_columns_where_the_others_move_nothing(small):
    """Eight columns of which two are large: six are taken where the rest is small, else all."""
    problem = imf.problems.gaussian_sensing(8, 2, 10, key=jax.random.key(0))
    term = congruence_term(problem)
    rng = np.random.default_rng(2)
    sizes = np.where(np.arange(8) < 2, 1.0, small)
    # The large ones are not the last, and the rotation has to find them.
    factor = jnp.asarray(rng.normal(size=(8, 8)) @ np.diag(sizes) @ rng.normal(size=(8, 8)) / 8)
    residuals, h = jnp.asarray(rng.normal(size=(3, 10))), jnp.asarray(0.5)
    exact = jax.jacfwd(lambda k: defect(term, k.reshape(3, 10), h, factor).ravel())
    jacobian = jax.jit(lambda k: stage_jacobian(term, k, h, factor))(residuals)
    size = np.abs(jacobian).max()
    np.testing.assert_allclose(jacobian, exact(residuals.ravel()), atol=1e-9 * size)


def test_the_cheap_jacobian_is_the_whole_one_where_matrices_commute():
    """Against automatic differentiation, with directions that grow and decay, and a curved loss."""
    A = imf.measurements.DiagonalMeasurement(jnp.array([[2.0, 1.0, -0.5], [0.3, -1.0, 1.0]]))
    problem = imf.Problem(A, jnp.array([1.0, 2.0]), loss=imf.losses.LogCosh())
    term = congruence_term(problem)
    rng = np.random.default_rng(3)
    residuals = jnp.asarray(rng.normal(size=(3, 2)))
    factor = jnp.diag(jnp.asarray(rng.uniform(0.5, 1.0, size=3)))
    h = jnp.asarray(1.5)
    exact = jax.jacfwd(lambda k: defect(term, k.reshape(3, 2), h, factor).ravel())
    factors, _ = stage_factors(term, residuals, h, factor)
    jacobian = commuting_jacobian(term, h, factors)
    size = np.abs(jacobian).max()
    np.testing.assert_allclose(jacobian, exact(residuals.ravel()), atol=1e-9 * size)


@pytest.mark.parametrize(
    ("targets", "spared"),
    [((4.0, 3.0), "stage_jacobian"), ((-4.0, 3.0), "commuting_jacobian")],
)
def test_only_gentle_steps_are_solved_as_if_matrices_commuted(targets, spared, solve, monkeypatch):
    """Near ends whose force is zero, and is not: without the other Jacobian, which answers nan."""
    term = congruence_term(three(targets))
    values, vectors = np.linalg.eigh(solve(STACK, targets, -4.0).X)
    factor = jnp.asarray(1.001 * vectors * np.sqrt(np.maximum(values, 1e-6)))
    h, yes = jnp.asarray(1.0), jnp.ones((), bool)
    guess = jnp.broadcast_to(term.residual(term.predict(factor)), (3, 2))
    monkeypatch.setattr(_full_newton, spared, lambda *args: jnp.full((6, 6), jnp.nan))
    at = (term, ResidualRadau(), factor, h, jnp.asarray(1e-6), guess)
    given = solve_stages(*at, NewtonMatrix.build(term, factor), ~yes)
    stages = _full_newton.solve_fully(*at, given, yes)
    assert stages.converged
    assert float(jnp.abs(defect(term, stages.residuals, h, factor)).max()) < 1e-5


def test_an_algebraic_approach_is_followed_to_its_end():
    """A completion whose directions decay like powers of t, for eighteen orders of magnitude."""
    problem = imf.problems.matrix_completion(5, 1, 9, key=jax.random.key(2))
    sol = imf.simulate(problem, alpha=1e-3, throw=False)
    assert sol.result == RESULTS.successful
    # Far beyond the time at which the residual alone looks small.
    assert float(sol.time) > 1e12
    assert float(sol.residual_norm) <= 1e-8
    assert np.linalg.eigvalsh(np.asarray(sol.X))[0] >= -1e-14


def test_targets_that_can_be_met_are_not_given_up():
    """Ways to stop too early or too late: unsolved stage equations, a direction still to grow."""

    @jax.jit
    def run(seed, log10_alpha):
        problem = imf.problems.gaussian_sensing(4, 1, 8, key=jax.random.key(seed))
        solution = integrate(
            congruence_term(problem),
            ResidualRadau(),
            frame=jnp.eye(4),
            log_alpha=log10_alpha * jnp.log(10.0),
            rtol=1e-8,
        )
        return solution, problem

    for seed, log10_alpha in ((21, -8.0), (13, -8.0), (24, -30.0)):
        solution, problem = run(seed, log10_alpha)
        # A few units beyond the tolerance may be admitted, but no misfit be blamed on the targets.
        assert solution.result in (RESULTS.successful, RESULTS.tolerance_not_met), seed
        # These planted matrices are the only ones that fit, up to what alpha leaves (1e-11).
        truth = problem.ground_truth
        error = np.linalg.norm(solution.X - truth) / np.linalg.norm(truth)
        assert error <= float(solution.error_estimate) + 1e-11, seed
        assert float(solution.error_estimate) <= 1e-7, seed

    # Newton's iterations leave no residual that the flow does not have: it would delay the end.
    for seed, log10_alpha in ((27, -8.0), (28, -30.0)):
        solution, problem = run(seed, log10_alpha)
        left = np.linalg.norm(solution.residual - solution.generator)
        allowed = 0.3 * np.linalg.norm(solution.generator) + 3e-12 * float(problem.scale)
        assert left <= allowed, seed
    # Nor does Newton with the whole Jacobian: flows that have arrived know it (340 steps, else).
    cases = ((39, -8.0), (43, -8.0), (13, -5.0), (51, -5.0))
    solutions = [run(*case)[0] for case in cases]
    assert all(solution.result == RESULTS.successful for solution in solutions)
    assert sum(int(solution.stats["num_accepted_steps"]) for solution in solutions) < 270


def test_measurements_that_see_nothing_move_nothing(solve):
    sol = solve(np.zeros((2, 3, 3)), (1.0, 1.0), np.log10(0.5))
    assert sol.result == RESULTS.stationary
    np.testing.assert_allclose(sol.X, 0.5 * np.eye(3), atol=1e-15)


@pytest.mark.parametrize(("size", "seen"), [(2.0**0.5, 0), (1.0, 1)])
def test_a_start_at_rest_stays(size, seen):
    """One column along an eigenvector of the targets: the least of its rank, and a saddle."""
    stack = jnp.array(
        [[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.5], [0.5, 0.0]], [[0.0, 0.0], [0.0, 1.0]]]
    )
    problem = imf.Problem(imf.measurements.DenseMeasurement(stack), jnp.array([2.0, 0.0, 1.0]))
    init = jnp.zeros((2, 1)).at[seen, 0].set(size)
    sol = imf.simulate(problem, alpha=1.0, init=init, throw=False)
    assert sol.result == RESULTS.stationary
    np.testing.assert_allclose(sol.X, init @ init.T, atol=1e-14)


@pytest.mark.long
def test_a_run_that_follows_only_the_rounding_of_its_force_ends():
    """At the coarsest tolerance time runs to 1e13, and steps fail there for thousands of steps."""
    problem = imf.problems.gaussian_sensing(10, 2, 40, key=jax.random.key(0))
    sol = imf.simulate(problem, log10_alpha=-103 / 15, throw=False)
    assert sol.result == RESULTS.successful
    assert sol.stats["num_total_steps"] < 500


@pytest.mark.long
def test_short_steps_that_follow_only_rounding_end():
    """A completion that time takes to 1e17: one step in three fails there, for 2000 steps."""
    problem = imf.problems.matrix_completion(20, 2, 84, key=jax.random.key(1))
    sol = imf.simulate(problem, alpha=1e-2, throw=False)
    assert float(sol.time) > 1e16
    assert float(sol.error_estimate) < 1e-5
    assert sol.stats["num_steps"] < 2000
