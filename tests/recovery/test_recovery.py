"""Recovery: starts and searches against exact facts."""

import itertools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from implicit_flow import Problem
from implicit_flow.measurements import DenseMeasurement, EntryMeasurement
from implicit_flow.problems import gaussian_sensing, matrix_completion
from implicit_flow.recovery import (
    alternating_minimization,
    gradient_descent,
    isometry,
    random_start,
    spectral_start,
)


def everything(n, truth):
    """All entries on and above the diagonal of a matrix."""
    rows, cols = np.triu_indices(n)
    return Problem(EntryMeasurement(rows, cols, n), truth[rows, cols])


def error(found, problem):
    return float(jnp.linalg.norm(found.X - problem.ground_truth))


def test_the_spectral_start_is_the_truncation_of_what_is_fully_observed(key):
    """Eckart and Young: the best approximation of rank r, the signs of eigenvalues included."""
    Q = np.linalg.qr(np.asarray(jax.random.normal(key, (5, 5))))[0]
    values = np.array([3.0, 2.0, 1.0, 0.1, -4.0])
    U = spectral_start(everything(5, Q @ np.diag(values) @ Q.T), 2)
    wanted = Q[:, :2] @ np.diag(values[:2]) @ Q[:, :2].T
    # Seen as a multiple of itself: c is 1 on the diagonal blocks, and off them the rest is
    # orthogonal to the truncation only if every entry counts as often as in the Frobenius norm.
    direction = np.asarray(U @ U.T) / np.linalg.norm(U @ U.T)
    np.testing.assert_allclose(direction, wanted / np.linalg.norm(wanted), atol=1e-12)


def test_a_negative_matrix_has_no_spectral_start():
    U = spectral_start(everything(3, -np.eye(3)), 2)
    np.testing.assert_array_equal(U, np.zeros((3, 2)))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_starts_scale_with_the_targets(key, scale):
    problem = gaussian_sensing(4, 1, 8, key=key)
    scaled = Problem(problem.measurement, scale * problem.targets)
    for start in (spectral_start, lambda p, r: random_start(p, r, key=key)):
        np.testing.assert_allclose(start(scaled, 1), np.sqrt(scale) * start(problem, 1), rtol=1e-10)


@pytest.mark.parametrize("generate", [gaussian_sensing, matrix_completion])
def test_all_measurements_recover_by_every_method(key, generate):
    """With n (n + 1) / 2 independent measurements only the planted matrix fits."""
    problem = generate(4, 2, 10, key=key)
    start = spectral_start(problem, 2)
    other = random_start(problem, 2, key=key)
    for found in (
        gradient_descent(problem, start, rtol=1e-8),
        gradient_descent(problem, other, rtol=1e-8),
        gradient_descent(problem, other, rtol=1e-8, noise=0.05, key=key),
        alternating_minimization(problem, start, rtol=1e-8),
    ):
        assert float(found.misfit) <= 1.01e-8
        # The condition of the measurements on this instance is below 100.
        assert error(found, problem) < 1e-6


def test_noise_leaves_a_saddle_where_plain_descent_stays(key):
    """Full observation of diag(2, 1): from (0, 1) plain descent never sees the first coordinate."""
    problem = everything(2, np.diag([2.0, 0.0]) + np.diag([0.0, 1.0]))
    at_saddle = jnp.array([[0.0], [1.0]])
    plain = gradient_descent(problem, at_saddle, rtol=1e-12, num_steps=500)
    noisy = gradient_descent(problem, at_saddle, rtol=1e-12, num_steps=500, noise=0.1, key=key)
    np.testing.assert_allclose(plain.X, np.diag([0.0, 1.0]), atol=1e-9)
    # The best approximation of rank one is diag(2, 0), within the noise that the misfit of the
    # rest keeps alive.
    assert float(noisy.X[0, 0]) > 1.5


def test_batched_is_one_by_one(key):
    keys = jax.random.split(key, 3)

    def solve(one):
        problem = gaussian_sensing(3, 1, 6, key=one)
        start = spectral_start(problem, 1)
        return gradient_descent(problem, start).X, alternating_minimization(problem, start).X

    together = jax.vmap(solve)(keys)
    alone = [solve(one) for one in keys]
    for method in (0, 1):
        for lane in range(3):
            # Both stop at a misfit of 1e-6.
            np.testing.assert_allclose(together[method][lane], alone[lane][method], atol=1e-5)


def test_single_precision():
    with jax.enable_x64(False):
        problem = gaussian_sensing(3, 1, 6, key=jax.random.key(0))
        found = gradient_descent(problem, spectral_start(problem, 1), rtol=1e-4)
        assert found.X.dtype == jnp.float32
        assert float(found.misfit) <= 1.1e-4
        low = isometry(problem.measurement, 2, key=jax.random.key(1))
        assert low.lower.dtype == jnp.float32
        assert float(low.lower) <= float(low.upper)


