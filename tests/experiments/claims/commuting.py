"""Ends satisfy the two conditions that have one solution; limits solve SciPy's linear program."""

import numpy as np
from along_alpha import check_along
from scipy.optimize import linprog


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    for instance in ds.instance.values:
        one = ds.sel(instance=instance)
        basis, B, y = one.basis.values, one.spectra.values, one.targets.values
        least = linprog(np.ones(B.shape[1]), A_eq=B, b_eq=y, bounds=(0, None))
        for start in ds.start.values:
            cell = one.sel(start=start)
            U = basis.T @ cell.U_start.values
            check_end(cell, basis, B, y, U)
            check_along(cell, basis, B, y, cell.U_start.values)
            # Tolerances of the linear program, and of its solution.
            x = np.diagonal(basis.T @ cell.limit.values @ basis)
            assert abs(np.sum(x) / least.fun - 1) < 1e-7
            np.testing.assert_allclose(B @ x, y, atol=1e-9 * np.linalg.norm(y))
            # What is left is the leading term and less: no fit, and no exponent.
            small = (cell.leading_excess < 1e-3 * cell.theory) & (cell.leading_excess > 1e-6)
            counted = (cell.log10_alpha >= -16) | (start == "identity")
            assert np.all(np.isfinite(cell.excess) == counted)
            ratio = (cell.excess / cell.leading_excess).where(small & counted, drop=True)
            np.testing.assert_allclose(ratio, 1, atol=0.1)
            assert np.all(cell.excess.where(counted, drop=True) > -1e-7)
    check_tie(ds.sel(instance="tie"))
    assert np.sum(np.isfinite(ds.exponent)) >= 2
    # The last rungs differ from the leading term by terms of a higher power of alpha.
    assert float(np.abs(ds.exponent - ds.theory).max()) < 0.05


def check_end(cell, basis, B, y, U):
    """A(X) = y, and log X - log X0 in span{A_i}: the dual is convex, so that X is the one point."""
    weights = np.sum(U**2, axis=1)
    for k in range(cell.sizes["log10_alpha"]):
        one = cell.isel(log10_alpha=k)
        if one.verdict == "left out":
            continue
        X = basis.T @ one.X.values @ basis
        x, allowed = np.diagonal(X), float(one.error_estimate) + 1e-11
        np.testing.assert_allclose(B @ x, y, atol=1e-7 * np.linalg.norm(y))
        # Off the diagonal X keeps the correlations of X~.
        kept = U @ U.T * np.sqrt(np.outer(x.clip(0), x.clip(0)) / np.outer(weights, weights))
        present = x > 1e-10 * np.max(x)
        off = (X - kept)[np.ix_(present, present)]
        assert np.max(np.abs(off)) <= 1e-4 * np.max(x)
        # Entries that float64 holds to half of its digits beside the largest one.
        seen = x > 1e-6 * np.max(x)
        if np.sum(seen) <= len(y):
            continue
        moved = np.log(x[seen] / weights[seen]) - float(one.log10_alpha) * np.log(10)
        rest = moved - B[:, seen].T @ np.linalg.lstsq(B[:, seen].T, moved)[0]
        assert np.max(np.abs(rest)) <= 4e6 * allowed


def check_tie(ds):
    """Two eigenvectors that no measurement tells apart share x in proportion to X~."""
    basis, B = ds.basis.values, ds.spectra.values
    same = [(i, k) for i in range(B.shape[1]) for k in range(i) if np.array_equal(B[:, i], B[:, k])]
    assert len(same) == 1
    (i, k) = same[0]
    for start in ds.start.values:
        one = ds.sel(start=start)
        weights = np.sum((basis.T @ one.U_start.values) ** 2, axis=1)
        for X in (one.limit.values, *one.X.values[one.verdict != "left out"]):
            x = np.diagonal(basis.T @ X @ basis)
            np.testing.assert_allclose(x[i] / x[k], weights[i] / weights[k], rtol=1e-5)
