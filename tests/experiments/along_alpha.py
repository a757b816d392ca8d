"""Measurements that commute: ends, paths and slopes once more, by Newton and an ODE in NumPy."""

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import linprog


def check_along(cell, basis, B, y, U):
    """Hold one instance and start to its own X, to the dual in R^m, and to an ODE of eigenvalues.

    Args:
        cell: the dataset at one instance and start.
        basis: common eigenvectors.
        B: their eigenvalues, one row for each measurement.
        y: targets.
        U: the start U~.
    """
    found = linprog(-y, A_ub=B.T, b_ub=np.ones(B.shape[1]), bounds=(None, None))
    slopes = found.x @ B
    active = slopes > 1 - 1e-7
    theory = np.min(1 - slopes[~active])
    np.testing.assert_allclose(cell.theory, theory, rtol=1e-7)
    rotated = basis.T @ U
    seeds = np.log(np.sum(rotated**2, axis=1))
    check_ends(cell, basis, B, rotated, lambda a: newton(B, y, seeds + a, -a / 2 * found.x))
    # So small an alpha that there is the leading term alone; logarithms of x do not underflow.
    tiny = -1e5
    logs = seeds + tiny + 2 * newton(B, y, seeds + tiny, -tiny / 2 * found.x) @ B
    powers = 1 - slopes[~active]
    terms = powers * np.exp(logs[~active] - tiny * powers + np.outer(log_alpha(cell), powers))
    leading = np.sum(terms, axis=1) / np.sum(np.exp(logs[active]))
    np.testing.assert_allclose(cell.leading_excess, leading, rtol=1e-6, atol=1e-300)
    check_beyond(
        cell, lambda a: newton(B, y, seeds + a, -a / 2 * found.x) @ B, seeds, slopes, active
    )
    check_paths(cell, B, y, seeds)
    check_slopes(cell, theory)


def check_beyond(cell, solved, seeds, slopes, active):
    """How far the excess is from its leading term, where this is not far; never understated."""
    for k, log_a in enumerate(log_alpha(cell)):
        x = np.exp(seeds + log_a + 2 * solved(log_a))
        excess = np.sum(((1 - slopes) * x)[~active]) / np.trace(cell.limit.values)
        said, leading = float(cell.beyond_leading[k]), float(cell.leading_excess[k])
        # Beyond a tenth the second order counts, and below 1e-9 rounding.
        if 1e-9 < said < 0.1 and leading > 1e-280:
            assert abs(excess / leading - 1) <= 1.2 * said + 1e-9


def log_alpha(cell):
    return cell.log10_alpha.values * np.log(10)


def newton(B, y, seeds, s):
    """The s with B e^{seeds + 2 B's} = y, from near it: a convex function is least there."""
    value = lambda s: 0.5 * np.sum(np.exp(np.minimum(seeds + 2 * s @ B, 600))) - y @ s
    late = False
    for _ in range(500):
        x = np.exp(seeds + 2 * s @ B)
        gradient = B @ x - y
        late = late or np.linalg.norm(gradient) < 1e-3 * np.linalg.norm(y)
        # The ridge keeps early steps finite, where x is tiny.
        ridge = 0 if late else 1e-9
        step = np.linalg.solve(2 * (B * x) @ B.T + ridge * np.eye(len(y)), gradient)
        step *= min(1, 1 / max(np.max(np.abs(2 * step @ B)), 1e-300))
        while not late and value(s - step) > value(s) + 1e-13 * abs(value(s)):
            step /= 2
        s = s - step
        if late and np.max(np.abs(step @ B)) <= 1e-15 * max(1, np.max(np.abs(s @ B))):
            break
    assert np.linalg.norm(B @ np.exp(seeds + 2 * s @ B) - y) < 1e-9 * np.linalg.norm(y)
    return s


def check_ends(cell, basis, B, rotated, solved):
    """Distances are those of the X that are kept; the end of the closed form, of Newton's s."""
    limit = cell.limit.values
    for k, log_a in enumerate(log_alpha(cell)):
        one = cell.isel(log10_alpha=k)
        if one.verdict == "left out":
            continue
        X = one.X.values
        away = np.linalg.norm(X - limit) / np.linalg.norm(limit)
        np.testing.assert_allclose(one.distance_to_limit, away, rtol=1e-9, atol=1e-15)
        assert abs(float(one.excess) - (np.trace(X) / np.trace(limit) - 1)) < 1e-14
        F = basis @ (np.exp(log_a / 2 + solved(log_a) @ B)[:, None] * rotated)
        off = np.linalg.norm(X - F @ F.T) / np.linalg.norm(F @ F.T)
        assert off - 1e-11 <= float(one.error_estimate) < 1e-4
        # Two Newton methods, each to the rounding of exponents as large as log(alpha).
        allowed = 1e-13 + 1e-15 * abs(log_a)
        np.testing.assert_allclose(one.distance_to_closed_form, off, rtol=1e-6, atol=allowed)


def check_paths(cell, B, y, seeds):
    """d log x / dt = 2 B'(y - B x) in time, where the experiment integrates m numbers s."""
    least, n = np.trace(cell.limit.values), B.shape[1]
    rate = np.max(y @ B)
    for k, log10_alpha in enumerate(cell.path.values):
        one = cell.isel(path=k)
        if np.isnan(one.path_error):
            continue
        log_a = log10_alpha * np.log(10)
        times = cell.time.values * -log_a / (2 * rate)
        logs = solve_ivp(
            lambda t, z: 2 * B.T @ (y - B @ np.exp(np.minimum(z, 500))),
            (0, times[-1]),
            seeds + log_a,
            method="LSODA",
            t_eval=times,
            rtol=1e-9,
            atol=1e-9,
            # Before the escape all is constant: a long step would jump past it.
            max_step=times[-1] / 100,
        ).y
        trace = np.exp(logs).sum(axis=0) / least
        np.testing.assert_allclose(one.trace_closed_form, trace, rtol=3e-5)
        # A trace is off by n times the largest entry that is off at most, and this by path_error.
        off = np.max(np.abs(one.trace / one.trace_closed_form - 1).values)
        assert off / n - 1e-13 <= float(one.path_error) < 1e-3


def check_slopes(cell, theory):
    """Between the last two rungs that are small and still far above rounding."""
    small = (cell.leading_excess.values < 0.01 * theory) & (cell.beyond_leading.values < 0.03)
    seen = small & (cell.excess.values > 1e-6)
    near = (cell.distance_to_limit.values < 0.03) & (cell.distance_to_limit.values > 1e-6)
    for name, heights, usable in (
        ("exponent", cell.excess, seen),
        ("exponent_of_leading", cell.leading_excess, seen),
        ("exponent_of_distance", cell.distance_to_limit, near),
    ):
        last = np.flatnonzero(usable)[-2:]
        slope = np.nan
        if len(last) == 2:
            slope = np.diff(np.log(heights.values[last])) / np.diff(log_alpha(cell)[last])
        np.testing.assert_allclose(cell[name], np.squeeze(slope), rtol=1e-9)
