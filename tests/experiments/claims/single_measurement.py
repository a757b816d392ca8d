"""Ends and paths against mpmath: one number s solves y = tr(A e^{2 s A} X0)."""

import mpmath
import numpy as np
from along_alpha import check_along


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    seen = [1, -1] if ds.sizes["row"] < 10 else [-1]
    for instance in ds.instance.values:
        for start in ds.start.values:
            one = ds.sel(instance=instance, start=start)
            A, U = one.A.values, ds.U_start.sel(start=start).values
            values, vectors = np.linalg.eigh(A)
            check_along(one, vectors, values[None], np.ones(1), U)
            # Where X~ and A share eigenvectors, no entry off the diagonal falls like a root.
            power = float(one.theory) * (1.0 if start == "identity" else 0.5)
            assert abs(float(one.theory_of_distance) - power) < 1e-12
            assert not abs(float(one.exponent_of_distance) - power) > 0.015
            for k in seen:
                cell = one.isel(log10_alpha=k)
                X = end(A, U, float(cell.log10_alpha))
                # The solver's own error estimate, and the rounding of eigenvectors.
                allowed = float(cell.error_estimate) + 1e-11
                assert np.linalg.norm(cell.X - X) <= allowed * np.linalg.norm(X)
            check_time(A, U, one.isel(path=0), ds.time.values)
    check_example(ds)
    check_limits(ds)


def end(A, U, log10_alpha):
    """e^{sA} X0 e^{sA} with tr(A X) = 1, in 50 digits from the eigenvalues of A."""
    values, vectors = np.linalg.eigh(A)
    weights = np.sum((vectors.T @ U) ** 2, axis=1)
    with mpmath.workdps(50):
        alpha = mpmath.mpf(10) ** log10_alpha
        terms = [(mpmath.mpf(v), mpmath.mpf(w)) for v, w in zip(values, weights, strict=True)]
        s = -mpmath.log(alpha) / (2 * terms[-1][0]) + 5
        # Beyond the root the measured value is convex in s: Newton's method comes down to it.
        for _ in range(200):
            grown = [(v, v * alpha * w * mpmath.exp(2 * s * v)) for v, w in terms]
            step = (mpmath.fsum(x for _, x in grown) - 1) / mpmath.fsum(2 * v * x for v, x in grown)
            s -= step
            if abs(step) < 1e-45:
                break
        assert abs(step) < 1e-40
        factor = [float(mpmath.sqrt(alpha) * mpmath.exp(s * v)) for v, _ in terms]
        root = (vectors * np.array(factor)) @ vectors.T @ U
    return root @ root.T


def check_time(A, U, cell, fractions):
    """When the path passes a point: t(s) is the integral of ds / (1 - tr(A X(s)))."""
    values, vectors = np.linalg.eigh(A)
    weights = np.sum((vectors.T @ U) ** 2, axis=1)
    alpha, rate = 10.0 ** float(cell.path), values[-1]
    unit = -np.log(alpha) / (2 * rate)
    inside = np.flatnonzero((fractions > 0.2) & (fractions < 0.9))
    for k in inside[:: max(1, len(inside) // 2)]:
        # The trace is convex in s; the branch on which A grows is the one behind its minimum.
        grid = np.linspace(0, unit * 1.5, 20001)
        wanted = float(cell.trace[k])
        behind = alpha * np.exp(2 * np.outer(grid, values)) @ weights * rate
        lowest = int(np.argmin(behind))
        s = np.interp(wanted, behind[lowest:], grid[lowest:])
        with mpmath.workdps(20):
            slope = lambda z: 1 / (1 - alpha * sum(
                float(w) * float(v) * mpmath.exp(2 * z * float(v))
                for v, w in zip(values, weights, strict=True)
            ))  # fmt: skip
            t = float(mpmath.quad(slope, mpmath.linspace(0, s, 5)))
        # Interpolation between the points of the grid, (unit / 20001)^2, is the larger error.
        assert abs(t / unit - fractions[k]) < 1e-4


def check_example(ds):
    """diag(2, 1): z = (-a + sqrt(a^2 + 8a)) / (4a), X = diag(a z^2, a z), exactly."""
    known = {-1.0: (0.4, 0.2), -2.0: (0.4658725707547876, 0.06825485849042454)}
    ends = ds.X.sel(instance="diagonal", start="identity")
    for log10_alpha, pair in known.items():
        found = np.diagonal(ends.sel(log10_alpha=log10_alpha).values)[:2]
        np.testing.assert_allclose(found, pair, rtol=1e-7)


def check_limits(ds):
    """The limit has the least trace, 1 / l1, and lies in the top eigenspace alone."""
    for instance in ds.instance.values:
        A = ds.A.sel(instance=instance).values
        values = np.linalg.eigvalsh(A)
        for start in ds.start.values:
            X = ds.limit.sel(instance=instance, start=start).values
            assert abs(np.sum(A * X) - 1) < 1e-12
            assert abs(np.trace(X) - 1 / values[-1]) < 1e-12
            # First-order behavior of the excess itself, not of a fitted slope.
            one = ds.sel(instance=instance, start=start)
            small = (one.leading_excess < 0.01 * one.theory) & (one.leading_excess > 1e-6)
            ratio = (one.excess / one.leading_excess).where(small, drop=True)
            np.testing.assert_allclose(ratio, 1, atol=0.03)
    tie = ds.sel(instance="tie")
    random, identity = (tie.limit.sel(start=start).values for start in ("random", "identity"))
    assert np.linalg.matrix_rank(identity, tol=1e-9) == 2
    assert np.linalg.norm(random - identity) > 1e-2
