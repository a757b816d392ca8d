"""Orthogonal matching pursuit against its theorem, NumPy, and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import implicit_flow as imf
from implicit_flow.recovery import orthogonal_matching_pursuit


def problem_of(B, y):
    return imf.Problem(imf.measurements.DiagonalMeasurement(B), y)


def by_hand(B, y, sparsity):
    support, x = [], np.zeros(B.shape[1])
    residual, lengths = y, np.linalg.norm(B, axis=0)
    for _ in range(sparsity):
        score = np.abs(B.T @ residual) / lengths
        score[support] = -1
        support.append(int(np.argmax(score)))
        x[:] = 0
        x[support] = np.linalg.lstsq(B[:, support], y, rcond=None)[0]
        residual = y - B @ x
    return x, support


def test_it_is_the_textbook_iteration():
    rng = np.random.default_rng(0)
    pursue = jax.jit(lambda B, y: orthogonal_matching_pursuit(problem_of(B, y), 4))
    for _ in range(20):
        B, y = rng.normal(size=(6, 10)), rng.normal(size=6)
        found = pursue(B, y)
        x, support = by_hand(B, y, 4)
        assert found.support.tolist() == support
        np.testing.assert_allclose(found.x, x, atol=1e-10)
        misfit = np.linalg.norm(B @ x - y) / np.linalg.norm(y)
        np.testing.assert_allclose(found.misfit, misfit, rtol=1e-9)


def test_it_agrees_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(1)
    B, y = rng.normal(size=(8, 12)), rng.normal(size=8)
    B /= np.linalg.norm(B, axis=0)
    x = linear_model.orthogonal_mp(B, y, n_nonzero_coefs=3)
    np.testing.assert_allclose(orthogonal_matching_pursuit(problem_of(B, y), 3).x, x, atol=1e-10)


def test_incoherent_columns_are_recovered():
    # The identity beside a Hadamard matrix of order 16: coherence 1/4 < 1/(2k - 1) for k = 2.
    H = np.array([[1.0]])
    for _ in range(4):
        H = np.block([[H, H], [H, -H]])
    B = np.hstack([np.eye(16), H / 4])
    pursue = jax.jit(jax.vmap(lambda y: orthogonal_matching_pursuit(problem_of(B, y), 2).x))
    rng = np.random.default_rng(2)
    truth = np.zeros((40, 32))
    for row in truth:
        row[rng.choice(32, 2, replace=False)] = rng.normal(size=2)
    np.testing.assert_allclose(pursue(jnp.asarray(truth @ B.T)), truth, atol=1e-12)


def test_more_coordinates_than_it_needs():
    rng = np.random.default_rng(3)
    B = rng.normal(size=(6, 9))
    found = orthogonal_matching_pursuit(problem_of(B, 2 * B[:, 4]), 4)
    np.testing.assert_allclose(found.x, 2 * np.eye(9)[4], atol=1e-10)
    assert sorted(set(found.support.tolist())) == sorted(found.support.tolist())


@pytest.mark.parametrize("sparsity", [0, 4, 1.5])
def test_bad_sparsity(sparsity):
    problem = problem_of(np.ones((3, 5)), np.ones(3))
    unhooked = getattr(orthogonal_matching_pursuit, "__wrapped__", orthogonal_matching_pursuit)
    with pytest.raises(ValueError, match="`sparsity` must be"):
        unhooked(problem, sparsity)


def test_matrices_are_refused():
    A = imf.measurements.DenseMeasurement(np.eye(2)[None])
    with pytest.raises(ValueError, match="diagonal measurement"):
        orthogonal_matching_pursuit(imf.Problem(A, np.ones(1)), 1)
