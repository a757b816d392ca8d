"""What a steering reaches, by products of exponentials; what a commuting pair cannot, by a norm."""

import numpy as np
from scipy.linalg import expm


def reached(stack, coefficients):
    """X at t = 1 by the exponential midpoint rule, extrapolated twice."""
    count = (len(coefficients) - 1) // 2
    ends = []
    for number in (2000, 4000):
        U, h = np.eye(stack.shape[1]), 1 / number
        for t in (np.arange(number) + 0.5) * h:
            phases = 2 * np.pi * np.arange(1, count + 1) * t
            r = np.concatenate([[1.0], np.cos(phases), np.sin(phases)]) @ coefficients
            U = expm(-h * np.tensordot(r, stack, 1)) @ U
        ends.append(U @ U.T)
    return (4 * ends[1] - ends[0]) / 3


def bracket_rank(stack):
    """The rank of all nested commutators up to length 6, as vectors."""
    known = level = list(stack)
    for _ in range(5):
        level = [M @ A - A @ M for M in level for A in stack]
        level = [M / max(np.linalg.norm(M), 1e-12) for M in level if np.linalg.norm(M) > 1e-10]
        known = known + level
    return np.linalg.matrix_rank(np.array([M.ravel() for M in known]), tol=1e-8)


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    for case in range(ds.sizes["case"]):
        n, pair = int(ds.dim[case]), str(ds.pair.values[case])
        stack = ds.measurement_matrices.values[case, :, :n, :n]
        target = ds.target.values[case, :n, :n]
        distance = float(ds.distance[case])
        if n <= 3:
            X = reached(stack, ds.coefficients.values[case])
            found = np.linalg.norm(X - target) / np.linalg.norm(target)
            # The midpoint rule, extrapolated, is of order 4: below 1e-7 with 4000 steps.
            assert abs(found - distance) < 1e-7
            dimension = n * n if pair != "commuting pair" else 2
            assert bracket_rank(stack) == dimension == int(ds.lie_dimension[case])
        if pair == "commuting pair":
            A, B = stack
            assert np.linalg.norm(A @ B - B @ A) < 1e-12
            # X commutes with A, the target does not: |[A, X*]| <= 2 |A| |X - X*|, |A| = 1.
            missed = np.linalg.norm(A @ target - target @ A) / 2 / np.linalg.norm(target)
            assert missed > 1e-3
            assert distance >= missed
            assert distance >= float(ds.bound[case]) * (1 - 1e-9)
            # The search did find the best point of the surface that it cannot leave.
            least = float(ds.least_discrepancy[case])
            assert abs(float(ds.discrepancy[case]) - least) < 1e-4 * least
        else:
            assert distance < ds.attrs["asked"]
