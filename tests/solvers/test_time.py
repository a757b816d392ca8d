"""The path in time, and logarithms of eigenvalues, against closed forms and mpmath."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import implicit_flow as imf
from implicit_flow import RESULTS


@pytest.fixture(scope="module")
def logistic():
    """One measurement of one entry: x' = -2 a (a x - y) x."""

    @jax.jit
    def run(a, y, log10_alpha, t1, saveat):
        A = imf.measurements.DenseMeasurement(a[None, None, None])
        problem = imf.Problem(A, y[None])
        return imf.simulate(problem, log10_alpha=log10_alpha, t1=t1, saveat=saveat, throw=False)

    return lambda *x: run(*(jnp.asarray(v, float) for v in x))


@pytest.mark.parametrize("log10_alpha", [-1.0, -30.0, -300.0])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_one_number_in_time(logistic, log10_alpha, scale):
    a, y = 0.7, 1.3 * scale
    log10_alpha += np.log10(scale)
    rest, rate = y / a, 2 * a * y
    log_ratio = np.log(rest) - log10_alpha * np.log(10)
    # While it is still exponential, halfway up, nearly there, and at the very end.
    places = np.array([-2.0, 0.0, 5.0, 9.0])
    times = (log_ratio + places) / rate
    sol = logistic(a, y, log10_alpha, times[-1], times)
    seed = np.expm1(log_ratio) * np.exp(-log_ratio)
    exact = rest / (1 + seed * np.exp(-places))
    assert sol.result == RESULTS.successful
    assert float(sol.time) == times[-1]
    assert abs(float(sol.X[0, 0]) / exact[-1] - 1) <= float(sol.error_estimate)
    # Relative to the end, and that of x itself moves with the time at which it rises.
    np.testing.assert_allclose(sol.Xs[:, 0, 0], exact, atol=1e-6 * rest)
    # log X = log X0 + 2 a s.
    grown = np.log(exact) - log10_alpha * np.log(10)
    np.testing.assert_allclose(2 * a * sol.duals[:, 0], grown, rtol=1e-6, atol=2e-6)


