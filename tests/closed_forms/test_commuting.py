"""Closed forms of commuting measurements against numbers found without them."""

import functools
import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import linprog

import implicit_flow as imf
from implicit_flow.closed_forms import commuting, commuting_limit, single_measurement
from implicit_flow.measurements import (
    CommutingMeasurement,
    DenseMeasurement,
    DiagonalMeasurement,
    EntryMeasurement,
)


TWO_ONE = imf.Problem(DiagonalMeasurement([[2.0, 1.0]]), [1.0])


def exact_two_one(alpha):
    """A = diag(2, 1), y = 1, X~ = I by the quadratic formula, at 60 digits."""
    with mpmath.workdps(60):
        a = mpmath.mpf(alpha)
        z = (-a + mpmath.sqrt(a**2 + 8 * a)) / (4 * a)
        return [float(a * z**2), float(a * z)]


@pytest.mark.parametrize("alpha", ["0.1", "0.01", "1e-30", "100"])
def test_single_measurement_by_the_quadratic_formula(alpha):
    X = single_measurement(TWO_ONE, alpha=float(alpha))
    np.testing.assert_allclose(np.diagonal(X), exact_two_one(alpha), rtol=1e-12)


def test_numbers_known_beforehand():
    np.testing.assert_allclose(
        np.diagonal(single_measurement(TWO_ONE, alpha=0.1)), [0.4, 0.2], rtol=1e-14
    )
    np.testing.assert_allclose(
        np.diagonal(commuting(TWO_ONE, alpha=1e-2)),
        [0.4658725707547876, 0.06825485849042454],
        rtol=1e-14,
    )


def test_alpha_far_below_floats():
    # x2 / sqrt(alpha) -> 2^{-1/2}: at 1e-3000 x2 is 0.7e-1500, which is 0 in floats; x1 is 1/2.
    X = single_measurement(TWO_ONE, log10_alpha=-3000)
    np.testing.assert_allclose(np.asarray(X), [[0.5, 0.0], [0.0, 0.0]], atol=1e-15)
    X = single_measurement(TWO_ONE, log10_alpha=-500)
    expected = math.sqrt(0.5) * 1e-250
    # log X is 575 in size, and holds 1e-13 of it.
    assert abs(float(X[1, 1]) / expected - 1) < 1e-11


def test_a_single_dense_matrix_reaches_its_limit():
    A = np.array([[2.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, -1.0]])
    U = np.array([[1.0, 0.3], [0.2, 1.0], [-0.5, 0.7]])
    problem = imf.Problem(DenseMeasurement(A[None]), [3.0])
    values, vectors = np.linalg.eigh(A)
    p = vectors[:, -1]
    expected = 3.0 / values[-1] * np.outer(p, p)
    np.testing.assert_allclose(
        np.asarray(single_measurement(problem, log10_alpha=-400, init=U)), expected, atol=1e-12
    )
    np.testing.assert_allclose(np.asarray(commuting_limit(problem, init=U)), expected, atol=1e-13)


def test_the_trace_gap_of_a_single_measurement_has_its_exponent():
    # alpha^{1 - l2/l1} with l = (2, 1): two decades of alpha are one of the gap.
    gaps = [float(jnp.trace(single_measurement(TWO_ONE, log10_alpha=e))) - 0.5 for e in (-10, -12)]
    assert abs(gaps[0] / gaps[1] - 10) < 1e-3


def test_a_negative_target_uses_the_other_end_of_the_spectrum():
    A = np.diag([2.0, 0.5, -1.0])
    X = single_measurement(imf.Problem(DenseMeasurement(A[None]), [-3.0]), log10_alpha=-300)
    np.testing.assert_allclose(np.asarray(X), np.diag([0.0, 0.0, 3.0]), atol=1e-12)


