"""Vectors as powers, against quadrature-free optimality conditions and known limits."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import implicit_flow as imf
from implicit_flow.closed_forms import hadamard, signed_hadamard
from implicit_flow.measurements import DenseMeasurement, DiagonalMeasurement


B = np.array([[2.0, 1.0, 0.5, -0.3], [0.4, -1.0, 1.5, 0.8]])
PROBLEM = imf.Problem(DiagonalMeasurement(B), B @ np.array([0.7, 0.2, 0.0, 1.1]))
SIGNED = imf.Problem(DiagonalMeasurement(B), B @ np.array([-0.7, 0.2, 0.0, -1.1]))


def flow(depth, alpha, init, y, *, signed):
    """The flow itself by SciPy, for a long time."""

    def velocity(_, w):
        u, v = np.split(w, 2)
        x = u**depth - v**depth if signed else u**depth
        g = B.T @ (B @ x - y)
        return np.concatenate([-g * u ** (depth - 1), g * v ** (depth - 1) * signed])

    start = alpha ** (1 / depth) * init
    w = solve_ivp(velocity, (0, 4e3), np.tile(start, 2), method="LSODA", rtol=1e-11, atol=1e-13).y[
        :, -1
    ]
    u, v = np.split(w, 2)
    return u**depth - v**depth if signed else u**depth


@pytest.mark.parametrize("depth", [2, 3, 7])
@pytest.mark.parametrize("signed", [False, True])
def test_against_the_flow(depth, signed):
    init = np.array([1.0, 0.8, 1.2, 0.9])
    problem, closed = (SIGNED, signed_hadamard) if signed else (PROBLEM, hadamard)
    X = closed(problem, depth=depth, alpha=0.05, init=init)
    expected = flow(depth, 0.05, init, np.asarray(problem.targets), signed=signed)
    # LSODA drifts off the manifold by its tolerance times the number of steps.
    np.testing.assert_allclose(np.diagonal(X), expected, atol=2e-8)


@pytest.mark.parametrize("depth", [3, 10])
@pytest.mark.parametrize("exponent", [-12, -300, -3000])
def test_the_constant_of_the_deep_gap(depth, exponent):
    # A = diag(2, 1), y = 1: x2 / alpha -> 2^{1/p}, p = 1 - 2/N, with an error of order alpha^p.
    problem = imf.Problem(DiagonalMeasurement([[2.0, 1.0]]), [1.0])
    x = np.diagonal(hadamard(problem, depth=depth, log10_alpha=exponent))
    assert abs(x[0] - 0.5) < 1e-11
    p = 1 - 2 / depth
    if exponent == -3000:
        assert x[1] == 0  # as it must round
    else:
        ratio = x[1] * 10.0 ** (-exponent)
        assert abs(ratio / 2 ** (1 / p) - 1) < 30 * 10.0 ** (exponent * p) + 1e-11


@pytest.mark.parametrize("depth", [3, 7])
def test_optimality_of_deep_powers(depth):
    # u^{-(N-2)} - u0^{-(N-2)} is in the range of B'.
    init = np.array([1.0, 0.8, 1.2, 0.9])
    x = np.diagonal(hadamard(PROBLEM, depth=depth, alpha=0.3, init=init))
    u0 = 0.3 ** (1 / depth) * init
    difference = x ** (-(depth - 2) / depth) - u0 ** (-(depth - 2))
    fit = np.linalg.lstsq(B.T, difference, rcond=None)[0]
    np.testing.assert_allclose(B.T @ fit, difference, atol=1e-10)
    np.testing.assert_allclose(B @ x, PROBLEM.targets, rtol=1e-13)


def test_the_hypentropy():
    x = np.diagonal(signed_hadamard(SIGNED, alpha=0.02))
    nu = np.linalg.lstsq(B.T, np.arcsinh(x / 0.04), rcond=None)[0]
    np.testing.assert_allclose(2 * 0.02 * np.sinh(B.T @ nu), x, atol=1e-12)
    np.testing.assert_allclose(B @ x, SIGNED.targets, rtol=1e-13)


@pytest.mark.parametrize("depth", [2, 3])
def test_the_kernel_and_the_rich_limit(depth):
    y = np.asarray(SIGNED.targets)
    kernel = np.diagonal(signed_hadamard(SIGNED, depth=depth, alpha=1e8))
    # Off the least-squares solution by (x / alpha)^2, and x = u^N - v^N loses log10(1e8) digits.
    np.testing.assert_allclose(kernel, np.linalg.pinv(B) @ y, atol=1e-13 if depth == 2 else 1e-6)
    rich = np.diagonal(signed_hadamard(SIGNED, depth=depth, log10_alpha=-200))
    # Brute force: the least l1 norm is attained on two coordinates.
    best = np.inf
    for i in range(4):
        for j in range(i):
            z = np.linalg.solve(B[:, [i, j]], y)
            best = min(best, float(np.sum(np.abs(z))))
    assert abs(np.sum(np.abs(rich)) - best) < 1e-12


def test_derivatives_against_finite_differences():
    depth = 3
    measurement = PROBLEM.measurement

    @jax.jit
    def f(y, exponent, init):
        problem = imf.Problem(measurement, y)
        x = jnp.diagonal(hadamard(problem, depth=depth, log10_alpha=exponent, init=init))
        return jnp.sum(jnp.asarray([1.0, -2.0, 3.0, 0.5]) * x)

    at = PROBLEM.targets, jnp.asarray(-2.0), jnp.asarray([1.0, 0.8, 1.2, 0.9])
    gradients = jax.grad(f, (0, 1, 2))(*at)
    for which in range(3):
        direction = np.sin(1.0 + np.arange(np.size(at[which]))).reshape(np.shape(at[which]))
        ahead = [a + 1e-6 * direction if k == which else a for k, a in enumerate(at)]
        behind = [a - 1e-6 * direction if k == which else a for k, a in enumerate(at)]
        difference = (f(*ahead) - f(*behind)) / 2e-6
        assert abs(difference - np.sum(gradients[which] * direction)) < 1e-7 * (1 + abs(difference))


def test_float32():
    problem = imf.Problem(
        DiagonalMeasurement(B.astype(np.float32)), np.asarray(PROBLEM.targets, np.float32)
    )
    single = hadamard(problem, depth=3, alpha=1e-3)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, hadamard(PROBLEM, depth=3, alpha=1e-3), atol=3e-6)


def test_refusals():
    with pytest.raises(ValueError, match=r"Argument `depth` must be at least 2, but is 1"):
        hadamard(PROBLEM, depth=1, alpha=0.1)
    with pytest.raises(ValueError, match=r"Argument `t` must be None for a depth above 2"):
        hadamard(PROBLEM, depth=3, alpha=0.1, t=1.0)
    with pytest.raises(ValueError, match=r"Argument `init` must be positive"):
        hadamard(PROBLEM, alpha=0.1, init=np.array([1.0, 0.0, 1.0, 1.0]))
    dense = imf.Problem(DenseMeasurement(np.eye(2)[None]), [1.0])
    with pytest.raises(ValueError, match=r"must be an instance of DiagonalMeasurement"):
        signed_hadamard(dense, alpha=0.1)
    negative = imf.Problem(DiagonalMeasurement(np.vstack([np.ones(4), B[1]])), [-1.0, 0.3])
    for depth in (2, 3):
        with pytest.raises(ValueError, match="the dual is unbounded"):
            hadamard(negative, depth=depth, alpha=0.1)
    x = np.diagonal(signed_hadamard(negative, alpha=0.1))
    assert math.isclose(float(np.sum(x)), -1.0, rel_tol=1e-14)
