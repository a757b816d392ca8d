"""Norms of matrices against exact values, and their factors and duals against their promises."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.linalg import hadamard
from scipy.optimize import minimize

from implicit_flow.convex import max_norm, trace_norm, weighted_trace_norm


RNG = np.random.default_rng(3)


def is_true(W, found, value, tolerance=1e-8):
    """The value is met, and what the norm says about itself is so."""
    W = np.asarray(W, float)
    assert abs(found.value - value) <= tolerance * value
    # What it says is a bound is one, in spite of rounding: the reference carries its own.
    assert found.lower_bound <= value * (1 + 1e-14)
    assert found.value >= value * (1 - 1e-14)
    assert 0 <= found.gap < 1e-6
    np.testing.assert_allclose(found.U @ found.V.T, W, atol=1e-11 * np.max(np.abs(W)))
    weights = np.sqrt(np.outer(found.row_weights, found.column_weights))
    assert np.linalg.norm(found.dual / weights, 2) <= 1 + 1e-14
    assert abs(np.sum(W * found.dual) - found.lower_bound) <= 1e-12 * value


def rank_one():
    return np.outer([1.0, -3.0], [2.0, 0.5, 1.0])


def psd():
    L = RNG.standard_normal((6, 3))
    return L @ L.T


# Exact: a positive semidefinite matrix has its largest entry on the diagonal, an orthogonal one has
# max|W_ij| <= 1 = trace norm / n, and a product of vectors has that of its factors.
EXACT = {
    "identity": (np.eye(4), 1.0),
    "all ones": (np.ones((3, 5)), 1.0),
    "root two": (np.array([[1.0, 1.0], [1.0, -1.0]]), np.sqrt(2)),
    "hadamard": (hadamard(8).astype(float), np.sqrt(8)),
    "rank one": (rank_one(), 6.0),
    "psd": ((P := psd()), float(np.max(np.diag(P)))),
    "orthogonal": (np.linalg.qr(RNG.standard_normal((5, 5)))[0], 1.0),
    "tiny": (1e-200 * np.eye(2), 1e-200),
    "huge": (1e150 * np.ones((2, 2)), 1e150),
    "one by one": (np.array([[-2.0]]), 2.0),
    "a row": (np.array([[1.0, -4.0, 2.0]]), 4.0),
    "an empty row": (np.array([[1.0, 1.0], [1.0, -1.0], [0.0, 0.0]]), np.sqrt(2)),
}


@pytest.mark.parametrize("name", EXACT)
def test_max_norm(name):
    W, value = EXACT[name]
    found = max_norm(W)
    is_true(W, found, value)
    assert np.max(np.linalg.norm(found.U, axis=1)) <= np.sqrt(found.value) * (1 + 1e-9)
    assert np.max(np.linalg.norm(found.V, axis=1)) <= np.sqrt(found.value) * (1 + 1e-9)


@pytest.mark.parametrize("name", EXACT)
def test_trace_norms_are_sums_of_singular_values(name):
    W, _ = EXACT[name]
    is_true(W, trace_norm(W), np.linalg.svd(W, compute_uv=False).sum())
    p, q = (RNG.uniform(0.2, 1.0, size) for size in W.shape)
    scaled = np.sqrt(p)[:, None] * W * np.sqrt(q)
    found = weighted_trace_norm(W, p, q)
    is_true(W, found, np.linalg.svd(scaled, compute_uv=False).sum())
    left, right = (np.sum(w * np.sum(f**2, 1)) for w, f in ((p, found.U), (q, found.V)))
    product = np.sqrt(left) * np.sqrt(right)
    assert abs(product - found.value) <= 1e-8 * found.value


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 6))
def test_the_max_norm_is_the_largest_weighted_trace_norm(seed, p, q):
    """A maximum over weights, by other means: every weight is below, and the dual's attains it."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((p, q)) * rng.choice([1.0, 1e-3], (p, 1))
    found = max_norm(W)

    def below(x):
        a, b = np.exp(x[:p] - np.max(x[:p])), np.exp(x[p:] - np.max(x[p:]))
        scaled = np.sqrt(a / a.sum())[:, None] * W * np.sqrt(b / b.sum())
        return np.linalg.svd(scaled, compute_uv=False).sum()

    for _ in range(20):
        assert below(2 * rng.standard_normal(p + q)) <= found.value
    scaled = np.sqrt(found.row_weights)[:, None] * W * np.sqrt(found.column_weights)
    attained = np.linalg.svd(scaled, compute_uv=False).sum()
    # Weights are normalized jointly to sum 1 each.
    assert found.lower_bound <= attained * (1 + 1e-13)
    assert attained <= found.value
    assert found.gap < 1e-5
    best = minimize(lambda x: -below(x), np.zeros(p + q), method="Powell")
    assert -best.fun <= found.value * (1 + 1e-14)


def test_zero_has_norm_zero():
    for found in (max_norm(np.zeros((2, 3))), trace_norm(np.zeros((2, 3)))):
        assert (found.value, found.lower_bound, found.gap) == (0.0, 0.0, 0.0)
        assert found.U.shape == (2, 1)
        assert found.V.shape == (3, 1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: max_norm(np.ones(3)), r"`W` must have shape \(p, q\)"),
        (lambda: max_norm(np.ones((0, 3))), "p, q >= 1"),
        (lambda: trace_norm([[1.0, np.nan]]), "`W` must be finite"),
        (lambda: max_norm([[1j]]), "`W` must be real"),
        (lambda: weighted_trace_norm(np.eye(2), [1.0], [1.0, 1.0]), "`p` must have shape"),
        (lambda: weighted_trace_norm(np.eye(2), [1.0, 0.0], [1.0, 1.0]), "`p` must be positive"),
        (lambda: jax.jit(max_norm)(np.eye(2)), "is being traced"),
    ],
)
def test_refusals(call, said):
    with pytest.raises(ValueError, match=said):
        call()