def family(d):
    """2 x 2 matrices measured with q = 1 + d twice and 1 - d once: delta_1 = delta_2 = d."""
    return DenseMeasurement(
        np.stack(
            [
                np.sqrt((1 + d) / 2) * np.eye(2),
                np.sqrt((1 - d) / 2) * np.diag([1.0, -1.0]),
                np.sqrt((1 + d) / 2) * np.array([[0.0, 1.0], [1.0, 0.0]]),
            ]
        )
    )


@pytest.mark.parametrize("d", [0.0, 0.3, 0.5, 0.9])
def test_the_isometry_constant_of_the_exact_family(key, d):
    found = isometry(family(d), 2, key=key, scale=1.0)
    assert float(found.lower) <= d + 1e-15
    assert float(found.upper) >= d
    # Power steps converge like the ratio of two eigenvalues: 300 steps are enough here.
    np.testing.assert_allclose([found.lower, found.upper], d, atol=1e-10)


def test_the_isometry_constant_of_rank_one_by_enumeration(key):
    """Rank one in the plane: X = v v' with v on a circle; a fine grid knows the extremes."""
    measurement = gaussian_sensing(2, 1, 4, key=key).measurement
    angles = np.linspace(0, np.pi, 20001)
    vectors = np.stack([np.cos(angles), np.sin(angles)])
    stack = np.asarray(measurement.as_stack())
    seen = np.einsum("kij,ia,ja->ka", stack, vectors, vectors)
    q = np.mean(seen**2, axis=0)
    wanted = max(q.max() - 1, 1 - q.min())
    found = isometry(measurement, 1, key=key)
    assert float(found.lower) <= wanted + 1e-7
    # The grid misses an extreme by at most the square of its step.
    assert float(found.lower) >= wanted - 1e-6
    assert float(found.upper) >= wanted


def test_bounds_hold_with_their_witnesses(key):
    measurement = gaussian_sensing(5, 1, 12, key=key).measurement
    stack = np.asarray(measurement.as_stack())
    lows = []
    for rank in (1, 2, 5):
        found = isometry(measurement, rank, key=key)
        for X, q in ((found.X_smallest, found.smallest), (found.X_largest, found.largest)):
            X = np.asarray(X)
            assert np.linalg.matrix_rank(X, tol=1e-9) <= rank
            assert np.isclose(np.linalg.norm(X), 1)
            assert np.isclose(np.mean(np.einsum("kij,ij->k", stack, X) ** 2), q, rtol=1e-9)
        lows.append(float(found.lower))
        assert float(found.scaled_lower) <= 1
    # More matrices, larger constants; and none above the bound on all of them.
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(lows))
    assert lows[-1] <= float(found.upper)
    np.testing.assert_allclose(lows[-1], found.upper, rtol=1e-3)


def test_refusals(key):
    problem = gaussian_sensing(3, 1, 4, key=key)
    with pytest.raises(ValueError, match="at most dim = 3, but is 4"):
        spectral_start(problem, 4)
    with pytest.raises(ValueError, match="at least 1, but is 0"):
        random_start(problem, 0, key=key)
    with pytest.raises(ValueError, match="`start` must have shape"):
        gradient_descent(problem, jnp.ones((4, 1)))
    with pytest.raises(ValueError, match="`start` must have shape"):
        alternating_minimization(problem, jnp.ones((4, 1)))
    with pytest.raises(ValueError, match="`key` must be given"):
        gradient_descent(problem, jnp.ones((3, 1)), noise=0.1)
    with pytest.raises(ValueError, match="at most dim = 3, but is 6"):
        isometry(problem.measurement, 6, key=key)
    # While tests run the types are checked first.
    with pytest.raises((ValueError, TypeError), match="AbstractMeasurement"):
        isometry(problem, 1, key=key)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_an_isometry_constant_needs_a_positive_scale(key, scale):
    problem = gaussian_sensing(3, 1, 4, key=key)
    with pytest.raises(ValueError, match=r"`scale` must be (positive|finite)"):
        isometry(problem.measurement, 1, key=key, scale=scale)


def test_an_isometry_constant_needs_a_measurement_of_something(key):
    with pytest.raises(ValueError, match="`measurement` must measure something, but is zero"):
        isometry(DenseMeasurement(np.zeros((2, 3, 3))), 1, key=key)


@pytest.fixture
def as_users_run_it():
    """Without the annotations, which would refuse a seed first while the tests run."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("as_users_run_it")
def test_a_seed_is_no_key(key):
    problem = gaussian_sensing(3, 1, 4, key=key)
    start = random_start(problem, 1, key=key)
    for draw in (
        lambda wrong: gaussian_sensing(3, 1, 4, key=wrong),
        lambda wrong: random_start(problem, 1, key=wrong),
        lambda wrong: isometry(problem.measurement, 1, key=wrong),
        lambda wrong: gradient_descent(problem, start, noise=0.1, key=wrong),
    ):
        said = r"`key` must be one JAX random key, but is 3\. Make one with `jax.random.key"
        with pytest.raises(ValueError, match=said):
            draw(3)
