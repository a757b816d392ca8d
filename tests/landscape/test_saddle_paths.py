"""Paths from an infinitesimal start: against exact jump times, and where they end."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import implicit_flow as imf


def test_jump_times_of_the_published_diagonal_network():
    # Worked out by hand for the loss |Xb - y|^2/(2n), times over log(1/alpha)/2.
    data = np.array([[1.0, 0.5, -0.3], [0.2, 1.0, 0.8], [-0.4, 0.3, 1.0]]) / np.sqrt(3)
    measurement = imf.measurements.DiagonalMeasurement(jnp.asarray(data))
    problem = imf.Problem(measurement, jnp.asarray(data @ np.array([1.0, -0.5, 0.8])))
    path = imf.landscape.successive_saddles(problem)
    times = [4.4776119403, 9.0504922198, 31.2776624645, 194.6792680321]
    np.testing.assert_allclose(2 * path.jump_times, times, rtol=1e-10)
    saddles = [
        (0, 0, 0),
        (0, 0.5, 0),
        (0.19811261, 0.41424976, 0),
        (0.57509527, 0, 0.3928043),
        (1, -0.5, 0.8),
    ]
    np.testing.assert_allclose(path.points, saddles, atol=1e-8)


def test_without_signs_a_negative_coordinate_never_grows():
    measurement = imf.measurements.DiagonalMeasurement(jnp.eye(2))
    problem = imf.Problem(measurement, jnp.array([2.0, -1.0]))
    path = imf.landscape.successive_saddles(problem, signed=False)
    np.testing.assert_allclose(path.points, [[0, 0], [2, 0]])
    # u^2 grows at the rate 2 y_1 from alpha: log(1/alpha) / (2 y_1).
    np.testing.assert_allclose(path.jump_times, [0.25])


@pytest.mark.parametrize("depth", [2, 3])
def test_completion_whose_greedy_end_is_not_the_least_trace(depth):
    R = 2.0
    measurement = imf.measurements.EntryMeasurement(
        jnp.array([0, 0, 1]), jnp.array([2, 3, 2]), dim=4
    )
    problem = imf.Problem(measurement, jnp.array([1.0, R, R]))
    path = imf.landscape.greedy_low_rank(problem, depth=depth)
    u = np.array([1.0, R, 1.0, R])
    # It is at rest at rank one, with trace 2 + 2 R^2 where 4 R would do.
    assert path.ranks.tolist() == [0, 1]
    np.testing.assert_allclose(path.points[-1], np.outer(u, u), atol=1e-7)
    assert path.residual < 1e-8


@pytest.mark.parametrize("depth", [2, 3])
def test_full_observation_visits_the_truncated_eigendecompositions(depth):
    values = np.array([3.0, 2.0, 0.5, -1.0])
    Q = scipy.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    rows, cols = np.indices((4, 4)).reshape(2, -1)
    measurement = imf.measurements.EntryMeasurement(jnp.asarray(rows), jnp.asarray(cols), dim=4)
    M = (Q * values) @ Q.T
    path = imf.landscape.greedy_low_rank(
        imf.Problem(measurement, jnp.asarray(M[rows, cols])), depth=depth
    )
    for rank, point in enumerate(path.points):
        expected = (Q[:, :rank] * values[:rank]) @ Q[:, :rank].T
        np.testing.assert_allclose(point, expected, atol=1e-7)
    # A negative direction never grows: at the end the range of X has the top rate, 0.
    assert path.ranks.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(path.growth_rates, [3, 2, 0.5, 0], atol=1e-7)
    overlaps = np.abs(np.sum(path.directions[:3] * Q[:, :3].T, axis=1))
    np.testing.assert_allclose(overlaps, 1, atol=1e-7)
    if depth == 2:
        # Eigenvalues grow on their own here: e^(2 lambda t) alpha reaches size one.
        np.testing.assert_allclose(path.jump_times, 1 / (2 * values[:3]), rtol=1e-7)
    else:
        assert np.all(np.isnan(path.jump_times))


def test_bad_input():
    problem = imf.Problem(imf.measurements.DiagonalMeasurement(jnp.eye(2)), jnp.array([2.0, -1.0]))
    with pytest.raises(ValueError, match="`max_jumps` must be enough"):
        imf.landscape.successive_saddles(problem, max_jumps=1)
    with pytest.raises(ValueError, match="`depth` must be at least 2"):
        imf.landscape.greedy_low_rank(problem, depth=1)
