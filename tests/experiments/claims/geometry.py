"""Nearest points by their optimality conditions, checked in NumPy; factor flow as mirror flow."""

import numpy as np
from scipy.optimize import linprog

from implicit_flow.experiments import geometry


# A misfit, relative to the targets, at which a descent has come to its end.
ARRIVED = 1e-7

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


def check_outcome(ds):
    """A counterexample is needed to hold, and another limit to fail."""
    judged = lambda **other: geometry._outcome(ds.assign(other))["outcome"]
    assert judged() == "holds"
    for norm in ("l1", "linf"):
        # Coordinate descent may happen to end at the least norm on each of a few instances.
        assert judged(excess=ds.excess.where(ds.norm != norm, 1e-9)) == "undecided"
    assert judged(excess=ds.excess.where(ds.norm != "l2", 1e-3)) == "fails"
    assert judged(flow_distance=ds.flow_distance + 1e-3) == "fails"
    # By its own estimate the flow may be that far off; descent may not have arrived.
    far = {"flow_distance": ds.flow_distance + 1e-3, "flow_error_estimate": ds.flow_distance + 1}
    assert judged(**far) == "undecided"
    assert judged(descent_misfit=ds.descent_misfit + 1e-3) == "undecided"
    for norm in ("l1", "l2", "linf"):
        late = ds.steepest_misfit.where(ds.norm != norm, 1.0)
        assert judged(steepest_misfit=late) == "undecided"
    # Nothing is left of descent, or of the comparison of the factor flow.
    lost = {name: np.nan * ds[name] for name in ("descent_distance", "descent_misfit", "excess")}
    assert judged(**lost, steepest_misfit=np.nan * ds.steepest_misfit) == "undecided"
    assert judged(factor_distance=np.nan * ds.factor_distance) == "undecided"


def check(ds):
    check_ends_of_steepest_descent(ds)
    # With other seeds some descent may not arrive in time, or end at the least norm by chance.
    assert ds.attrs["outcome"] == "holds" or (ds.attrs["seed"] and ds.attrs["outcome"] != "fails")
    if ds.attrs["outcome"] == "holds":
        check_outcome(ds)
    for k in ds.instance.values:
        A, y = ds.rows.sel(instance=k).values, ds.targets.sel(instance=k).values
        for name in ds.potential.values:
            one = ds.sel(instance=k, potential=name)
            x = one.x.values
            # grad psi(x) - grad psi(x0) in the row space, and A x = y at the end: necessary and
            # sufficient.
            missed = np.linalg.norm(A @ x - y) / np.linalg.norm(y)
            np.testing.assert_allclose(one.descent_misfit, missed, rtol=1e-3, atol=1e-14)
            theta = dual(str(name), x)
            outside = theta - np.linalg.pinv(A) @ (A @ theta)
            assert np.linalg.norm(outside) <= 1e-8 * np.linalg.norm(theta)
            if missed > ARRIVED:
                assert ds.attrs["outcome"] == "undecided"
                continue
            # The nearest point is x but for the distance between the two, which is said.
            least, room = np.linalg.pinv(A) @ y, 2e-6
            spread = np.linalg.norm(least - x) / np.linalg.norm(x)
            assert abs(float(one.spread) - spread) <= room * (1 + spread)
            # And so it is for the flow, whose own distance is said as well.
            if np.isfinite(one.flow_distance):
                apart = np.linalg.norm(one.flow_x.values - x) / np.linalg.norm(x)
                assert abs(float(one.flow_distance) - apart) <= room
    # The rest of the distance is what the misfit leaves; 1e-6 is what the reference does.
    ends = ds.descent_distance.where(ds.descent_misfit <= 1e-10)
    assert float(ends.max()) < 1e-6
    integrated = ds.flow_distance.notnull()
    assert int(integrated.sum()) >= ds.sizes["instance"]
    late = ds.flow_distance > ds.flow_error_estimate + 1e-6
    assert not bool((late & integrated).any())
    # Another geometry is another point, by whatever that may be.
    others = ds.spread.drop_sel(potential="quadratic")
    assert float(others.min()) > 1e-6
    # Between steps the interpolant of a flow is of lower order than its steps.
    assert float(ds.factor_distance.max()) < 1e-5
    # No solution has less than the least norm, and gradient descent has it.
    arrived = ds.excess.where(ds.steepest_misfit <= ARRIVED)
    assert float(arrived.min()) > -1e-6
    assert float(np.abs(arrived.sel(norm="l2")).max()) < 1e-6
    if ds.attrs["outcome"] == "holds":
        for norm in ("l1", "linf"):
            assert float(arrived.sel(norm=norm).max()) > 1e-3