def integrate(stack, y, U0, t):
    """The factor flow by an explicit method of SciPy, which knows nothing of the closed form."""
    n = U0.shape[0]

    def velocity(_, u):
        U = u.reshape(n, -1)
        r = np.einsum("kij,ij->k", stack, U @ U.T) - y
        return -(np.tensordot(r, stack, 1) @ U).ravel()

    u = solve_ivp(velocity, (0, t), U0.ravel(), method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    U = u.reshape(n, -1)
    return U @ U.T


@pytest.fixture(scope="module")
def planted():
    return imf.problems.commuting_sensing(5, 3, key=jax.random.key(4))


@pytest.mark.parametrize("t", [0.0, 0.4, 3.0, 60.0])
def test_the_path_in_time(planted, t):
    U = np.random.default_rng(0).standard_normal((5, 2))
    X = commuting(planted, alpha=0.05, init=U, t=t)
    stack = np.asarray(planted.measurement.as_stack())
    expected = integrate(stack, np.asarray(planted.targets), np.sqrt(0.05) * U, max(t, 1e-12))
    # Both integrators work to about 1e-11.
    np.testing.assert_allclose(np.asarray(X), expected, atol=3e-9 if t else 1e-10)


def test_the_path_past_a_late_escape():
    # At t = 199 a first step of the solver overshot to x = inf, and no smaller one was accepted.
    spectra = np.zeros((1, 8))
    spectra[0, :2] = 2, 1
    problem = imf.Problem(DiagonalMeasurement(spectra), [1.0])
    X = single_measurement(problem, log10_alpha=-300, t=1.15 * 300 * math.log(10) / 4)
    np.testing.assert_allclose(np.trace(X), 0.5, rtol=1e-12)


def test_vectors_of_depth_two_follow_the_same_path(planted):
    problem = imf.Problem(DiagonalMeasurement(planted.measurement.spectra), planted.targets)
    start = np.array([1.0, 0.8, 1.2, 0.9, 1.1])
    for t in (0.7, None):
        np.testing.assert_allclose(
            imf.closed_forms.hadamard(problem, alpha=0.1, init=start, t=t),
            commuting(problem, alpha=0.1, init=np.diag(start), t=t),
            atol=1e-13,
        )


def test_the_limit_in_time_is_the_end_of_the_path(planted):
    end = commuting(planted, alpha=0.3, t=1e6)
    np.testing.assert_allclose(np.asarray(commuting(planted, alpha=0.3)), end, atol=1e-9)


def test_stationarity_at_every_alpha(planted):
    # Optimal for the entropy: log(x / alpha) is in the range of B', and B x = y.
    B, y = np.asarray(planted.measurement.spectra), np.asarray(planted.targets)
    for exponent in (2, 0, -3, -8):
        x = np.diagonal(commuting(imf.Problem(DiagonalMeasurement(B), y), log10_alpha=exponent))
        np.testing.assert_allclose(B @ x, y, rtol=1e-12)
        log = np.log(x) - exponent * math.log(10)
        fit = np.linalg.lstsq(B.T, log, rcond=None)[0]
        np.testing.assert_allclose(B.T @ fit, log, atol=1e-11)


@pytest.mark.parametrize("exponent", [-3000, -30000])
@pytest.mark.parametrize("seed", range(3))
def test_tiny_alpha_against_a_linear_program(exponent, seed):
    rng = np.random.default_rng(seed)
    # Fewer nonzeros than measurements: the degenerate case, where the dual is not unique.
    B, x = rng.standard_normal((3, 5)), np.zeros(5)
    x[:2] = rng.uniform(0.5, 1.5, 2)
    least = linprog(np.ones(5), A_eq=B, b_eq=B @ x, bounds=(0, None))
    X = commuting(imf.Problem(DiagonalMeasurement(B), B @ x), log10_alpha=exponent)
    # The gap is alpha^g, below rounding unless g < 0.006; HiGHS works to 1e-9 or so.
    np.testing.assert_allclose(np.diagonal(X), least.x, atol=1e-8)
    np.testing.assert_allclose(B @ np.diagonal(X), B @ x, rtol=1e-13)


def test_ties_go_to_the_largest_entropy():
    problem = imf.Problem(DiagonalMeasurement([[1.0, 1.0]]), [1.0])
    start = np.diag(np.sqrt([1.0, 3.0]))
    for X in (
        commuting(problem, log10_alpha=-3000, init=start),
        commuting(problem, alpha=0.1, init=start),
        commuting_limit(problem, init=start),
    ):
        np.testing.assert_allclose(np.diagonal(X), [0.25, 0.75], atol=1e-12)


def test_the_limit_agrees_with_small_alpha_off_the_diagonal():
    rng = np.random.default_rng(5)
    V = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    # Two pairs of equal spectra: ties that X~ must resolve, off the diagonal too. The last
    # measurement says nothing that the others do not.
    spectra = np.array([[2.0, 2.0, 1.0, 1.0, 0.3], [0.5, 0.5, 2.0, 2.0, 0.1], [0.0] * 5])
    spectra[2] = spectra[0] - spectra[1]
    measurement = CommutingMeasurement(V, spectra)
    problem = imf.Problem(measurement, spectra @ np.array([1.0, 0.5, 0.7, 0.0, 0.0]))
    U = rng.standard_normal((5, 3))
    np.testing.assert_allclose(
        np.asarray(commuting_limit(problem, init=U)),
        np.asarray(commuting(problem, log10_alpha=-3000, init=U)),
        atol=1e-11,
    )
    pinched = commuting_limit(problem, init=U)
    # P X~ P / tr for the first pair.
    P = V[:, :2] @ V[:, :2].T
    block = P @ U @ U.T @ P
    np.testing.assert_allclose(
        np.asarray(P @ pinched @ P), 1.5 * block / np.trace(block), atol=1e-12
    )


def test_dependent_and_redundant_measurements(planted):
    B, y = np.asarray(planted.measurement.spectra), np.asarray(planted.targets)
    mixed = np.array([[1.0, 0.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, -3.0]])
    plain = commuting(imf.Problem(DiagonalMeasurement(B), y), alpha=1e-3)
    other = commuting(imf.Problem(DiagonalMeasurement(mixed @ B), mixed @ y), alpha=1e-3)
    np.testing.assert_allclose(np.asarray(plain), np.asarray(other), atol=1e-12)
    twice = B[[0, 1, 0]] * np.array([[1.0], [1.0], [2.0]])
    double = commuting(imf.Problem(DiagonalMeasurement(twice), [y[0], y[1], 2 * y[0]]), alpha=1e-3)
    np.testing.assert_allclose(B[:2] @ np.diagonal(double), y[:2], rtol=1e-12)
    log = np.log(np.diagonal(double) / 1e-3)
    fit = np.linalg.lstsq(B[:2].T, log, rcond=None)[0]
    np.testing.assert_allclose(B[:2].T @ fit, log, atol=1e-10)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_scaled_targets_scale_the_answer(planted, scale):
    scaled = imf.Problem(planted.measurement, scale * planted.targets)
    X = commuting(scaled, alpha=scale * 1e-4)
    np.testing.assert_allclose(X / scale, commuting(planted, alpha=1e-4), atol=1e-12)


def test_one_number_and_zero_targets():
    problem = imf.Problem(EntryMeasurement([0], [0], 1), [2.0])
    assert abs(float(single_measurement(problem, alpha=1e-5)[0, 0]) - 2) < 1e-14
    zero = imf.Problem(DiagonalMeasurement([[1.0, 0.0]]), [0.0])
    # The first coordinate decays to 0; nothing measures the second, which stays where it started.
    X = np.asarray(commuting(zero, alpha=0.5))
    np.testing.assert_allclose(X, np.diag([0.0, 0.5]), atol=1e-7)
    np.testing.assert_allclose(np.asarray(commuting_limit(zero)), np.zeros((2, 2)))


@functools.partial(jax.jit, static_argnums=0)
def energy(basis_of, targets, log_alpha):
    problem = imf.Problem(basis_of(), targets)
    X = commuting(problem, log10_alpha=log_alpha)
    return jnp.sum(jnp.sin(jnp.arange(1.0, 26.0).reshape(5, 5)) * X) + jnp.sum(X**2)


def test_derivatives_against_finite_differences(planted):
    measurement = planted.measurement
    function = functools.partial(energy, lambda: measurement)
    y, exponent = planted.targets, jnp.asarray(-3.0)
    gradient, slope = jax.grad(function, (0, 1))(y, exponent)
    h = 1e-6
    for k in range(3):
        e = h * np.eye(3)[k]
        difference = (function(y + e, exponent) - function(y - e, exponent)) / (2 * h)
        assert abs(difference - gradient[k]) < 1e-7 * (1 + abs(difference))
    difference = (function(y, exponent + h) - function(y, exponent - h)) / (2 * h)
    assert abs(difference - slope) < 1e-7 * (1 + abs(difference))


def test_second_derivatives():
    def f(y):
        return single_measurement(imf.Problem(TWO_ONE.measurement, y[None]), alpha=0.1)[1, 1]

    # x2 = a z, 2 a z^2 + a z = y: dx2/dy = a / (4 x2 + a), and d2x2/dy2 = -4 a^2 / (4 x2 + a)^3.
    assert abs(float(jax.grad(f)(jnp.asarray(1.0))) - 0.1 / 0.9) < 1e-14
    second = jax.jit(jax.grad(jax.grad(f)))(jnp.asarray(1.0))
    assert abs(float(second) + 4 * 0.01 / 0.9**3) < 1e-13


def test_the_derivative_with_respect_to_the_measurement(planted):
    y, B = planted.targets, planted.measurement.spectra
    weights = np.sin(np.arange(25.0)).reshape(5, 5)
    f = jax.jit(
        lambda B: jnp.sum(weights * commuting(imf.Problem(DiagonalMeasurement(B), y), alpha=1e-2))
    )
    direction = np.cos(np.arange(15.0)).reshape(3, 5)
    slope = jax.jvp(f, (B,), (jnp.asarray(direction),))[1]
    difference = (f(B + 1e-6 * direction) - f(B - 1e-6 * direction)) / 2e-6
    assert abs(difference - slope) < 1e-7 * (1 + abs(difference))


def test_vmap_is_the_loop(planted):
    exponents = jnp.asarray([0.0, -5.0, -200.0])
    together = jax.jit(jax.vmap(lambda e: commuting(planted, log10_alpha=e)))(exponents)
    for X, exponent in zip(together, exponents, strict=True):
        np.testing.assert_allclose(X, commuting(planted, log10_alpha=exponent), atol=1e-13)


def test_float32_says_what_it_can(planted):
    B, y = np.asarray(planted.measurement.spectra), np.asarray(planted.targets)
    low = imf.Problem(DiagonalMeasurement(B.astype(np.float32)), y.astype(np.float32))
    single = commuting(low, alpha=1e-3)
    assert single.dtype == jnp.float32
    double = commuting(imf.Problem(DiagonalMeasurement(B), y), alpha=1e-3)
    np.testing.assert_allclose(single, double, atol=1e-5)
    tiny = commuting(low, log10_alpha=-3000)
    np.testing.assert_allclose(B @ np.diagonal(tiny), y, atol=3e-6)


def test_any_loss_with_a_finite_minimizer_has_the_same_limit(planted):
    for loss in (imf.losses.Huber(0.1), imf.losses.WeightedSquared([1.0, 5.0, 0.2])):
        problem = imf.Problem(planted.measurement, planted.targets, loss)
        np.testing.assert_array_equal(commuting(problem, alpha=0.1), commuting(planted, alpha=0.1))
        with pytest.raises(ValueError, match=r"Argument `t` must be None .* the loss is"):
            commuting(problem, alpha=0.1, t=1.0)
    margin = imf.Problem(DiagonalMeasurement([[1.0]]), [1.0], imf.losses.Logistic())
    with pytest.raises(ValueError, match=r"finite minimizer.*Logistic is least at infinity"):
        commuting(margin, alpha=0.1)


def test_matrices_that_do_not_commute_are_refused_with_the_size():
    stack = np.array([np.diag([1.0, 0.0]), [[0.0, 1.0], [1.0, 0.0]]])
    problem = imf.Problem(DenseMeasurement(stack), [1.0, 0.5])
    # ||[A1, A2]|| = sqrt 2, ||A1|| = 1, ||A2|| = sqrt 2.
    with pytest.raises(ValueError, match=r"numbered 0 and 1 have a commutator .* norm 1 times"):
        commuting(problem, alpha=0.1)
    with pytest.raises(ValueError, match=r"must have one measurement, but it has 2"):
        single_measurement(problem, alpha=0.1)


def test_dense_matrices_that_commute_are_diagonalized(planted):
    dense = imf.Problem(DenseMeasurement(planted.measurement.as_stack()), planted.targets)
    np.testing.assert_allclose(
        commuting(dense, alpha=1e-3), commuting(planted, alpha=1e-3), atol=1e-11
    )


@pytest.mark.parametrize("function", [lambda p: commuting(p, alpha=0.1), commuting_limit])
def test_infeasible_targets_are_refused_with_the_proof(function):
    B = np.vstack([[1.0, 2.0, 0.5, 1.0, 0.0], np.random.default_rng(0).standard_normal((2, 5))])
    y = np.array([-1.0, 3.0, 0.2])
    with pytest.raises(ValueError, match=r"<y, nu> = .* < 0 although A\*\(nu\) >= .*unbounded"):
        function(imf.Problem(DiagonalMeasurement(B), y))


def test_a_start_that_misses_a_direction_stays_out_of_it():
    problem = imf.Problem(DiagonalMeasurement([[2.0, 1.0]]), [1.0])
    only_second = np.array([[0.0], [1.0]])
    X = commuting(problem, alpha=1e-3, init=only_second)
    np.testing.assert_allclose(np.asarray(X), np.diag([0.0, 1.0]), atol=1e-14)
    np.testing.assert_allclose(
        np.asarray(commuting_limit(problem, init=only_second)), X, atol=1e-14
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither is given"),
        ({"alpha": 0.1, "log10_alpha": -1.0}, "both are given"),
        ({"alpha": 0.0}, "Argument `alpha` must be positive, but is 0.0"),
        ({"alpha": -1.0}, "Argument `alpha` must be positive, but is -1.0"),
        ({"alpha": float("nan")}, "Argument `alpha` must be finite"),
        ({"log10_alpha": float("inf")}, "Argument `log10_alpha` must be finite"),
        ({"alpha": 0.1, "t": -1.0}, "Argument `t` must be a finite time"),
        ({"alpha": 0.1, "init": np.ones((3, 1))}, r"Argument `init` must be U~ of shape"),
        ({"alpha": 0.1, "init": np.eye(2)[:, :1] * 0}, "column 0 is zero"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        commuting(TWO_ONE, **arguments)
