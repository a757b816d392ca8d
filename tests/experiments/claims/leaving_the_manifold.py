"""Gradient descent and the flow, written out in the eigenvectors, and the distances between."""

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import linprog

from implicit_flow.experiments.leaving_the_manifold import _outcome


def problems(ds):
    """Spectra and targets: of the random problem, and of that which measures the trace."""
    tied = np.stack([np.ones(ds.attrs["dim"]), np.linspace(0, 1, ds.attrs["dim"])])
    return {
        "unique": (ds.spectra.values, ds.targets.values),
        # In units in which |A*(y)| = 1.
        "not unique": (tied / np.sqrt(1.4), np.array([1.0, 0.4]) / np.sqrt(1.4)),
    }


def descent(spectra, y, start, steps, momenta):
    """Factors of the rows of U, for each (alpha, step, momentum): all else is X0.

    Also sum_t h g^2 of each run.
    """
    grown, velocity = np.ones_like(start), np.zeros_like(start)
    squares = np.zeros_like(start)
    for _ in range(10**6):
        off = (start * grown**2) @ spectra.T - y
        g = off @ spectra
        velocity = momenta * velocity + g * grown
        grown = grown - steps * (1 - momenta) * velocity
        squares += steps * g**2
        if np.abs(off).max() < 1e-10:
            break
    return grown, squares


def limit_of_flow(spectra, y, start):
    """s of the end of the flow: ds/dt = -r, then a few steps of Newton."""
    residual = lambda s: spectra @ (start * np.exp(2 * s @ spectra)) - y
    found = solve_ivp(
        lambda t, s: -residual(s), (0, 1e4), np.zeros(2), method="LSODA", rtol=1e-8, atol=1e-10
    )
    s = found.y[:, -1]
    for _ in range(3):
        curvature = 2 * (spectra * start * np.exp(2 * s @ spectra)) @ spectra.T
        s = s - np.linalg.solve(curvature, residual(s))
    return s


def scaled(X, factors):
    return factors[:, None] * X * factors


def apart(X, Y):
    return np.linalg.norm(X - Y) / np.linalg.norm(Y)


def distance_from_manifold(X, spectra, start, s):
    """min_s |X - e^A*(s) X0 e^A*(s)| / |X|, by Gauss-Newton from the limit of the flow."""
    Y = scaled(start, np.exp(s @ spectra))
    for _ in range(8):
        slope = np.stack([(row[:, None] + row) * Y for row in spectra]).reshape(2, -1).T
        s = s + np.linalg.lstsq(slope, (X - Y).ravel(), rcond=None)[0]
        Y = scaled(start, np.exp(s @ spectra))
    return np.linalg.norm(X - Y) / np.linalg.norm(X)


def off_span(spectra, v):
    return np.linalg.norm(v - spectra.T @ np.linalg.lstsq(spectra.T, v, rcond=None)[0])


def check_steps(ds, spectra, y, start):
    """Each step and momentum at one alpha."""
    X0 = 10.0 ** ds.attrs["start_log10_alpha"] * start
    steps, momenta = (a.ravel()[:, None] for a in np.meshgrid(ds.step, ds.momentum, indexing="ij"))
    diagonal = np.tile(np.diag(X0), (len(steps), 1))
    grown, squares = descent(spectra, y, diagonal, steps, momenta)
    s = limit_of_flow(spectra, y, np.diag(X0))
    flow = scaled(X0, np.exp(s @ spectra))
    ends = [scaled(X0, row) for row in grown]
    shape = ds.log_distance.shape
    for name, values, rtol in (
        # Both stop at a small misfit; the distances stand still by then.
        ("log_distance", [off_span(spectra, np.log(row**2)) for row in grown], 1e-5),
        ("shift", [apart(X, flow) for X in ends], 1e-4),
        ("distance", [distance_from_manifold(X, spectra, X0, s) for X in ends], 1e-4),
    ):
        np.testing.assert_allclose(ds[name], np.reshape(values, shape), rtol=rtol, err_msg=name)
    step = float(ds.step[-1])
    constant = off_span(spectra, squares[-len(ds.momentum)])
    # A sum over steps for an integral: of first order in the step, itself below 0.1.
    np.testing.assert_allclose(ds.attrs["constant"], constant, rtol=2 * step)
    predicted = ds.attrs["constant"] * steps * (1 + momenta) / (1 - momenta)
    np.testing.assert_allclose(ds.predicted, np.reshape(predicted, shape), rtol=1e-12)


