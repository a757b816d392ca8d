"""Nearest points by their optimality conditions, checked in NumPy; factor flow as mirror flow."""

import numpy as np
from scipy.optimize import linprog


DUALS = {
    "quadratic": lambda x: x,
    # From x0 = 0.1 and at beta = 0.1.
    "entropy": lambda x: np.log(x / 0.1),
    "hypentropy": lambda x: np.arcsinh(x / 0.1),
}


def dual(name, x):
    if name in DUALS:
        return DUALS[name](x)
    p = float(name.removesuffix("-norm"))
    return np.sign(x) * np.abs(x) ** (p - 1)


def least_norm(A, y, norm):
    """The least norm over A x = y: the pseudo-inverse, and linear programs of other variables."""
    m, n = A.shape
    if norm == "l2":
        return np.linalg.norm(np.linalg.pinv(A) @ y)
    if norm == "l1":
        # x = u - v, both nonnegative.
        return linprog(np.ones(2 * n), A_eq=np.hstack([A, -A]), b_eq=y).fun
    # Its dual: the largest y'z with |A'z|_1 at most 1, A'z = u - v.
    bounds = [(None, None)] * m + [(0, None)] * (2 * n)
    equal = np.hstack([A.T, -np.eye(n), np.eye(n)])
    total = np.concatenate([np.zeros(m), np.ones(2 * n)])[None]
    cost = np.concatenate([-y, np.zeros(2 * n)])
    return -linprog(cost, A_ub=total, b_ub=[1], A_eq=equal, b_eq=np.zeros(n), bounds=bounds).fun


def check_ends_of_steepest_descent(ds):
    orders = {"l1": 1, "l2": 2, "linf": np.inf}
    for k in ds.instance.values:
        A, y = ds.rows.sel(instance=k).values, ds.targets.sel(instance=k).values
        for norm, order in orders.items():
            one = ds.sel(instance=k, norm=norm)
            x = one.steepest_x.values
            missed = np.linalg.norm(x @ A.T - y, axis=1) / np.linalg.norm(y)
            np.testing.assert_allclose(one.steepest_misfit, missed, rtol=1e-3, atol=1e-14)
            excess = np.linalg.norm(x, order, axis=1) / least_norm(A, y, norm) - 1
            np.testing.assert_allclose(one.excess, excess, atol=1e-6)


def check(ds):
    check_ends_of_steepest_descent(ds)
    assert ds.attrs["outcome"] == "holds"
    for k in ds.instance.values:
        A, y = ds.rows.sel(instance=k).values, ds.targets.sel(instance=k).values
        for name in ds.potential.values:
            one = ds.sel(instance=k, potential=name)
            x = one.x.values
            # A x = y, and grad psi(x) - grad psi(x0) in the row space: necessary and sufficient.
            assert np.linalg.norm(A @ x - y) <= 1e-7 * np.linalg.norm(y)
            missed = np.linalg.norm(A @ x - y) / np.linalg.norm(y)
            np.testing.assert_allclose(one.descent_misfit, missed, rtol=1e-3, atol=1e-14)
            # The nearest point is x but for the distance between the two, which is said.
            least, room = np.linalg.pinv(A) @ y, 2e-6
            spread = np.linalg.norm(least - x) / np.linalg.norm(x)
            assert abs(float(one.spread) - spread) <= room * (1 + spread)
            # And so it is for the flow, whose own distance is said as well.
            if np.isfinite(one.flow_distance):
                apart = np.linalg.norm(one.flow_x.values - x) / np.linalg.norm(x)
                assert abs(float(one.flow_distance) - apart) <= room
            theta = dual(str(name), x)
            outside = theta - np.linalg.pinv(A) @ (A @ theta)
            assert np.linalg.norm(outside) <= 1e-8 * np.linalg.norm(theta)
    # Each end is within what it says of itself; 1e-6 is what the reference leaves.
    assert float(ds.descent_distance.max()) < 1e-6
    integrated = ds.flow_distance.notnull()
    assert int(integrated.sum()) >= ds.sizes["instance"]
    late = ds.flow_distance > ds.flow_error_estimate + 1e-6
    assert not bool((late & integrated).any())
    # Another geometry is another point.
    others = ds.spread.drop_sel(potential="quadratic")
    assert float(others.min()) > 1e-3
    # Between steps the interpolant of a flow is of lower order than its steps.
    assert float(ds.factor_distance.max()) < 1e-5
    # No solution has less than the least norm, and gradient descent has it.
    assert float(ds.excess.min()) > -1e-6
    assert float(np.abs(ds.excess.sel(norm="l2")).max()) < 1e-6
    for norm in ("l1", "linf"):
        assert float(ds.excess.sel(norm=norm).max()) > 1e-3
