"""Karush-Kuhn-Tucker conditions by NumPy, the limit by SciPy's linear program."""

import numpy as np
from along_alpha import check_along
from scipy.optimize import linprog

from implicit_flow.experiments.nonnegative_least_squares import _outcome


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    for instance in ds.instance.values:
        one = ds.sel(instance=instance)
        B, y = one.A.values, one.targets.values
        least = linprog(np.ones(B.shape[1]), A_eq=B, b_eq=y, bounds=(0, None)).fun
        assert abs(float(one.l1) / least - 1) < 1e-7
        for start in ds.start.values:
            cell = one.sel(start=start)
            d = cell.u_start.values**2
            check_along(cell, np.eye(len(d)), B, y, np.diag(cell.u_start.values))
            for k in range(ds.sizes["log10_alpha"]):
                here = cell.isel(log10_alpha=k)
                check_entropic(B, y, d, np.diagonal(here.X.values), float(here.log10_alpha))
            # The linear program's own tolerance.
            assert np.all(cell.excess > -1e-7)
            assert abs(np.trace(cell.limit.values) / least - 1) < 1e-7
            small = (cell.leading_excess < 0.01 * cell.theory) & (cell.leading_excess > 1e-6)
            ratio = (cell.excess / cell.leading_excess).where(small, drop=True)
            np.testing.assert_allclose(ratio, 1, atol=0.1)
    check_tie(ds.sel(instance="tie"))
    check_misfit(ds)
    if "depth" in ds.dims:
        assert np.all(ds.deep_distance_to_closed_form <= ds.deep_error_estimate + 1e-11)
        np.testing.assert_allclose(ds.deep_exponent, 1, atol=0.01)
        # The flow's own excess, at alphas that it is followed from.
        heights = np.log10(ds.deep_excess.values[:, -2:])
        np.testing.assert_allclose(heights[:, 0] - heights[:, 1], 1, atol=0.1)
    check_outcome(ds)


def check_outcome(ds):
    """It is the numbers that decide."""
    judged = lambda **other: _outcome(ds.assign(other))["outcome"]
    assert judged() == "holds"
    assert judged(exponent=ds.exponent + 0.1) == "fails"
    assert judged(distance_to_closed_form=ds.distance_to_closed_form + 1e-5) == "fails"
    if "depth" in ds.dims:
        assert judged(deep_exponent=0.8 * ds.deep_exponent) == "fails"
        assert judged(deep_exponent=np.nan * ds.deep_exponent) == "undecided"
        off = ds.deep_distance_to_closed_form
        assert judged(deep_distance_to_closed_form=off + 1e-5) == "fails"


def check_entropic(B, y, d, x, log10_alpha):
    """A x = y and log(x / (alpha d)) in the row space of A: a convex program, so that it is it."""
    np.testing.assert_allclose(B @ x, y, atol=1e-7 * np.linalg.norm(y))
    # The flow is integrated in logarithms, so that small entries are as accurate as large ones,
    # as long as floats hold them at all.
    seen = x > 1e-290
    moved = np.log(x[seen] / d[seen]) - log10_alpha * np.log(10)
    rows = B[:, seen].T
    rest = moved - rows @ np.linalg.lstsq(rows, moved)[0]
    assert np.max(np.abs(rest)) < 1e-5


def check_tie(ds):
    B = ds.A.values
    same = [(i, k) for i in range(B.shape[1]) for k in range(i) if np.array_equal(B[:, i], B[:, k])]
    assert len(same) == 1
    (i, k) = same[0]
    for start in ds.start.values:
        one = ds.sel(start=start)
        d = one.u_start.values**2
        for X in (one.limit.values, *one.X.values):
            np.testing.assert_allclose(X[i, i] / X[k, k], d[i] / d[k], rtol=1e-6)


def check_misfit(ds):
    """Conditions of nonnegative least squares: B'(Bx - y) >= 0, and = 0 where x > 0."""
    B, y = ds.misfit_A.values, ds.misfit_targets.values
    for x in ds.misfit_x.values:
        gradient = B.T @ (B @ x - y)
        assert np.all(x >= 0)
        assert np.min(gradient) > -1e-5
        assert np.max(np.abs(gradient * x)) < 1e-5
    assert np.all(ds.misfit_distance > 0.1)
    missed = np.linalg.norm(ds.misfit_x.values @ B.T - y, axis=1)
    np.testing.assert_allclose(ds.misfit_distance, missed, rtol=1e-12)
    # The solution of the reference meets the same conditions to rounding, and has its distance.
    x = ds.misfit_solution.values
    gradient, size = B.T @ (B @ x - y), np.linalg.norm(B) * np.linalg.norm(y)
    assert np.all(x >= 0)
    assert np.min(gradient) > -1e-12 * size
    assert np.max(np.abs(gradient * x)) < 1e-12 * size
    np.testing.assert_allclose(ds.misfit_least, np.linalg.norm(B @ x - y), rtol=1e-12)