def test_log_eigenvalues_far_below_floats():
    """The Riccati equation from a start that does not commute with it, in 900 digits."""
    n, log10_alpha, t = 3, -300.0, 400.0
    rows, cols = (index.ravel() for index in np.indices((n, n)))
    M = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 0.3]])
    init = np.array([[1.0, 0.2, -0.1], [0.0, 0.7, 0.4], [0.3, 0.0, 1.1]])
    problem = imf.Problem(imf.measurements.EntryMeasurement(rows, cols, n), M.ravel())
    sol = imf.simulate(problem, log10_alpha=log10_alpha, t1=t, init=init)
    with mpmath.workdps(900):
        # X_t^-1 = e^-tM X0^-1 e^-tM + M^-1 (I - e^-2tM).
        values, Q = mpmath.eigsy(mpmath.matrix(M.tolist()))
        decay = Q * mpmath.diag([mpmath.exp(-t * v) for v in values]) * Q.T
        held = Q * mpmath.diag([(1 - mpmath.exp(-2 * t * v)) / v for v in values]) * Q.T
        U = mpmath.matrix(init.tolist())
        start = mpmath.inverse(U * U.T) * mpmath.mpf(10) ** 300
        inverse = decay * start * decay + held
        inverse = (inverse + inverse.T) / 2
        found = mpmath.eigsy(inverse, eigvals_only=True)
        exact = sorted(-float(mpmath.log(v)) for v in found)
    assert exact[0] < -400
    # An exponent of 700 with the relative accuracy of the path.
    np.testing.assert_allclose(sol.log_eigenvalues, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_path_to_rest_has_the_error_that_it_says(seed):
    """X moves fast on the way, and the runs that agree at the end need not agree there."""
    n, m, alpha = 3, 4, 1e-3
    rng = np.random.default_rng(seed)
    G = rng.normal(size=(m, n, n))
    A, u = (G + np.swapaxes(G, 1, 2)) / 2, rng.normal(size=n)
    y = np.einsum("kij,i,j->k", A, u, u)
    escape = -np.log(alpha) / 2 / np.linalg.eigvalsh(np.tensordot(y, A, 1))[-1]
    times = np.linspace(0, 3 * escape, 31)

    def field(t, state):
        U = state.reshape(n, n)
        r = np.einsum("kij,ij->k", A, U @ U.T) - y
        return -(np.tensordot(r, A, 1) @ U).ravel()

    start = np.sqrt(alpha) * np.eye(n).ravel()
    found = solve_ivp(field, (0, times[-1]), start, "DOP853", times, rtol=1e-12, atol=1e-15)
    Us = found.y.T.reshape(-1, n, n)
    exact = Us @ np.swapaxes(Us, 1, 2)
    problem = imf.Problem(imf.measurements.DenseMeasurement(jnp.asarray(A)), jnp.asarray(y))
    sol = imf.simulate(problem, alpha=alpha, saveat=times)
    error = np.linalg.norm(sol.Xs - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
    assert np.all(error <= np.asarray(sol.error_estimates) + 2e-11)
    # The promise at the end is kept along the way, too.
    assert np.max(sol.error_estimates) <= 1e-6


@pytest.mark.long
def test_the_norm_that_grows_without_bound_for_a_million_times_its_scale():
    """The 2x2 completion of the trap: det X > 0 by 16,000 orders of e, and X11 to 1e-4.

    The reference: eigenvalues exp(d) and the angle of X, by SciPy's Radau.
    """
    end = 1e6

    def field(t, state):
        angle, first, second = state
        c, s = np.cos(angle), np.sin(angle)
        Q = np.array([[c, -s], [s, c]])
        X = (Q * np.exp([first, second])) @ Q.T
        # Entries (1, 2) and (2, 1) with target 1, entry (2, 2) with target 0.
        N = -Q.T @ np.array([[0.0, X[0, 1] - 1], [X[0, 1] - 1, X[1, 1]]]) @ Q
        turn = -N[0, 1] / np.tanh((second - first) / 2)
        return [turn, 2 * N[0, 0], 2 * N[1, 1]]

    log_alpha = np.log(1e-2)
    # From alpha I both axes of y' = ((0, 1), (1, 0)) move apart at once: a short exact start.
    short = 1e-6
    begin = [np.pi / 4, log_alpha + 2 * short, log_alpha - 2 * short]
    with np.errstate(over="ignore"):  # within SciPy's difference quotients
        reference = solve_ivp(field, (short, end), begin, "Radau", rtol=1e-10, atol=1e-10)
    angle, first, _ = reference.y[:, -1]
    exact = np.exp(first) * np.cos(angle) ** 2

    A = imf.measurements.EntryMeasurement([0, 1, 1], [1, 0, 1], 2)
    problem = imf.Problem(A, jnp.array([1.0, 1.0, 0.0]))
    sol = imf.simulate(problem, alpha=1e-2, t1=end, max_steps=20_000, throw=False)
    assert float(sol.X[0, 0]) == pytest.approx(exact, rel=1e-4)
    assert abs(float(sol.X[0, 0]) / exact - 1) <= float(sol.error_estimate) + 1e-8
    # log det X = log det X0 + 2 tr A*(s): an identity of the flow.
    identity = 2 * log_alpha + 2 * float(jnp.trace(A.adjoint(sol.dual)))
    assert np.all(np.isfinite(sol.log_eigenvalues))
    assert float(jnp.sum(sol.log_eigenvalues)) == pytest.approx(identity, rel=1e-6)
    assert identity < -10_000


def test_two_runs_that_agree_by_chance_are_not_believed():
    """Here they agree 70 times as well as they are right."""
    problem = imf.problems.rectangular_completion((3, 2), 2, 6, key=jax.random.key(3))
    A, y = np.asarray(problem.measurement.as_stack()), np.asarray(problem.targets)
    sol = imf.simulate(problem, alpha=1e-6, t1=30.0)

    def velocity(_, u):
        U = u.reshape(5, 5)
        return -(np.tensordot(np.einsum("kij,ij->k", A, U @ U.T) - y, A, 1) @ U).ravel()

    found = solve_ivp(
        velocity, (0, 30), 1e-3 * np.eye(5).ravel(), method="DOP853", rtol=1e-12, atol=1e-15
    )
    U = found.y[:, -1].reshape(5, 5)
    error = np.linalg.norm(sol.X - U @ U.T) / np.linalg.norm(U @ U.T)
    assert error <= float(sol.error_estimate) <= 1e-6
