"""Singular values of graded factors, against mpmath."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from implicit_flow.linalg import LOG_ZERO, GradedFactor, log_singular_values


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
