"""The explicit solver, against closed forms and against the implicit one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import implicit_flow as imf
from implicit_flow import RESULTS
from implicit_flow._congruence_term import congruence_term
from implicit_flow.solvers import RungeKuttaChebyshev
from implicit_flow.solvers._chebyshev import (
    Motion,
    chebyshev_step,
    longest_step,
    spectral_radius,
    stages_for,
    velocity,
)
from implicit_flow.solvers._lanczos import lanczos
from implicit_flow.solvers._low_rank import low_rank_distance


M = np.array([[2.0, 0.5, 0.0], [0.5, 1.5, 0.3], [0.0, 0.3, 1.0]])


def observed(target=M):
    """Every entry of a symmetric matrix, so that the flow has a closed form."""
    n = target.shape[0]
    rows, cols = np.divmod(np.arange(n * n), n)
    A = imf.measurements.EntryMeasurement(rows, cols, n)
    return imf.Problem(A, jnp.asarray(target[rows, cols]))


@pytest.fixture(scope="module")
def solve():
    """One compilation for every problem of 3 x 3 entries."""

    @jax.jit
    def run(targets, init, alpha):
        problem = observed()
        problem = imf.Problem(problem.measurement, targets)
        return imf.simulate(
            problem, alpha=alpha, init=init, rtol=1e-5, throw=False, solver=RungeKuttaChebyshev()
        )

    return lambda target, init, alpha: run(
        jnp.asarray(target, float).reshape(-1), jnp.asarray(init, float), jnp.asarray(alpha)
    )


def test_order_two():
    problem = observed()
    term = congruence_term(problem)
    exact = imf.closed_forms.full_observation(problem, alpha=0.1, t=1.0)

    @jax.jit
    def error(count):
        def step(_, at):
            slope = velocity(term, at.factor)
            return chebyshev_step(term, at, slope, 1.0 / count, jnp.asarray(5))

        start = Motion(jnp.sqrt(0.1) * jnp.eye(3), jnp.zeros(9))
        end = jax.lax.fori_loop(0, count, step, start)
        return jnp.linalg.norm(end.factor @ end.factor.T - exact)

    errors = [float(error(n)) for n in (20, 40, 80)]
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    # Terms of the next order are a few percent at these steps.
    assert np.all(np.abs(orders - 2) < 0.15)


@pytest.mark.parametrize("stages", [2, 7, 40])
def test_a_number_of_stages_is_stable_as_far_as_it_says_and_little_further(stages):
    term = congruence_term(observed())
    values, vectors = np.linalg.eigh(M)
    rest = jnp.asarray(vectors * np.sqrt(values))
    mode, radius = spectral_radius(
        term, rest, jnp.ones((3, 3)) / 3, jnp.zeros(()), jnp.asarray(200)
    )
    # At rest U'U = diag(values): the largest rate is 2 max(values), for U along itself.
    assert abs(float(radius) - 2 * values[-1]) < 1e-6
    step = longest_step(stages, radius)
    assert int(stages_for(step * radius, 1000)) <= stages + 1
    moved = rest + 1e-5 * mode

    def growth(h):
        at = Motion(moved, jnp.zeros(9))
        end = chebyshev_step(term, at, velocity(term, moved), h, jnp.asarray(stages))
        return float(jnp.linalg.norm(end.factor - rest)) / 1e-5

    assert growth(step) < 1.0
    # 0.653 (s^2 - 1) is the boundary; at 1.2 s^2 the polynomial has left [-1, 1], and may overflow.
    assert not growth(1.2 * stages**2 / radius) <= 1.0


def test_where_it_comes_to_rest(solve):
    exact = imf.closed_forms.full_observation(observed(), alpha=1e-4)
    sol = solve(M, np.eye(3), 1e-4)
    assert sol.result == RESULTS.successful
    assert sol.solver == "RungeKuttaChebyshev"
    error = np.linalg.norm(sol.X - exact) / np.linalg.norm(exact)
    assert error <= float(sol.error_estimate) <= 1e-5
    # log det X = log det X0 + 2 tr A*(s), of about 27: exact for the flow, and to its tolerance
    # of 1e-4 a step here, over a growth that takes a hundred of them.
    trace = np.trace(np.asarray(sol.dual).reshape(3, 3))
    log_det = np.linalg.slogdet(np.asarray(sol.X))[1]
    assert abs(log_det - 3 * np.log(1e-4) - 2 * trace) < 1e-2


def test_a_saddle_is_not_taken_for_rest(solve):
    # A first direction at its end, a second that has yet to grow from 1e-10.
    target = np.diag([2.0, 1.0, 0.0])
    sol = solve(target, np.diag([np.sqrt(2.0), 1e-5, 1e-5]), 1.0)
    assert sol.result == RESULTS.successful
    # The third decays algebraically, x = 1 / (2 t): what the estimate says remains.
    assert np.linalg.norm(sol.X - target) / np.linalg.norm(target) <= float(sol.error_estimate)


def test_targets_that_nothing_fits(solve):
    sol = solve(np.diag([2.0, 1.0, -1.0]), np.eye(3), 1e-2)
    assert sol.result == RESULTS.stationary
    exact = np.diag([2.0, 1.0, 0.0])
    assert np.linalg.norm(sol.X - exact) / np.linalg.norm(exact) <= 1e-5
    sol = solve(-M, np.eye(3), 1e-2)
    assert sol.result == RESULTS.vanished


def test_an_alpha_too_small_for_a_plain_factor_is_refused_or_reported():
    stack = np.array([[[2, 1, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 1], [1, 0, 0], [1, 0, 3]]], float)
    three = imf.Problem(imf.measurements.DenseMeasurement(stack), jnp.array([4.0, 3.0]))
    with pytest.raises(ValueError, match="log10_alpha"):
        imf.simulate(three, log10_alpha=-800, solver=RungeKuttaChebyshev())
    # Representable, but the directions that decide lie far below rounding of the first.
    sol = imf.simulate(
        three, log10_alpha=-100, rtol=1e-4, throw=False, solver=RungeKuttaChebyshev()
    )
    # |tr X - tr Y| <= sqrt(n) |X - Y|; the trace of the limit was found in 3000 digits.
    error = abs(float(sol.nuclear_norm) - 1.678507352080517) / np.linalg.norm(sol.X)
    assert error <= np.sqrt(3) * float(sol.error_estimate)


@pytest.mark.long
def test_the_path_and_both_of_its_derivatives_are_those_of_the_closed_form():
    problem = observed()
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))
    frame = jnp.asarray(np.eye(3) + 0.1 * np.random.default_rng(1).normal(size=(3, 3)))
    times = jnp.array([0.0, 1.0, 2.5])

    def exact(targets, log10_alpha, init, t):
        return imf.closed_forms.full_observation(
            imf.Problem(problem.measurement, targets), log10_alpha=log10_alpha, init=init, t=t
        )

    def path(targets, log10_alpha, init, t1):
        sol = imf.simulate(
            imf.Problem(problem.measurement, targets),
            log10_alpha=log10_alpha,
            init=init,
            t1=t1,
            rtol=1e-5,
            saveat=times,
            solver=RungeKuttaChebyshev(max_stages=20),
        )
        return jnp.sum(weights * (sol.X + sol.Xs[1])) + jnp.sum(sol.duals[2]), sol

    def reference(targets, log10_alpha, init, t1):
        moved = [exact(targets, log10_alpha, init, t) for t in (t1, 1.0)]
        return jnp.sum(weights * (moved[0] + moved[1]))

    at = (problem.targets, jnp.asarray(-2.0), frame, jnp.asarray(3.0))
    along = (0.1 * problem.targets[::-1], jnp.asarray(0.3), weights, jnp.asarray(0.2))
    _, pull, sol = jax.vjp(jax.jit(path), *at, has_aux=True)
    for k, t in enumerate(times):
        X = exact(at[0], at[1], at[2], float(t))
        error = float(jnp.linalg.norm(sol.Xs[k] - X) / jnp.linalg.norm(X))
        assert error <= float(sol.error_estimates[k]) + 1e-12
        assert error <= 1e-5

    back = pull(jnp.ones(()))
    _, forward = jax.jvp(jax.jit(lambda *a: path(*a)[0]), at, along)
    reverse = sum(jnp.vdot(b, a) for b, a in zip(back, along, strict=True))
    # The same linear map, transposed: equal to rounding.
    assert abs(float(forward - reverse)) <= 1e-10 * abs(float(forward))

    # Against differences of the closed form, which has no dual: its part is taken out.
    _, duals = jax.jvp(jax.jit(lambda *a: jnp.sum(path(*a)[1].duals[2])), at, along)
    ahead, behind = (
        reference(*[x + e * d for x, d in zip(at, along, strict=True)]) for e in (1e-4, -1e-4)
    )
    difference = float(ahead - behind) / 2e-4
    # Steps of order 2 at a tolerance of 1e-5.
    assert abs(float(forward - duals) - difference) <= 1e-3 * abs(difference)


@pytest.mark.parametrize("rtol", [1e-2, 1e-4])
def test_steps_that_end_on_close_save_times_are_not_the_same_in_two_runs(rtol):
    # Each step is from one save time to the next, whatever the tolerance.
    problem = observed()
    times = jnp.linspace(0.0, 3.0, 41)
    sol = imf.simulate(
        problem, alpha=0.1, t1=3.0, rtol=rtol, saveat=times, solver=RungeKuttaChebyshev()
    )
    Xs = jnp.stack([imf.closed_forms.full_observation(problem, alpha=0.1, t=t) for t in times])
    errors = jnp.linalg.norm(sol.Xs - Xs, axis=(1, 2)) / jnp.linalg.norm(Xs, axis=(1, 2))
    assert jnp.all(errors <= sol.error_estimates + 1e-12)
    assert float(errors[-1]) <= float(sol.error_estimate) <= rtol


@pytest.mark.long
def test_save_times_that_fill_what_a_run_may_take_and_record():
    # The second run takes twice as many steps: 1400, of which 1024 are recorded without saves.
    problem, times = observed(), jnp.linspace(0.0, 3.0, 700)

    def end(targets):
        sol = imf.simulate(
            imf.Problem(problem.measurement, targets),
            alpha=0.1,
            t1=3.0,
            rtol=1e-3,
            saveat=times,
            max_steps=1000,
            solver=RungeKuttaChebyshev(),
        )
        return sol.X[0, 1], sol

    slope, sol = jax.jit(jax.grad(end, has_aux=True))(problem.targets)
    assert sol.result == RESULTS.successful
    assert not jnp.any(jnp.isnan(sol.Xs))

    def exact(targets):
        moved = imf.Problem(problem.measurement, targets)
        return imf.closed_forms.full_observation(moved, alpha=0.1, t=3.0)[0, 1]

    along = jnp.asarray(np.random.default_rng(0).normal(size=9))
    along = (along.reshape(3, 3) + along.reshape(3, 3).T).reshape(-1)
    ahead, behind = exact(problem.targets + 1e-5 * along), exact(problem.targets - 1e-5 * along)
    assert abs(float(slope @ along) - float(ahead - behind) / 2e-5) < 1e-5


def test_the_default_follows_the_size():
    small = imf.problems.single_measurement(3, key=jax.random.key(0))
    solver = jax.eval_shape(lambda: imf.simulate(small, alpha=0.1, throw=False)).solver
    assert solver == "ResidualRadau"
    large = imf.problems.matrix_completion(210, 1, 6000, key=jax.random.key(1))
    sol = imf.simulate(large, imf.flows.FactorFlow(rank=2), alpha=1e-4, rtol=1e-2)
    assert sol.solver == "RungeKuttaChebyshev"
    assert sol.result == RESULTS.successful
    assert float(sol.residual_norm) <= 1e-4
    # Rank one from 27 percent of the entries is recovered, to the trace that alpha leaves.
    truth = large.ground_truth
    assert jnp.linalg.norm(sol.X - truth) <= 3e-2 * jnp.linalg.norm(truth)


def test_lanes_are_what_single_runs_are(solve):
    alphas = jnp.array([1e-1, 1e-3])
    run = jax.jit(
        jax.vmap(
            lambda alpha: imf.simulate(
                observed(), alpha=alpha, rtol=1e-5, throw=False, solver=RungeKuttaChebyshev()
            )
        )
    )
    lanes = run(alphas)
    for k in range(2):
        single = solve(M, np.eye(3), float(alphas[k]))
        apart = np.linalg.norm(lanes.X[k] - single.X) / np.linalg.norm(single.X)
        assert apart <= float(single.error_estimate) + float(lanes.error_estimate[k])
        # A lane that is done evaluates nothing. Sums are rounded in another order, by which a
        # number of stages may change.
        count = "num_total_evaluations"
        assert abs(int(lanes.stats[count][k]) / int(single.stats[count]) - 1) < 0.05


def test_lanczos_bounds_the_lowest_eigenvalue_that_a_vector_sees():
    rng = np.random.default_rng(0)
    for n in (1, 5, 150):
        Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
        values = np.sort(rng.normal(size=n))
        A = jnp.asarray((Q * values) @ Q.T)
        found = lanczos(lambda v, A=A: A @ v, jnp.asarray(rng.normal(size=n)))
        slack = 1e-10 * np.max(np.abs(values))
        assert float(found.lowest) <= values[0] + slack
        assert float(found.lowest) >= values[0] - 0.05 * np.ptp(values) - slack
        # Blind to what it is orthogonal to.
        if n == 5:
            blind = lanczos(lambda v, A=A: A @ v, jnp.asarray(Q[:, 1:] @ np.ones(n - 1)))
            assert float(blind.lowest) >= min(values[1], 0.0) - 1e-9


def test_the_distance_of_products_needs_no_product():
    rng = np.random.default_rng(0)
    for n, d in ((6, 2), (4, 4), (3, 7)):
        U, V = rng.normal(size=(2, n, d))
        exact = np.linalg.norm(U @ U.T - V @ V.T) / np.linalg.norm(U @ U.T)
        assert abs(float(low_rank_distance(jnp.asarray(U), jnp.asarray(V))) - exact) < 1e-12
    close = low_rank_distance(jnp.asarray(U), jnp.asarray(U * (1 + 1e-12)))
    assert abs(float(close) - 2e-12) < 1e-14
    assert float(low_rank_distance(jnp.zeros((3, 2)), jnp.zeros((3, 2)))) == 0.0
