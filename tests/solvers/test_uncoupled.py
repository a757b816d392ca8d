"""Data that rounding alone couples, and what they are without."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import implicit_flow as imf
from implicit_flow._congruence_term import congruence_term
from implicit_flow._uncoupled import exact_components, uncoupled
from implicit_flow.solvers import ResidualRadau
from implicit_flow.solvers._start import start


Dense, RankOne = imf.measurements.DenseMeasurement, imf.measurements.RankOneMeasurement
Q = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]


def _turned(stack):
    stack = np.einsum("ij,mjk,lk->mil", Q, stack, Q)
    return (stack + stack.transpose(0, 2, 1)) / 2


def _blocks():
    G = np.random.default_rng(1).normal(size=(3, 4, 4))
    G[:, :2, 2:] = G[:, 2:, :2] = 0
    return G + G.transpose(0, 2, 1)


def _diagonal():
    return np.eye(4) * np.random.default_rng(2).normal(size=(3, 4))[:, None, :]


def _completion():
    return imf.problems.matrix_completion(4, 1, 6, key=jax.random.key(0))


def _found(measurement, frame=None):
    problem = imf.Problem(measurement, np.ones(measurement.num_measurements))
    frame = jnp.eye(4) if frame is None else frame
    return uncoupled(problem, frame, exact_components(measurement))


@pytest.mark.parametrize(
    ("measurement", "size"),
    [
        # A component each; two of two; the span of each vector, and what is left.
        (Dense(_turned(_diagonal())), 1),
        (Dense(_turned(_blocks())), 2),
        (Dense(1e150 * _turned(_blocks())), 2),
        (RankOne(Q[:, :3].T * np.array([[1.0], [0.3], [2.0]])), 1),
    ],
)
def test_what_only_rounding_couples_is_found(measurement, size):
    found = _found(measurement)
    assert found is not None
    assert found.differs
    term, frame = found.data()
    weights = jnp.asarray(np.random.default_rng(3).normal(size=3))
    turned, given = term.adjoint(weights), measurement.adjoint(weights)
    scale = float(jnp.abs(given).max())
    np.testing.assert_allclose(found.basis @ turned @ found.basis.T, given, atol=1e-13 * scale)
    # Each place is coupled, exactly, to those of its component alone; and X0 is the identity.
    assert np.all(np.count_nonzero(turned, axis=1) <= size)
    np.testing.assert_allclose(frame, np.eye(4), atol=1e-14)
    assert not np.any(np.asarray(frame)[np.asarray(turned) == 0] * (1 - np.eye(4))[turned == 0])


@pytest.mark.parametrize(
    "measurement",
    [
        Dense(_diagonal()),
        Dense(_blocks()),
        imf.problems.gaussian_sensing(4, 1, 3, key=jax.random.key(0)).measurement,
        imf.problems.phase_retrieval(4, 3, key=jax.random.key(0)).measurement,
        Dense(_completion().measurement.as_stack()),
        Dense(np.zeros((2, 4, 4))),
    ],
)
def test_what_is_coupled_or_is_not_at_all_is_left(measurement):
    found = _found(measurement)
    assert found is not None
    assert not found.differs


def test_a_start_that_couples_stays():
    rng = np.random.default_rng(4)
    measurement = Dense(_turned(_blocks()))
    for frame in (rng.normal(size=(4, 4)), rng.normal(size=(4, 2))):
        found = _found(measurement, jnp.asarray(frame))
        assert found is not None
        turned = found.basis @ found.data()[1]
        np.testing.assert_allclose(turned @ turned.T, frame @ frame.T, atol=1e-13)


def test_one_measurement_or_one_row_is_never_coupled():
    assert _found(Dense(_turned(_blocks())[:1])) is None
    assert _found(imf.measurements.EntryMeasurement([0, 1], [1, 2], 4)) is None


@pytest.fixture(scope="module")
def solve():
    return lambda problem, init, log10_alpha: imf.simulate(
        problem, init=init, log10_alpha=log10_alpha, throw=False
    )


def _two_completions(seed):
    """Two 3 x 3 completions without a row in common: as one of n = 6, and each with its rows."""
    rng = np.random.default_rng(seed)
    pairs = np.array([(i, j) for i in range(3) for j in range(i, 3)])
    alone, rows, columns, targets = [], [], [], []
    chosen = []
    for block in range(2):
        u = rng.normal(size=(3, 1))
        X = u @ u.T * (1.0 if block == 0 else 10 ** rng.uniform(-4, 0))
        i, j = pairs[rng.permutation(6)[:4]].T
        chosen.append((i, j, X[i, j]))
    places = rng.permutation(6).reshape(2, 3)
    for place, (i, j, y) in zip(places, chosen, strict=True):
        alone.append((imf.Problem(imf.measurements.EntryMeasurement(i, j, 3), y), place))
        rows.extend(place[i])
        columns.extend(place[j])
        targets.extend(y)
    whole = imf.measurements.EntryMeasurement(rows, columns, 6)
    return imf.Problem(whole, np.array(targets)), alone, rng


@pytest.mark.parametrize(
    ("seed", "columns", "log10_alpha"),
    [(4, 0, -100.0), (11, 0, -100.0), (12, 0, -300.0), (0, 6, -100.0), (2, 6, -300.0)],
)
def test_components_of_a_graph_move_alone(solve, seed, columns, log10_alpha):
    """The rounding of a large one would decide where a small one ends, from 0.1 to 0.8 away."""
    problem, alone, rng = _two_completions(seed)
    init = rng.normal(size=(6, 6)) if columns else np.eye(6)
    sol = solve(problem, jnp.asarray(init), jnp.asarray(log10_alpha))
    assert sol.result == imf.RESULTS.successful
    apart, errors = 0.0, float(sol.error_estimate) * np.linalg.norm(sol.X)
    for part, place in alone:
        same = np.linalg.cholesky(init[place] @ init[place].T)
        one = solve(part, jnp.asarray(same), jnp.asarray(log10_alpha))
        errors += float(one.error_estimate) * np.linalg.norm(one.X)
        apart += np.linalg.norm(np.asarray(sol.X)[np.ix_(place, place)] - one.X)
    assert apart <= errors


@pytest.mark.parametrize(
    ("rows", "columns", "coupled"), [([0, 1], [1, 1], False), ([0, 2], [1, 3], True)]
)
def test_few_columns_couple_what_is_measured(rows, columns, coupled):
    """A row that nothing measures stays where it is, and carries no rounding."""
    measurement = imf.measurements.EntryMeasurement(rows, columns, 4)
    problem = imf.Problem(measurement, np.ones(2))
    frame = jnp.asarray(np.random.default_rng(6).normal(size=(4, 2)))
    term = congruence_term(problem, together=exact_components(measurement))
    assert bool(start(term, frame, jnp.asarray(-100.0)).coupled) == coupled


@pytest.mark.long
@pytest.mark.parametrize(("dtype", "root"), [(np.float64, -7.83), (np.float32, -3.46)])
def test_components_from_fewer_columns_are_not_called_right(solve, dtype, root):
    """Each of the columns has entries in both, so that no run is without the rounding."""
    whole, _, rng = _two_completions(1)
    rows, cols = whole.measurement.rows, whole.measurement.cols
    measurement = imf.measurements.EntryMeasurement(rows, cols, 6, dtype=dtype)
    problem = imf.Problem(measurement, np.asarray(whole.targets, dtype))
    init = jnp.asarray(rng.normal(size=(6, 2)), dtype)
    for log10_alpha in (root - 0.05, -100.0):
        sol = solve(problem, init, jnp.asarray(log10_alpha, dtype))
        assert sol.result == imf.RESULTS.ill_conditioned
        assert sol.error_estimate == np.inf
    # Above the root of rounding it is as good as a known number.
    sol = solve(problem, init, jnp.asarray(root + 0.05, dtype))
    assert np.isfinite(sol.error_estimate)


@pytest.mark.long
def test_derivatives_with_components():
    """Of a start that has entries in both, against differences."""
    problem = imf.Problem(imf.measurements.EntryMeasurement([0, 1], [2, 3], 4), jnp.array([1, 0.3]))
    rng = np.random.default_rng(5)
    init = jnp.asarray(rng.normal(size=(4, 4)))

    @jax.jit
    def end(targets, init):
        changed = imf.Problem(problem.measurement, targets)
        return imf.simulate(changed, init=init, log10_alpha=-6.0, rtol=1e-8, throw=False).X

    motion = (jnp.array([0.4, -0.7]), jnp.asarray(rng.normal(size=(4, 4))))
    at = (problem.targets, init)
    _, moved = jax.jvp(end, at, motion)
    h = 1e-4
    ends = [end(*(x + s * h * v for x, v in zip(at, motion, strict=True))) for s in (1, -1)]
    np.testing.assert_allclose(moved, (ends[0] - ends[1]) / (2 * h), atol=1e-5)
    weights = jnp.asarray(rng.normal(size=(4, 4)))
    pulled = jax.grad(lambda y, u: jnp.sum(weights * end(y, u)), argnums=(0, 1))(*at)
    product = sum(float(jnp.sum(g * v)) for g, v in zip(pulled, motion, strict=True))
    np.testing.assert_allclose(product, float(jnp.sum(weights * moved)), rtol=1e-6)


def test_a_check_that_does_not_end_is_no_agreement():
    """Two runs agree, the run without what rounding couples is lost: nothing is known."""
    A = _turned(np.eye(4) * np.random.default_rng(4).normal(size=(3, 4))[:, None, :])
    problem = imf.Problem(Dense(A), np.einsum("kii->k", A))
    together = exact_components(problem.measurement)
    apart = uncoupled(problem, jnp.eye(4), together)
    assert apart is not None
    assert apart.differs
    term = congruence_term(problem, None, together)
    lost = eqx.tree_at(lambda a: a.data, apart, _Lost(apart.data))

    def end(uncoupled):
        return imf.solvers.integrate(
            term, ResidualRadau(), frame=jnp.eye(4), log_alpha=jnp.log(1e-3), uncoupled=uncoupled
        )

    assert end(apart).error_estimate <= 1e-6
    assert np.isinf(end(lost).error_estimate)


class _Lost(eqx.Module):
    data: Callable[[], Any]

    def __call__(self):
        return jax.tree.map(
            lambda leaf: leaf * jnp.nan if eqx.is_inexact_array(leaf) else leaf, self.data()
        )
