"""What `norms` says of one matrix and of one end of a descent, against NumPy alone."""

import numpy as np
from scipy.optimize import approx_fprime

from implicit_flow.experiments._norm_ball import descend_from, least_curvatures
from implicit_flow.experiments._rank_path import Ratings, row_of
from implicit_flow.experiments._row_ball import descend_rows, lower_bound, pull


P, Q, COLUMNS, RADIUS = 3, 4, 2, 0.7


def instance(seed):
    random = np.random.default_rng(seed)
    return random, random.standard_normal((P, Q)), (random.random((P, Q)) < 0.7).astype(float)


def on_ball(x, values, train):
    """The loss at the factors x, scaled to the sphere."""
    most = x.size // (P + Q)
    U, V = x[: P * most].reshape(P, most), x[P * most :].reshape(Q, most)
    return 0.5 * np.sum(train * (2 * RADIUS * U @ V.T / (x @ x) - values) ** 2)


def second_differences(function, x, step=1e-4):
    moves = step * np.eye(x.size)
    return np.array(
        [
            [
                (
                    function(x + a + b)
                    - function(x + a - b)
                    - function(x - a + b)
                    + function(x - a - b)
                )
                / (4 * step**2)
                for b in moves
            ]
            for a in moves
        ]
    )


def test_curvatures_are_those_of_second_differences():
    random, values, train = instance(0)
    most = COLUMNS + 1
    mask = np.tile(np.arange(most) < COLUMNS, P + Q)
    x = random.standard_normal(mask.size) * mask
    x /= np.linalg.norm(x)
    whole = second_differences(lambda z: on_ball(z, values, train), x)
    expected = [np.linalg.eigvalsh(part)[0] for part in (whole[np.ix_(mask, mask)], whole)]
    found = least_curvatures(x, mask, values, train, RADIUS)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected[1] < expected[0] - 1e-3


def test_an_end_is_where_the_loss_is_flat():
    random, values, train = instance(1)
    start = random.standard_normal((COLUMNS + 1) * (P + Q))
    end = descend_from(start, COLUMNS, values, train, RADIUS)
    assert 0 <= end.slope < 1e-6
    assert end.curvature > -1e-6
    # Of fewer columns, and of columns that may not move, nothing else is asked.
    assert end.escape <= end.curvature + 1e-12


def test_the_slope_of_bounded_rows():
    random, values, train = instance(2)
    start = random.standard_normal((P + Q, COLUMNS + 1))
    Z, root = start / np.linalg.norm(start, axis=1, keepdims=True), np.sqrt(RADIUS)

    def loss(flat):
        rows = root * flat.reshape(Z.shape)[:, :-1]
        return 0.5 * np.sum(train * (rows[:P] @ rows[P:].T - values) ** 2)

    R, slope = pull(Z, values, train, root)
    np.testing.assert_allclose(0.5 * np.sum(R**2), loss(Z.ravel()))
    np.testing.assert_allclose(slope.ravel(), approx_fprime(Z.ravel(), loss, 1e-7), atol=1e-5)
    end = descend_rows(start, values, train, RADIUS)
    assert 0 <= end.slope < 1e-6
    assert end.value < loss(Z.ravel())


def test_a_bound_is_below_whatever_the_rows_may_be():
    random, values, train = instance(3)
    R, c = train * random.standard_normal((P, Q)), random.random(P + Q)
    bound = lower_bound(R, c, values, RADIUS)
    for _ in range(200):
        rows = random.standard_normal((P + Q, P + Q))
        rows *= np.sqrt(RADIUS) / np.linalg.norm(rows, axis=1, keepdims=True)
        assert 0.5 * np.sum((train * (rows[:P] @ rows[P:].T - values)) ** 2) >= bound


def test_what_is_said_of_a_matrix():
    random, values, train = instance(4)
    ratings, penalty = Ratings(values, train, 1 - train), 0.3
    W = random.standard_normal((P, 2)) @ random.standard_normal((2, Q))
    row = row_of(W, ratings, penalty)
    known, unknown = train > 0, train == 0
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(W @ W.T), 0))
    assert row["rank"] == 2
    np.testing.assert_allclose(row["trace_norm"], singular.sum(), rtol=1e-6)
    np.testing.assert_allclose(row["test_error"] ** 2, np.mean((W - values)[unknown] ** 2))
    np.testing.assert_allclose(row["train_error"] ** 2, np.mean((W - values)[known] ** 2))
    np.testing.assert_allclose(row["squares"].sum(), np.sum((W - values)[unknown] ** 2))
    losses = []
    for size in np.geomspace(1e-3, 3, 300):
        other = size * random.standard_normal((P, Q))
        misfit = 0.5 * np.sum((other - values)[known] ** 2)
        losses.append(misfit + penalty * np.linalg.svd(other, compute_uv=False).sum())
    assert row["lower_bound"] <= min(*losses, row["objective"])
    exact = 0.5 * np.sum((W - values)[known] ** 2) + penalty * singular.sum()
    np.testing.assert_allclose(row["objective"], exact, rtol=1e-6)
