"""Verdicts: never more certain than what is known independently."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from scipy.integrate import solve_ivp

import implicit_flow as imf
from implicit_flow.convex import certify, min_nuclear_norm
from implicit_flow.measurements import (
    CommutingMeasurement,
    DenseMeasurement,
    DiagonalMeasurement,
    EntryMeasurement,
)


STACK = np.array([[[2.0, 1, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 1], [1, 0, 0], [1, 0, 3]]])
N3 = imf.Problem(DenseMeasurement(STACK), [4.0, 3.0])
N3_MINIMUM, N3_LIMIT = 1.674316024366309, 1.678507352080517


@pytest.fixture(scope="module")
def flow_limit():
    """Where the flow goes from 1e-32 I, by its eigenvalues and eigenvectors in SciPy."""
    y = np.array([4.0, 3.0])
    log_alpha = -32 * np.log(10)
    # While X is below 1e-13 the residual is -y, and X = alpha exp(2 t A*(y)).
    values, Q = np.linalg.eigh(np.tensordot(y, STACK, 1))
    t = (-13 * np.log(10) - log_alpha) / (2 * values[-1])

    def velocity(_, state):
        d, Q = state[:3], state[3:].reshape(3, 3)
        r = np.einsum("kij,ij->k", STACK, (Q * np.exp(d)) @ Q.T) - y
        N = -Q.T @ np.tensordot(r, STACK, 1) @ Q
        apart = (d[None, :] - d[:, None] + np.eye(3)) / 2
        K = N / np.tanh(apart) * (1 - np.eye(3))
        return np.concatenate([2 * np.diagonal(N), (Q @ K).ravel()])

    start = np.concatenate([log_alpha + 2 * t * values, Q.ravel()])
    end = solve_ivp(velocity, (0, 400), start, method="LSODA", rtol=1e-11, atol=1e-12).y[:, -1]
    X = (end[3:].reshape(3, 3) * np.exp(end[:3])) @ end[3:].reshape(3, 3).T
    return (X + X.T) / 2


def test_the_counterexample_is_not_minimal(flow_limit):
    X = flow_limit
    # The eigenvectors leave the orthogonal group by the tolerance of the integrator.
    assert abs(np.trace(X) - N3_LIMIT) < 1e-8
    assert np.linalg.norm(np.einsum("kij,ij->k", STACK, X) - [4.0, 3.0]) < 1e-8
    certificate = certify(N3, X)
    assert certificate.verdict == "not minimal"
    share = certificate.excess_at_least / N3_MINIMUM
    assert 0.0024 < share < 0.0026
    # What it says is true: the upper bound is above the minimum, the lower one below.
    assert certificate.dual_bound <= N3_MINIMUM <= certificate.upper_bound * (1 + 1e-15)
    assert 0.0024 < certificate.gap < 0.0026
    assert "0.25% of it" in str(certificate)
    top = np.linalg.eigvalsh(np.tensordot(certificate.dual, STACK, 1))[-1]
    assert top <= 1
    assert certificate.feasibility < 1e-8
    # Within a percent it is as good as minimal, if that is all that is asked.
    assert certify(N3, X, gap_tolerance=0.01).verdict == "minimal"
    # A limit known only to a percent does not prove anything.
    assert certify(N3, X, error=0.01).verdict != "not minimal"
    # Without the solver there is nothing better to point to.
    alone = certify(N3, X, convex=False)
    assert alone.verdict == "undecided"
    assert "`convex=True`" in alone.explanation
    assert alone.upper_bound == alone.primal_value


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_scaled_targets_and_repeated_rows(scale, flow_limit):
    stack = np.concatenate([STACK, STACK[:1], 1e3 * STACK[1:]])
    y = scale * np.array([4.0, 3.0, 4.0, 3e3])
    problem = imf.Problem(DenseMeasurement(stack), y)
    best = certify(problem, min_nuclear_norm(problem))
    assert best.verdict == "minimal"
    assert abs(best.primal_value / (scale * N3_MINIMUM) - 1) < 1e-9
    worse = certify(problem, scale * flow_limit)
    assert worse.verdict == "not minimal"
    assert 0.0024 < worse.excess_at_least / (scale * N3_MINIMUM) < 0.0026


def test_the_completion_whose_limit_has_rank_one():
    problem = imf.Problem(EntryMeasurement([0, 0, 1], [2, 3, 2], 4), [1.0, 2.0, 2.0])
    u = np.array([1.0, 2.0, 1.0, 2.0])
    certificate = certify(problem, np.outer(u, u))
    assert certificate.verdict == "not minimal"
    assert abs(certificate.excess_at_least - 2.0) < 1e-9


def test_closed_forms_approach_the_minimum():
    problem = imf.problems.commuting_sensing(5, 2, key=jax.random.key(3))
    limit = certify(problem, imf.closed_forms.commuting_limit(problem))
    assert limit.verdict == "minimal"
    assert limit.gap < 1e-9
    # The flow at a finite alpha is provably off, by a known amount.
    X = imf.closed_forms.commuting(problem, alpha=1e-2)
    certificate = certify(problem, X)
    assert certificate.verdict == "not minimal"
    assert abs(certificate.excess_at_least - (jnp.trace(X) - limit.primal_value)) < 1e-9


def test_the_dual_that_came_with_the_point_is_used():
    class Found:
        X = jnp.diag(jnp.asarray([0.5, 0.0]))
        dual = jnp.asarray([17.0])

    problem = imf.Problem(DiagonalMeasurement([[2.0, 1.0]]), [1.0])
    certificate = certify(problem, Found(), convex=False)
    assert certificate.verdict == "minimal"
    np.testing.assert_allclose(certificate.dual, [0.5], rtol=1e-12)
    overridden = certify(problem, Found(), dual=jnp.asarray([0.25]), convex=False)
    np.testing.assert_allclose(overridden.dual, [0.5], rtol=1e-12)
    Found.dual = jnp.asarray([jnp.nan])
    assert certify(problem, Found(), convex=False).verdict == "minimal"


def test_points_that_miss_the_targets(flow_limit):
    certificate = certify(N3, 2 * np.eye(3))
    assert certificate.verdict == "not fitted"
    # A(2 I) = (8, 6) against (4, 3).
    assert abs(certificate.feasibility - 1.0) < 1e-15
    assert certify(N3, np.zeros((3, 3))).verdict == "not fitted"
    # A misfit within the tolerance that was asked for is a fit.
    near = flow_limit * (1 + 1e-4)
    assert certify(N3, near).verdict == "not fitted"
    assert certify(N3, near, tolerance=1e-3).verdict == "not minimal"


def test_an_indefinite_point_is_not_judged():
    # Moved along a direction that no measurement sees.
    null = np.linalg.svd(STACK.reshape(2, 9))[2][2:].reshape(7, 3, 3)
    null = max((N + N.T for N in null), key=np.linalg.norm)
    assert np.abs(np.einsum("kij,ij->k", STACK, null)).max() < 1e-12
    certificate = certify(N3, np.asarray(min_nuclear_norm(N3).X) + null)
    assert certificate.verdict == "undecided"
    assert "not positive semidefinite" in certificate.explanation


@pytest.mark.parametrize(
    ("rows", "cols", "y", "X"),
    [
        ([0, 1], [0, 1], [1.0, -1.0], [[1.0, 0.0], [0.0, 0.0]]),
        ([0, 1, 0], [0, 1, 1], [1.0, 1.0, 2.0], [[1.2, 1.2], [1.2, 1.2]]),
        ([0, 1], [1, 0], [1.0, 2.0], [[1.5, 1.5], [1.5, 1.5]]),
    ],
    ids=["negative diagonal", "negative minor", "contradiction"],
)
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_infeasible_targets(rows, cols, y, X, scale):
    problem = imf.Problem(EntryMeasurement(rows, cols, 2), scale * np.array(y))
    certificate = certify(problem, scale * np.array(X))
    assert certificate.verdict == "infeasible targets"
    nu = certificate.contradiction
    inner = float(problem.targets @ nu)
    least = np.linalg.eigvalsh(np.asarray(problem.measurement.adjoint(jnp.asarray(nu))))[0]
    assert inner < 0
    # The reach is what the vector proves, and no more.
    if least < 0:
        assert certificate.reach <= -inner / -least
    assert certificate.reach > 1e10 * scale


def test_the_norm_that_diverges_is_undecided():
    trap = imf.Problem(EntryMeasurement([0, 1, 1], [1, 0, 1], 2), [1.0, 1.0, 0.0])
    for big in (8.0, 1e3, 1e7):
        certificate = certify(trap, np.array([[big, 1.0], [1.0, 1 / big]]))
        assert certificate.verdict == "undecided"
        assert "the norm diverges" in certificate.explanation


def test_a_minimum_that_is_large_is_not_called_infeasible():
    # X22 = 1e-9 and X12 = 1: the trace is 1e9 at least, and that is attained.
    problem = imf.Problem(EntryMeasurement([0, 1], [1, 1], 2), [1.0, 1e-9])
    for X in (np.eye(2), np.array([[1e9, 1.0], [1.0, 1e-9]])):
        certificate = certify(problem, X)
        assert certificate.verdict not in {"infeasible targets", "not minimal"}
        assert certificate.dual_bound <= 1e9 * (1 + 1e-12)


def test_zero_targets_and_one_number():
    zero = imf.Problem(EntryMeasurement([0], [0], 2), [0.0])
    assert certify(zero, np.zeros((2, 2))).verdict == "minimal"
    worse = certify(zero, np.diag([0.0, 1.0]))
    assert worse.verdict == "not minimal"
    assert worse.excess_at_least == 1.0
    one = imf.Problem(EntryMeasurement([0], [0], 1), [2.0])
    assert certify(one, np.array([[2.0]])).verdict == "minimal"
    assert certify(one, np.array([[1.0]])).verdict == "not fitted"
    negative = imf.Problem(EntryMeasurement([0], [0], 1), [-2.0])
    assert certify(negative, np.zeros((1, 1))).verdict == "infeasible targets"


def test_noise():
    problem = imf.problems.gaussian_sensing(5, 2, 30, key=jax.random.key(0), noise=1e-2)
    truth = np.asarray(problem.ground_truth)
    # 30 equations for 15 unknowns: nothing fits exactly, and the proof is exact to rounding.
    assert certify(problem, truth).verdict == "infeasible targets"
    # Where noise is allowed for, the truth is the only matrix with its own measurements.
    certificate = certify(problem, truth, tolerance=0.1)
    assert certificate.verdict == "minimal"
    assert certificate.own_gap < 1e-9
    assert "same measurements" in certificate.explanation


def test_other_losses_and_their_refusal(flow_limit):
    for loss in (imf.losses.Huber(0.1), imf.losses.WeightedSquared([1.0, 7.0])):
        problem = imf.Problem(N3.measurement, N3.targets, loss)
        assert certify(problem, flow_limit).verdict == "not minimal"
    margin = imf.Problem(DiagonalMeasurement([[1.0]]), [1.0], imf.losses.Exponential())
    with pytest.raises(ValueError, match="finite minimizer"):
        certify(margin, np.eye(1))


@pytest.mark.parametrize(
    ("X", "arguments", "message"),
    [
        (np.eye(2), {}, r"Argument `X_or_solution` must have shape \(3, 3\)"),
        (np.full((3, 3), np.nan), {}, r"Argument `X_or_solution` must be finite"),
        (np.eye(3), {"dual": np.ones(3)}, r"Argument `dual` must have shape \(2,\)"),
        (np.eye(3), {"tolerance": -1.0}, r"Argument `tolerance` must be finite and at least 0"),
        (np.eye(3), {"error": float("nan")}, r"Argument `error` must be finite"),
    ],
)
def test_bad_arguments(X, arguments, message):
    with pytest.raises(ValueError, match=message):
        certify(N3, X, **arguments)


def test_a_tracer_is_refused():
    with pytest.raises(ValueError, match="cannot be traced"):
        jax.jit(lambda X: certify(N3, X).gap)(jnp.eye(3))


def test_float32(flow_limit):
    problem = imf.Problem(
        DenseMeasurement(STACK.astype(np.float32)), np.array([4.0, 3.0], np.float32)
    )
    solution = min_nuclear_norm(problem)
    assert solution.X.dtype == jnp.float32
    assert certify(problem, solution).verdict == "minimal"
    assert certify(problem, flow_limit.astype(np.float32)).verdict == "not minimal"


def random_problem(seed, kind, m, rank):
    rng = np.random.default_rng(seed)
    U = rng.standard_normal((4, rank))
    X = U @ U.T
    if kind == "dense":
        S = rng.standard_normal((m, 4, 4))
        measurement = DenseMeasurement(S + S.transpose(0, 2, 1))
    elif kind == "entries":
        upper = [(i, j) for i in range(4) for j in range(i, 4)]
        chosen = rng.permutation(10)[:m]
        rows, cols = np.array([upper[k] for k in chosen]).T
        measurement = EntryMeasurement(rows, cols, 4)
    else:
        V = np.linalg.qr(rng.standard_normal((4, 4)))[0]
        measurement = CommutingMeasurement(V, rng.standard_normal((m, 4)))
    stack = np.asarray(measurement.as_stack())
    return imf.Problem(measurement, np.einsum("kij,ij->k", stack, X)), X


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6),
    st.sampled_from(["dense", "entries", "commuting"]),
    st.integers(1, 10),
    st.integers(1, 4),
    st.floats(0, 1),
)
def test_verdicts_on_planted_problems(seed, kind, m, rank, mixed):
    problem, X = random_problem(seed, kind, m, rank)
    certificate = certify(problem, X)
    # The planted point fits: nothing may be called infeasible, and no bound may exceed its trace.
    assert certificate.verdict in {"minimal", "not minimal", "undecided"}
    assert certificate.dual_bound <= np.trace(X) * (1 + 1e-12)
    best = min_nuclear_norm(problem)
    assert certificate.dual_bound <= best.value * (1 + 1e-9)
    if certificate.verdict == "minimal":
        assert np.trace(X) <= best.value * (1 + 2e-6)
    if certificate.verdict == "not minimal":
        assert certificate.upper_bound >= best.value * (1 - best.gap - 1e-9)
        assert best.value < np.trace(X)
    # Between the planted point and the best one everything fits, and only the best is minimal.
    between = certify(problem, mixed * X + (1 - mixed) * np.asarray(best.X))
    assume(between.feasibility < 1e-6)
    excess = between.primal_value / best.value - 1
    if excess > 1e-5:
        assert between.verdict != "minimal"
    if between.verdict == "not minimal":
        assert between.excess_at_least <= between.primal_value - best.value * (1 - best.gap - 1e-9)
    # Somewhere else than at the targets: never a proof that nothing fits.
    away = certify(problem, X + np.eye(4))
    assert away.verdict in {"not fitted", "minimal", "not minimal", "undecided"}


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_what_overflows_proves_nothing(scale):
    """A huge X makes a huge residual, whose products once passed for a proof."""
    stack = np.array([[[2, 1, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 1], [1, 0, 0], [1, 0, 3]]], float)
    problem = imf.Problem(imf.measurements.DenseMeasurement(stack), np.array([4.0, 3.0]))
    found = imf.certify(problem, scale * np.eye(3))
    assert found.verdict == "not fitted"
    assert found.dual_bound <= 1.674316024366309 * (1 + 1e-12)


def test_a_measurement_of_nothing_contradicts_its_target():
    problem = imf.Problem(imf.measurements.DenseMeasurement(np.zeros((2, 3, 3))), np.ones(2))
    found = imf.certify(problem, np.eye(3))
    assert found.verdict == "infeasible targets"
    assert problem.targets @ found.contradiction < 0
