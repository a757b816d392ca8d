"""Exponentials and graded factors against SciPy, finite differences and 700 digits."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy.linalg import expm

from implicit_flow.linalg import (
    LOG_ZERO,
    GradedFactor,
    divided_exponential,
    propagate,
    symmetric_expm,
    taylor_expm,
)


RNG = np.random.default_rng(0)


def symmetric(n, size):
    matrix = RNG.normal(size=(n, n))
    return size * (matrix + matrix.T) / 2


@pytest.mark.parametrize("size", [1e-8, 0.3, 20.0])
def test_the_taylor_exponential_is_the_exponential(size):
    S = symmetric(5, size)
    exact = expm(S)
    # The scaled polynomial loses a few digits to squaring, like any other.
    np.testing.assert_allclose(
        taylor_expm(jnp.asarray(S)), exact, atol=1e-11 * np.linalg.norm(exact)
    )


def test_divided_differences_of_the_exponential_do_not_cancel():
    for a, b in [(0.3, 0.3), (0.3, 0.3 + 1e-9), (-2.0, 5.0), (700.0, -700.0)]:
        with mpmath.workdps(50):
            x, y = mpmath.mpf(a), mpmath.mpf(b)
            exact = float((mpmath.e**x - mpmath.e**y) / (x - y) if a != b else mpmath.e**x)
        assert divided_exponential(jnp.array(a), jnp.array(b)) == pytest.approx(exact, rel=1e-13)


def test_the_derivative_at_repeated_eigenvalues():
    direction = symmetric(3, 1.0)
    base = jnp.diag(jnp.array([0.4, 0.4, -1.0]))
    _, tangent = jax.jvp(symmetric_expm, (base,), (jnp.asarray(direction),))
    h = 1e-6
    difference = (expm(base + h * direction) - expm(base - h * direction)) / (2 * h)
    # Truncation h^2 and rounding eps / h.
    np.testing.assert_allclose(tangent, difference, atol=1e-9)


def test_a_graded_factor_keeps_every_direction_through_crossings():
    """Log singular values over hundreds of orders of magnitude, against 700 digits."""
    n, steps = 4, 12
    exponents = np.stack([symmetric(n, 12.0) for _ in range(steps)])
    begin = GradedFactor(jnp.eye(n), jnp.full((n,), -150.0), jnp.eye(n))
    state = propagate(begin, jnp.asarray(exponents), enabled=jnp.array(True))
    with mpmath.workdps(700):
        U = mpmath.eye(n) * mpmath.e ** mpmath.mpf(-150)
        for S in exponents:
            values, vectors = mpmath.eigsy(mpmath.matrix(S.tolist()))
            U = vectors * mpmath.diag([mpmath.e**v for v in values]) * vectors.T * U
        exact = sorted(float(mpmath.log(v)) / 2 for v in mpmath.eigsy(U * U.T)[0])
    assert exact[-1] - exact[0] > 100
    # det first: it is the sum of the exponents, whatever the mixing.
    assert float(state.log_determinant) == pytest.approx(2 * sum(exact), abs=1e-9)
    # The small singular values come from the inverse, so that no digit is lost to the large ones.
    with mpmath.workdps(700):
        scales = mpmath.diag([mpmath.e ** mpmath.mpf(float(v)) for v in state.log_scale])
        middle = scales * mpmath.matrix(np.asarray(state.mixing).tolist())
        ours = sorted(float(mpmath.log(v)) / 2 for v in mpmath.eigsy(middle * middle.T)[0])
    np.testing.assert_allclose(ours, exact, atol=1e-9)


def test_directions_that_do_not_couple_may_change_their_order():
    """Exponents that pass each other by thousands overflow nothing, and zeros stay zeros."""
    begin = GradedFactor(jnp.eye(2), jnp.array([-10.0, -6000.0]), jnp.eye(2))
    state = propagate(
        begin, jnp.diag(jnp.array([-3000.0, 3000.0]))[None], enabled=jnp.array(True), limit=2000
    )
    np.testing.assert_allclose(state.log_scale, [-3010.0, -3000.0], rtol=1e-12)
    np.testing.assert_array_equal(state.mixing, jnp.eye(2))


def test_a_missing_direction_stays_missing():
    begin = GradedFactor(jnp.eye(3), jnp.array([0.0, -5.0, LOG_ZERO]), jnp.eye(3))
    state = propagate(begin, jnp.asarray(symmetric(3, 4.0))[None], enabled=jnp.array(True))
    assert jnp.all(jnp.isfinite(state.factor))
    assert np.linalg.matrix_rank(np.asarray(state.factor), tol=1e-13) == 2
