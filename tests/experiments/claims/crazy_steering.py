"""What a steering reaches, by products of exponentials; what a commuting pair cannot, by a norm."""

import itertools

import numpy as np
from scipy.linalg import expm


def reached(stack, coefficients):
    """X at t = 1 by the exponential midpoint rule, extrapolated twice: of order 6."""
    frequencies = np.arange(1, (len(coefficients) + 1) // 2)
    ends = []
    for number in (500, 1000, 2000):
        U, h = np.eye(stack.shape[1]), 1 / number
        phases = 2 * np.pi * (np.arange(number)[:, None] + 0.5) * h * frequencies
        waves = np.concatenate([np.ones((number, 1)), np.cos(phases), np.sin(phases)], 1)
        for step in expm(-h * np.tensordot(waves @ coefficients, stack, 1)):
            U = step @ U
        ends.append(U @ U.T)
    fourth = [(4 * fine - coarse) / 3 for coarse, fine in itertools.pairwise(ends)]
    return (16 * fourth[1] - fourth[0]) / 15


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
