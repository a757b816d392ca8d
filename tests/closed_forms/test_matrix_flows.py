"""Euclidean flow and full observation, against matrix exponentials and SciPy's integrator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import implicit_flow as imf
from implicit_flow.closed_forms import full_observation, linear
from implicit_flow.measurements import DenseMeasurement, DiagonalMeasurement, EntryMeasurement


SENSING = imf.problems.gaussian_sensing(4, 2, 5, key=jax.random.key(1))


def observed(M):
    n = M.shape[0]
    rows, cols = np.divmod(np.arange(n * n), n)
    return imf.Problem(EntryMeasurement(rows, cols, n), M.ravel())


@pytest.mark.parametrize("t", [0.0, 0.1, 5.0])
@pytest.mark.parametrize("alpha", [None, 0.3])
def test_linear_in_time(t, alpha):
    S = np.asarray(SENSING.measurement.as_stack()).reshape(5, 16)
    start = np.zeros(16) if alpha is None else alpha * np.eye(4).ravel()
    # vec(X) obeys a linear equation with a constant: one exponential of a bordered matrix.
    generator = np.zeros((17, 17))
    generator[:16, :16] = -S.T @ S
    generator[:16, 16] = S.T @ np.asarray(SENSING.targets)
    expected = (expm(t * generator) @ np.append(start, 1.0))[:16].reshape(4, 4)
    X = linear(SENSING, alpha=alpha, t=t)
    np.testing.assert_allclose(np.asarray(X), expected, atol=1e-12)


def test_linear_limits():
    S = np.asarray(SENSING.measurement.as_stack()).reshape(5, 16)
    expected = (np.linalg.pinv(S) @ np.asarray(SENSING.targets)).reshape(4, 4)
    np.testing.assert_allclose(np.asarray(linear(SENSING)), expected, atol=1e-13)
    assert float(SENSING.misfit(linear(SENSING))) < 1e-14
    # Inconsistent and dependent rows: the least-squares solution of least norm.
    B = np.array([[1.0, 2.0], [2.0, 4.0], [0.0, 0.0]])
    y = np.array([1.0, 3.0, 1.0])
    x = np.diagonal(linear(imf.Problem(DiagonalMeasurement(B), y)))
    np.testing.assert_allclose(x, np.linalg.pinv(B) @ y, atol=1e-14)
    with pytest.raises(ValueError, match=r"as its loss is Huber, but the nearest X misses them"):
        linear(imf.Problem(DiagonalMeasurement(B), y, imf.losses.Huber(0.1)))
    with pytest.raises(ValueError, match=r"Argument `init` must come with its scale"):
        linear(SENSING, init=np.eye(4))


def test_an_ill_conditioned_gram_matrix():
    # Condition number 1e6, squared in the Gram matrix.
    B = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-6]])
    y = B @ np.array([1.0, 2.0])
    X = linear(imf.Problem(DiagonalMeasurement(B), y))
    np.testing.assert_allclose(np.diagonal(X), [1.0, 2.0], atol=1e-8)
    np.testing.assert_allclose(B @ np.diagonal(X), y, rtol=1e-14)


def test_linear_derivatives_and_lanes():
    f = jax.jit(lambda y: jnp.sum(linear(imf.Problem(SENSING.measurement, y), t=0.3) ** 3))
    y = SENSING.targets
    gradient = jax.grad(f)(y)
    for k in range(5):
        e = 1e-6 * np.eye(5)[k]
        difference = (f(y + e) - f(y - e)) / 2e-6
        assert abs(difference - gradient[k]) < 1e-7 * (1 + abs(difference))
    lanes = jax.vmap(lambda t: linear(SENSING, t=t))(jnp.asarray([0.1, 2.0]))
    np.testing.assert_allclose(lanes[1], linear(SENSING, t=2.0), atol=1e-14)


RNG = np.random.default_rng(3)
BASIS = np.linalg.qr(RNG.standard_normal((4, 4)))[0]
# Singular, indefinite, and (in the second) with a repeated eigenvalue.
MATRICES = [(BASIS * [2.0, 1.0, 0.0, -1.0]) @ BASIS.T, (BASIS * [1.5, 1.5, 0.0, 0.0]) @ BASIS.T]


@pytest.mark.parametrize("M", MATRICES, ids=["indefinite", "repeated"])
@pytest.mark.parametrize("d", [1, 4, 6])
def test_full_observation_in_time(M, d):
    U = np.random.default_rng(d).standard_normal((4, d))

    def velocity(_, u):
        V = u.reshape(4, d)
        return ((M - V @ V.T) @ V).ravel()

    times = [0.3, 4.0]
    path = solve_ivp(
        velocity, (0, 4.0), np.sqrt(0.1) * U.ravel(), t_eval=times,
        method="DOP853", rtol=1e-12, atol=1e-13,
    )  # fmt: skip
    for t, u in zip(times, path.y.T, strict=True):
        X = full_observation(observed(M), alpha=0.1, init=U, t=t)
        V = u.reshape(4, d)
        np.testing.assert_allclose(np.asarray(X), V @ V.T, atol=1e-10)
    np.testing.assert_allclose(
        full_observation(observed(M), alpha=0.1, init=U, t=0.0), 0.1 * U @ U.T, atol=1e-14
    )


@pytest.mark.parametrize("d", [1, 4, 6])
def test_the_limit_of_full_observation_is_the_end_of_the_path(d):
    U = np.random.default_rng(d).standard_normal((4, d))
    limit = full_observation(observed(MATRICES[0]), alpha=0.1, init=U)
    end = full_observation(observed(MATRICES[0]), log10_alpha=-300, init=U, t=1e14)
    # The zero eigenvalue decays like 1 / t.
    np.testing.assert_allclose(np.asarray(limit), np.asarray(end), atol=1e-13)
    values = sorted(np.linalg.eigvalsh(np.asarray(limit)))[::-1]
    np.testing.assert_allclose(values[:2], [2.0, 1.0 if d > 1 else 0.0], atol=1e-13)


def test_a_start_without_the_top_direction_selects_the_others():
    M = np.diag([3.0, 2.0, 1.0])
    U = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    # One-dimensional in fact, and without e1: it goes to e2.
    X = full_observation(observed(M), alpha=0.1, init=U)
    np.testing.assert_allclose(np.asarray(X), np.diag([0.0, 2.0, 0.0]), atol=1e-14)


def test_scales_out_of_range():
    # From 1e-3000, in scalars: x(t) = x0 e^{2t} / (1 + x0 (e^{2t} - 1)); at e^{2t} = 1e3000, 1/2.
    problem = observed(np.eye(1))
    t = 1500 * np.log(10.0)
    X = full_observation(problem, log10_alpha=-3000, t=t)
    # t is 3454 and holds 13 digits.
    np.testing.assert_allclose(np.asarray(X), [[0.5]], atol=1e-11)


def test_dense_orthonormal_measurements_count_too():
    stack = np.array([np.diag([1.0, 0.0]), np.diag([0.0, 1.0]), [[0.0, 1.0], [1.0, 0.0]]])
    stack[2] /= np.sqrt(2)
    M = np.array([[1.0, 0.5], [0.5, -0.2]])
    y = np.einsum("kij,ij->k", stack, M)
    dense = full_observation(imf.Problem(DenseMeasurement(2 * stack), 2 * y), alpha=0.1, t=0.25)
    # A*A = 4 I: the clock is four times as fast.
    np.testing.assert_allclose(dense, full_observation(observed(M), alpha=0.1, t=1.0), atol=1e-14)
    values, vectors = np.linalg.eigh(M)
    np.testing.assert_allclose(
        full_observation(observed(M), alpha=1.0), (vectors * values.clip(0)) @ vectors.T, atol=1e-14
    )


def test_full_observation_derivatives():
    M = MATRICES[0]
    measurement = observed(M).measurement
    weights = np.sin(np.arange(16.0)).reshape(4, 4)

    @jax.jit
    def f(y, exponent, t):
        X = full_observation(imf.Problem(measurement, y), log10_alpha=exponent, t=t)
        return jnp.sum(weights * X)

    at = jnp.asarray(M.ravel()), jnp.asarray(-1.0), jnp.asarray(1.5)
    gradients = jax.grad(f, (0, 1, 2))(*at)
    for which in range(3):
        direction = np.cos(np.arange(np.size(at[which]))).reshape(np.shape(at[which]))
        ahead = [a + 1e-6 * direction if k == which else a for k, a in enumerate(at)]
        behind = [a - 1e-6 * direction if k == which else a for k, a in enumerate(at)]
        difference = (f(*ahead) - f(*behind)) / 2e-6
        assert abs(difference - np.sum(gradients[which] * direction)) < 2e-7 * (1 + abs(difference))


def test_refusals():
    with pytest.raises(ValueError, match=r"observe all of X with equal weight"):
        full_observation(SENSING, alpha=0.1)
    # Every entry on and above the diagonal is seen, but those off it with half the weight.
    triangle = imf.Problem(EntryMeasurement([0, 0, 1], [0, 1, 1], 2), [1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match=r"observe all of X with equal weight"):
        full_observation(triangle, alpha=0.1)
    problem = observed(np.eye(2))
    huber = imf.Problem(problem.measurement, problem.targets, imf.losses.Huber(1.0))
    with pytest.raises(ValueError, match=r"Argument `problem` must have the loss"):
        full_observation(huber, alpha=0.1)
