"""Singular values of graded factors, against mpmath."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from implicit_flow.linalg import (
    LOG_ZERO,
    GradedFactor,
    log_row_lengths,
    log_singular_values,
    row_lengths,
)


@pytest.mark.parametrize(("size", "width"), [(3, 300.0), (4, 0.5), (5, 3000.0)])
def test_each_to_full_relative_precision(size, width):
    rng = np.random.default_rng(size)
    log_scale = rng.uniform(-width, 0, size)
    mixing = np.triu(1.5 * rng.normal(size=(size, size)), 1) + np.eye(size)
    found = jax.jit(log_singular_values)(
        GradedFactor(jnp.eye(size), jnp.asarray(log_scale), jnp.asarray(mixing))
    )
    with mpmath.workdps(int(3 * width) + 60):
        scales = mpmath.diag([mpmath.exp(mpmath.mpf(float(v))) for v in log_scale])
        product = scales * mpmath.matrix(mixing.tolist())
        values = mpmath.eigsy(product * product.T, eigvals_only=True)
        exact = sorted(float(mpmath.log(v)) / 2 for v in values)
    # A logarithm of size L carries eps * L; a unit triangular factor this small adds little.
    np.testing.assert_allclose(found, exact, rtol=1e-14, atol=1e-14)


def test_absent_directions_have_no_logarithm():
    state = GradedFactor(jnp.eye(3), jnp.array([0.0, -5.0, LOG_ZERO]), jnp.eye(3))
    np.testing.assert_array_equal(log_singular_values(state), [-np.inf, -5.0, 0.0])


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("width", [1.0, 40.0, 300.0])
def test_more_rows_than_columns(size, width):
    rng = np.random.default_rng(size)
    log_scale, rows = rng.uniform(-width, 0, size), rng.normal(size=(size, 2))
    state = GradedFactor(jnp.eye(size), jnp.asarray(log_scale), jnp.asarray(rows))
    with mpmath.workdps(int(3 * width) + 60):
        scales = mpmath.diag([mpmath.exp(mpmath.mpf(float(v))) for v in log_scale])
        product = scales * mpmath.matrix(rows.tolist())
        values = mpmath.eigsy(product.T * product, eigvals_only=True)
        exact = sorted(float(mpmath.log(v)) / 2 for v in values)
    found = log_singular_values(state)
    np.testing.assert_array_equal(found[:-2], -np.inf)
    np.testing.assert_allclose(found[-2:], exact, rtol=1e-13, atol=1e-13)


def test_lengths_of_rows_beyond_the_range_of_floats():
    log_scale = jnp.array([0.0, -900.0, LOG_ZERO])
    turned = jnp.array([[0.6, 0.8, 0.0], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
    mixed = log_row_lengths(GradedFactor(turned, log_scale, jnp.eye(3)))
    np.testing.assert_allclose(mixed, [np.log(0.6), np.log(0.8), LOG_ZERO], rtol=1e-15)
    apart = log_row_lengths(GradedFactor(-jnp.eye(3)[::-1], log_scale, jnp.eye(3)))
    np.testing.assert_array_equal(apart, [LOG_ZERO, -900.0, 0.0])


def test_lengths_of_rows_and_their_derivative():
    rows = jnp.array([[3e-200, 4e-200], [0.0, 0.0], [-5.0, 0.0]])
    np.testing.assert_allclose(row_lengths(rows), [5e-200, 0.0, 5.0], rtol=1e-15)
    gradient = jax.grad(lambda x: jnp.sum(row_lengths(x)))(rows)
    np.testing.assert_allclose(gradient, [[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]], rtol=1e-15)
