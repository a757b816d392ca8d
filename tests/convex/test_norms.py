"""Least norms against vertices, pseudo-inverses, SciPy and the problem's own geometry."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.optimize import linprog, minimize

import implicit_flow as imf
from implicit_flow.convex import (
    InfeasibleTargetsError,
    dual_bound,
    duality_gap,
    min_frobenius,
    min_l1,
    min_l2,
    min_nuclear_norm,
)
from implicit_flow.measurements import (
    CommutingMeasurement,
    DenseMeasurement,
    DiagonalMeasurement,
    EntryMeasurement,
    RankOneMeasurement,
    from_function,
    rectangular_entries,
)


RNG = np.random.default_rng(7)


def check(problem, solution, value, tolerance=1e-8):
    """The solution fits, has the value, and its own claims are true."""
    assert abs(solution.value / value - 1) < tolerance
    assert abs(float(jnp.trace(solution.X)) / value - 1) < tolerance
    assert float(problem.misfit(solution.X)) < 1e-9
    assert abs(solution.feasibility - float(problem.misfit(solution.X))) < 1e-12
    assert 0 <= solution.gap < 1e-7
    assert solution.value / (1 + solution.gap) <= value * (1 + 1e-12)
    slack = np.linalg.eigvalsh(np.asarray(problem.measurement.adjoint(solution.dual)))
    assert slack[-1] <= 1 + 1e-12


def test_the_three_by_three_instance():
    stack = np.array([[[2.0, 1, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 1], [1, 0, 0], [1, 0, 3]]])
    problem = imf.Problem(DenseMeasurement(stack), [4.0, 3.0])
    solution = min_nuclear_norm(problem)
    check(problem, solution, 1.674316024366309, 1e-10)

    # By SciPy: two dual unknowns, max <y, nu> with lambda_max <= 1, written without a constraint.
    def negative(angle):
        nu = np.array([np.cos(angle[0]), np.sin(angle[0])])
        top = np.linalg.eigvalsh(np.tensordot(nu, stack, 1))[-1]
        return -(np.array([4.0, 3.0]) @ nu) / top

    best = minimize(negative, [0.5], method="Nelder-Mead", options={"xatol": 1e-10})
    assert abs(-best.fun / solution.value - 1) < 1e-8


@pytest.mark.parametrize("R", [1.0, 2.0, 3.5])
def test_the_four_by_four_completion(R):
    problem = imf.Problem(EntryMeasurement([0, 0, 1], [2, 3, 2], 4), [1.0, R, R])
    check(problem, min_nuclear_norm(problem), 4 * R)


def test_a_completion_that_ends_the_default_merging_of_cliques():
    """Clarabel 0.11.1 panics on this pattern if it merges cliques by their graph."""
    rows = [0, 1, 2, 3, 4, 4, 5, 6, 7, 7, 9, 9, 9, 11, 11, 11, 11, 11, 12, 13, 14, 18]
    cols = [1, 13, 13, 17, 7, 8, 8, 10, 10, 11, 11, 13, 14, 12, 13, 14, 15, 18, 14, 17, 14, 19]
    w = np.where(np.arange(20) % 2, -1.0, 1.0)
    problem = imf.Problem(EntryMeasurement(rows, cols, 20), w[rows] * w[cols])
    solution = min_nuclear_norm(problem)
    # ww' fits, and the dual proves that nothing of less trace does.
    assert solution.value <= w @ w
    check(problem, solution, solution.value)
    assert problem.targets @ solution.dual >= solution.value * (1 - 1e-7)


def test_one_dense_measurement():
    A = RNG.standard_normal((5, 5))
    A = A + A.T
    problem = imf.Problem(DenseMeasurement(A[None]), [3.0])
    check(problem, min_nuclear_norm(problem), 3.0 / np.linalg.eigvalsh(A)[-1])


def test_rectangular_problems_have_twice_the_nuclear_norm():
    W = np.outer([1.0, 2.0, -1.0], [0.5, 1.0])
    rows, cols = np.divmod(np.arange(6), 2)
    problem = imf.Problem(rectangular_entries(rows, cols, (3, 2)), W.ravel())
    check(problem, min_nuclear_norm(problem), 2 * np.linalg.svd(W)[1].sum())


def test_kinds_agree_with_their_stacks():
    vectors = RNG.standard_normal((4, 3))
    z = np.array([1.0, -0.5, 0.3])
    y = (vectors @ z) ** 2
    rank_one = imf.Problem(RankOneMeasurement(vectors), y)
    dense = imf.Problem(DenseMeasurement(rank_one.measurement.as_stack()), y)
    free = imf.Problem(from_function(rank_one.measurement.apply, 3, 4), y)
    value = min_nuclear_norm(dense).value
    for problem in (rank_one, free):
        check(problem, min_nuclear_norm(problem), value)


def test_vertices_of_a_linear_program():
    B = RNG.standard_normal((2, 5))
    y = B @ np.array([1.0, 0.0, 0.5, 0.0, 0.2])
    problem = imf.Problem(DiagonalMeasurement(B), y)
    signed, positive = np.inf, np.inf
    for pair in itertools.combinations(range(5), 2):
        z = np.linalg.solve(B[:, pair], y)
        signed = min(signed, np.abs(z).sum())
        if z.min() >= 0:
            positive = min(positive, z.sum())
    check(problem, min_nuclear_norm(problem), positive)
    check(problem, min_l1(problem, nonnegative=True), positive)
    l1 = min_l1(problem)
    assert abs(l1.value / signed - 1) < 1e-9
    np.testing.assert_allclose(B @ l1.x, y, rtol=1e-12)
    assert np.abs(B.T @ l1.dual).max() <= 1 + 1e-12
    assert 0 <= l1.gap < 1e-7
    # The same spectra in another basis.
    V = np.linalg.qr(RNG.standard_normal((5, 5)))[0]
    turned = imf.Problem(CommutingMeasurement(V, B), y)
    check(turned, min_nuclear_norm(turned), positive)


def test_l2_and_frobenius_are_pseudo_inverses():
    B = RNG.standard_normal((2, 4))
    B = np.vstack([B, B[0] - B[1]])
    y = B @ np.array([1.0, -2.0, 0.5, 0.3])
    problem = imf.Problem(DiagonalMeasurement(B), y)
    solution = min_l2(problem)
    np.testing.assert_allclose(solution.x, np.linalg.pinv(B) @ y, atol=1e-14)
    assert solution.gap < 1e-12
    assert abs(np.linalg.norm(B.T @ solution.dual) - 1) < 1e-12
    sensing = imf.problems.gaussian_sensing(4, 2, 6, key=jax.random.key(0))
    S = np.asarray(sensing.measurement.as_stack()).reshape(6, 16)
    X = min_frobenius(sensing).X
    np.testing.assert_allclose(
        X.ravel(), np.linalg.pinv(S) @ np.asarray(sensing.targets), atol=1e-14
    )


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("rows", [1.0, 1e6])
def test_scales_and_repeated_rows(scale, rows):
    stack = RNG.standard_normal((2, 3, 3))
    stack = stack + stack.transpose(0, 2, 1)
    X = np.diag([1.0, 0.5, 0.2])
    y = np.einsum("kij,ij->k", stack, X)
    value = min_nuclear_norm(imf.Problem(DenseMeasurement(stack), y)).value
    twice = np.concatenate([stack, rows * stack, stack[:1] - stack[1:]])
    targets = scale * np.concatenate([y, rows * y, y[:1] - y[1:]])
    problem = imf.Problem(DenseMeasurement(twice), targets)
    check(problem, min_nuclear_norm(problem), scale * value)


@pytest.mark.parametrize(
    ("rows", "targets"),
    [(1e-200, 1e-200), (1e200, 1e200), (1e-200, 1.0), (1.0, 1e200), (1.0, 1e-310)],
)
def test_units_in_which_squares_are_no_floats(rows, targets):
    stack, y = np.stack([np.diag([2.0, 1.0, 1.0]), np.diag([0.0, 1.0, 3.0])]), np.array([4.0, 3.0])
    stack[0, 0, 1] = stack[0, 1, 0] = 1.0
    plain = min_nuclear_norm(imf.Problem(DenseMeasurement(stack), y))
    problem = imf.Problem(DenseMeasurement(rows * stack), targets * y)
    solution = min_nuclear_norm(problem)
    unit = targets / rows
    np.testing.assert_allclose(solution.value / unit, plain.value, rtol=1e-8)
    np.testing.assert_allclose(np.asarray(solution.X) / unit, plain.X, atol=1e-6)
    np.testing.assert_allclose(rows * np.asarray(solution.dual) @ y, plain.value, rtol=1e-7)
    # Of two points that fit, one is better: what is said of them does not depend on the unit.
    X = np.diag([1.5, 0.75, 0.75])
    y = np.einsum("kij,ij->k", stack, X)
    problem = imf.Problem(DenseMeasurement(rows * stack), targets * y)
    found = imf.certify(problem, unit * X)
    known = imf.certify(imf.Problem(DenseMeasurement(stack), y), X)
    assert found.verdict == known.verdict == "not minimal"
    np.testing.assert_allclose(found.excess_at_least / unit, known.excess_at_least, rtol=1e-6)
    np.testing.assert_allclose(found.primal_value / unit, 3.0, rtol=1e-12)
    with pytest.raises(InfeasibleTargetsError) as caught:
        min_nuclear_norm(imf.Problem(DenseMeasurement(rows * stack), targets * np.array([1, -1.0])))
    assert caught.value.vector @ [1, -1] < 0


@pytest.mark.parametrize("solve", [min_l1, min_l2, min_nuclear_norm])
@pytest.mark.parametrize("scale", [1e-45, 1e-15, 1e-10, 1.0, 1e10])
def test_what_is_infeasible_or_zero_does_not_depend_on_the_unit(solve, scale):
    # The second row sees nothing, and its target is not zero.
    problem = imf.Problem(DiagonalMeasurement(scale * np.array([[1, 0.3], [0, 0]])), [1.0, 0.5])
    with pytest.raises(InfeasibleTargetsError):
        solve(problem)
    rows = scale * np.array([[1.0, 2.0], [1.0, -1.0]])
    zero = solve(imf.Problem(DiagonalMeasurement(rows), np.zeros(2)))
    assert zero.value == zero.gap == zero.feasibility == 0
    assert np.all(np.asarray(zero.X) == 0)


def test_a_solution_that_is_no_float32_is_refused():
    measurement = DiagonalMeasurement(np.float32([[1e-30, 0]]))
    with pytest.raises(ValueError, match="quotient is representable in float32"):
        min_l2(imf.Problem(measurement, np.float32([1e10])))
    # The quotient of the largest entries is one, but not that of the second row.
    measurement = DiagonalMeasurement(np.float32([[1.6e-30, 0], [0, 1.6e-31]]))
    with pytest.raises(ValueError, match="quotient is representable in float32"):
        min_l2(imf.Problem(measurement, np.float32([3e8, 3e8])))


def test_units_whose_quotient_is_no_float():
    measurement = DenseMeasurement(1e-200 * np.eye(2)[None])
    with pytest.raises(ValueError, match="quotient is representable"):
        min_nuclear_norm(imf.Problem(measurement, np.array([1e200])))


def test_zero_targets_and_one_number():
    zero = imf.Problem(EntryMeasurement([0, 0], [0, 1], 2), [0.0, 0.0])
    solution = min_nuclear_norm(zero)
    assert solution.value < 1e-10
    assert min_frobenius(zero).value == 0
    one = imf.Problem(EntryMeasurement([0], [0], 1), [2.0])
    check(one, min_nuclear_norm(one), 2.0)


def test_infeasible_targets_come_with_a_proof():
    # A diagonal entry that is negative; a minor that is; equations that contradict each other.
    cases = [
        imf.Problem(EntryMeasurement([0, 1], [0, 1], 2), [1.0, -1.0]),
        imf.Problem(EntryMeasurement([0, 1, 0], [0, 1, 1], 2), [1.0, 1.0, 2.0]),
        imf.Problem(EntryMeasurement([0, 1], [1, 0], 2), [1.0, 2.0]),
    ]
    for problem in cases:
        with pytest.raises(InfeasibleTargetsError, match=r"<y, nu> = .* < 0") as caught:
            min_nuclear_norm(problem)
        nu, reach = caught.value.vector, caught.value.reach
        assert float(problem.targets @ nu) < 0
        least = np.linalg.eigvalsh(np.asarray(problem.measurement.adjoint(jnp.asarray(nu))))[0]
        assert least >= -1e-13 * np.abs(nu).max()
        assert reach > 1e12
    with pytest.raises(InfeasibleTargetsError):
        min_frobenius(cases[2])


def test_a_minimum_that_is_not_attained_is_not_reported():
    trap = imf.Problem(EntryMeasurement([0, 1, 1], [1, 0, 1], 2), [1.0, 1.0, 0.0])
    with pytest.raises(ValueError, match=r"minimum that is attained.*norm probably diverges"):
        min_nuclear_norm(trap)


def test_tracers_and_wrong_kinds_are_refused():
    problem = imf.Problem(EntryMeasurement([0], [0], 1), [2.0])
    with pytest.raises(ValueError, match="runs on the host and cannot be traced"):
        jax.jit(lambda y: min_nuclear_norm(imf.Problem(problem.measurement, y)).X)(problem.targets)
    with pytest.raises(ValueError, match="must be an instance of DiagonalMeasurement"):
        min_l1(problem)
    with pytest.raises(ValueError, match="must be an instance of DiagonalMeasurement"):
        min_l2(problem)


STACK = RNG.standard_normal((3, 4, 4))
STACK = STACK + STACK.transpose(0, 2, 1)
MEASUREMENTS = {dtype: DenseMeasurement(STACK.astype(dtype)) for dtype in (np.float64, np.float32)}


@jax.jit
def bounds(measurement, y, X, nu):
    problem = imf.Problem(measurement, y)
    return dual_bound(problem, nu), duality_gap(problem, X, nu)


numbers = st.floats(-1e3, 1e3, allow_subnormal=False)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(numbers, min_size=8, max_size=8),
    st.lists(numbers, min_size=3, max_size=3),
    st.integers(1, 2),
    st.sampled_from([np.float64, np.float32]),
)
def test_the_dual_bound_never_exceeds_the_trace_of_a_planted_point(factor, nu, rank, dtype):
    # The point is exact in integers, and so are its measurements, up to one rounding of each.
    U = np.round(np.reshape(factor, (4, 2)))[:, :rank].astype(dtype)
    X = U @ U.T
    A = STACK.astype(dtype)
    y = np.einsum("kij,ij->k", A.astype(float), X.astype(float))
    rounded = y.astype(dtype)
    nu = np.asarray(nu, dtype)
    bound, gap = bounds(MEASUREMENTS[dtype], rounded, X, nu)
    trace = float(np.trace(X.astype(float)))
    # Rounding the targets moves <y, nu> / lambda_max by this much at most.
    top = np.linalg.eigvalsh(np.tensordot(nu, A, 1).astype(float))[-1]
    moved = np.abs(nu) @ np.abs(y) * np.finfo(dtype).eps / max(top, 1e-300)
    assert float(bound) <= trace + moved
    assert float(gap) >= -(moved + 1e-6 * trace) / max(float(bound), 1e-300)
    assert float(bound) >= 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_dual_bound_is_nearly_sharp_and_below_the_minimum(dtype):
    minimum = 1.674316024366309
    stack = np.array([[[2.0, 1, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 1], [1, 0, 0], [1, 0, 3]]])
    exact = min_nuclear_norm(imf.Problem(DenseMeasurement(stack), [4.0, 3.0]))
    problem = imf.Problem(DenseMeasurement(stack.astype(dtype)), np.array([4.0, 3.0], dtype))
    bound = dual_bound(problem, jnp.asarray(exact.dual, dtype))
    assert bound.dtype == dtype
    assert minimum * (1 - 2e3 * np.finfo(dtype).eps) < float(bound) <= minimum


def test_the_dual_bound_of_special_vectors():
    A = DiagonalMeasurement([[2.0, 1.0]])
    problem = imf.Problem(A, [1.0])
    assert float(dual_bound(problem, jnp.zeros(1))) == 0
    assert float(dual_bound(problem, -jnp.ones(1))) == 0
    # -1 measured by a positive matrix: no bound is too large.
    infeasible = imf.Problem(A, [-1.0])
    assert float(dual_bound(infeasible, -jnp.ones(1))) == np.inf
    lanes = jax.vmap(lambda nu: dual_bound(problem, nu))(jnp.asarray([[1.0], [2.0]]))
    np.testing.assert_allclose(lanes, [0.5, 0.5], rtol=1e-12)
    assert abs(float(jax.grad(lambda nu: dual_bound(problem, nu))(jnp.asarray([3.0]))[0])) < 1e-12


def test_commuting_bounds_agree_with_highs():
    problem = imf.problems.commuting_sensing(8, 4, key=jax.random.key(2))
    B = np.asarray(problem.measurement.spectra)
    least = linprog(np.ones(8), A_eq=B, b_eq=np.asarray(problem.targets), bounds=(0, None))
    check(problem, min_nuclear_norm(problem), least.fun)