def check_alphas(one, spectra, y, start, step):
    """The largest step, from smaller and smaller starts."""
    alphas = 10.0 ** one.log10_alpha.values[:, None]
    grown, _ = descent(spectra, y, alphas * np.diag(start), step, 0.0)
    shifts, traces = [], []
    for alpha, row in zip(alphas[:, 0], grown, strict=True):
        s = limit_of_flow(spectra, y, alpha * np.diag(start))
        shifts.append(apart(scaled(start, row), scaled(start, np.exp(s @ spectra))))
        traces.append(np.sum(alpha * np.diag(start) * row**2))
    np.testing.assert_allclose(one.shift_of_alpha, shifts, rtol=1e-4)
    # X that fits may as well be diagonal: a linear program.
    least = linprog(np.ones(len(start)), A_eq=spectra, b_eq=y).fun
    np.testing.assert_allclose(
        one.trace_excess_of_alpha, np.array(traces) / least - 1, rtol=1e-4, atol=1e-8
    )


def check_outcome(ds):
    """It is the numbers that decide: what exceeds rounding, and what has begun to fall."""
    judged = lambda **other: _outcome(ds.assign(other))["outcome"]
    assert judged() == "holds"
    assert judged(log_distance=1.1 * ds.log_distance) == "fails"
    on_factor, on_matrix, exponential = ds.log_distance_by_update.values
    axes, rounding = ds.log_distance_by_update.dims, float(ds.rounding_of_log_distance)
    updates = lambda last: {"log_distance_by_update": (axes, [on_factor, on_matrix, last])}
    assert judged(**updates(exponential + 2 * max(rounding, 1e-9))) == "fails"
    assert judged(**updates(on_factor)) == "fails"
    # As much as other steps leave, where all of it may be rounding.
    assert judged(rounding_of_log_distance=((), 1.0), **updates(on_factor)) == "undecided"
    rising = ds.shift_of_alpha.isel(log10_alpha=slice(None, None, -1)).values
    tied = ds.shift_of_alpha.values[1]
    grown = (ds.shift_of_alpha.dims, np.array([rising[0], tied]))
    excess = ds.trace_excess_of_alpha
    assert judged(shift_of_alpha=grown) == "fails"
    assert judged(shift_of_alpha=grown, trace_excess_of_alpha=excess + 0.1) == "undecided"
    # Where it is not unique the shift grows in the end, of which alpha = 0.01 says nothing.
    fallen = (ds.shift_of_alpha.dims, np.array([ds.shift_of_alpha.values[0], tied[::-1]]))
    assert judged(shift_of_alpha=fallen) == "fails"
    early = ds.assign_coords(log10_alpha=ds.log10_alpha / 10).assign(shift_of_alpha=fallen)
    assert _outcome(early)["outcome"] == "undecided"


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    check_outcome(ds)
    for name, (spectra, y) in problems(ds).items():
        one = ds.sel(minimizer=name)
        start = one.start.values
        if name == "unique":
            np.testing.assert_allclose(ds.start_diagonal, np.diag(start), rtol=1e-12)
            check_steps(ds, spectra, y, start)
        check_alphas(one, spectra, y, start, float(ds.step[0]))
    by_update = ds.log_distance_by_update.values
    np.testing.assert_allclose(by_update[0], ds.log_distance[:2, 0], rtol=1e-12)
    # log(1 - 2hg) against 2 log(1 - hg): twice the distance to first order.
    np.testing.assert_allclose(by_update[1] / by_update[0], 2, rtol=2 * float(ds.step[0]))
    # Exponential steps stay: what is seen is rounding.
    assert np.all((by_update[2] >= 0) & (by_update[2] < 1e-6))
    # Left multiplication does not see an orthogonal matrix on the right; rounding adds up.
    assert np.all((ds.factorization_dependence >= 0) & (ds.factorization_dependence < 1e-11))
    assert float(ds.factorization_dependence_of_adam.min()) > 1e-3
    assert np.all((ds.misfit >= 0) & (ds.misfit < 1e-6))
    # The first order of the shift in X is that in log X, at most: |dX| <= |X| |d log X|.
    assert float((ds.distance / ds.log_distance).max()) < 1
    # Where the trace is measured, every fit has the least trace: only the point moves.
    assert float(np.abs(ds.trace_excess_of_alpha.sel(minimizer="not unique")).max()) < 1e-6
