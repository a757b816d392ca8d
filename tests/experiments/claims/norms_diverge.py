"""The flow in other variables, (log X11, X12, log det X), by SciPy: det > 0 is built in."""

from unittest import mock

import numpy as np
import xarray
from scipy.integrate import solve_ivp

from implicit_flow.experiments import norms_diverge


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    for alpha in ds.log10_alpha.values:
        one = ds.sel(log10_alpha=alpha)
        entries, log10_det = reference(float(alpha), ds.time.values)
        found = one.X.values[:, [0, 0, 1], [0, 1, 1]]
        # What the reference keeps of X22 = (X12^2 + det) / X11, and the solver's own estimate.
        size = np.linalg.norm(found, axis=1, keepdims=True)
        allowed = one.error_estimate.values[:, None] + 1e-7
        assert np.all(np.abs(found - entries) <= allowed * size)
        np.testing.assert_allclose(one.log10_det, log10_det, rtol=1e-4, atol=1e-4)
        assert np.all(np.isfinite(one.log10_det))
        check_entries(one)
        check_naive(one, entries, log10_det)
    np.testing.assert_allclose(ds.law, (6 * ds.time.values) ** (1 / 3), rtol=1e-12)
    known = {1e2: 7.85455291, 1e3: 17.90018161}
    for time, value in known.items():
        found = ds.X11.sel(log10_alpha=-2).sel(time=time, method="nearest")
        assert abs(float(found) - value) < 1e-6
    # No X fits, and no certificate may say that one is minimal.
    assert not np.any(np.isin(ds.verdict.values, ["minimal", "not minimal"]))
    # The determinant falls for ever, and never reaches zero.
    assert np.all(np.diff(ds.log10_det.values, axis=1) < 0)
    check_outcome(ds)
    check_patience(ds.isel(log10_alpha=-1))


def check_outcome(ds):
    """It is the numbers that decide, of the times after the flow has left 0."""
    judged = lambda **other: norms_diverge._outcome(ds.assign(other))["outcome"]
    assert judged() == "holds"
    for name in ("X11", "nuclear_norm", "frobenius_norm", "spectral_norm"):
        assert judged(**{name: xarray.full_like(ds[name], 1.0)}) == "fails"
    assert judged(log10_det=ds.log10_det + 0.01) == "fails"
    assert judged(log10_det_of_X=np.nan * ds.log10_det_of_X) == "undecided"
    assert judged(loss=ds.loss + 1) == "undecided"


def check_entries(one):
    """What is made of X: a symmetric 2 x 2 matrix with positive eigenvalues."""
    X = one.X.values
    a, b, c = X[:, 0, 0], X[:, 0, 1], X[:, 1, 1]
    np.testing.assert_array_equal(X[:, 1, 0], b)
    largest = (a + c + np.sqrt((a - c) ** 2 + 4 * b**2)) / 2
    for name, value in {
        "X11": a,
        "nuclear_norm": a + c,
        "frobenius_norm": np.sqrt(a**2 + 2 * b**2 + c**2),
        "spectral_norm": largest,
    }.items():
        np.testing.assert_allclose(one[name], value, rtol=1e-12, err_msg=name)
    off = np.stack([b - 1, b - 1, c], axis=1)
    np.testing.assert_allclose(one.loss, np.sum(off**2, axis=1) / 2, rtol=1e-7)
    det = a * c - b**2
    shown = det > 1e-6 * a * c
    # Where the difference loses no more than six digits of sixteen.
    np.testing.assert_allclose(10 ** one.log10_det_of_X.values[shown], det[shown], rtol=1e-8)
    assert np.all(np.isnan(one.log10_det_of_X.values[~shown]))


def check_naive(one, entries, log10_det):
    """It follows the flow, until it has lost the determinant; then it fits, and rests."""
    early, late = one.time.values <= 101, one.time.values >= 999
    a, b, c = entries[early].T
    # A relative tolerance of 1e-8 a step.
    np.testing.assert_allclose(one.naive_X11[early], a, rtol=1e-4)
    loss = (b - 1) ** 2 + c**2 / 2
    np.testing.assert_allclose(one.naive_loss[early], loss, rtol=1e-4)
    np.testing.assert_allclose(one.naive_det[early], 10 ** log10_det[early], rtol=1e-2, atol=1e-9)
    # W12 = W21 = 1 and W22 = 0, which no matrix with det W > 0 has; W11 is then left alone.
    assert np.all((one.naive_loss[late] >= 0) & (one.naive_loss[late] < 1e-15))
    np.testing.assert_allclose(one.naive_det[late], -1, atol=1e-6)
    np.testing.assert_allclose(one.naive_X11[late], one.naive_X11[-1], rtol=1e-9)
    assert np.all(one.naive_X11[late] < one.X11[late])


def check_patience(one):
    """A naive method that does not get on is stopped, and says so by nan."""
    with mock.patch.object(norms_diverge, "_PATIENCE", 100):
        found = norms_diverge._naive(float(one.log10_alpha), one.time.values)
    for name, values in found.items():
        reached = np.isfinite(values)
        assert 0 < np.sum(reached) < values.size
        assert np.all(np.diff(reached.astype(int)) <= 0)
        np.testing.assert_array_equal(values[reached], one[f"naive_{name}"].values[reached])


def reference(log10_alpha, times):
    def velocity(t, state):
        a, b, det = np.exp(state[0]), state[1], np.exp(state[2])
        c = (b * b + det) / a
        r = b - 1
        return [-2 * r * b / a, -(r * (a + c) + c * b), -2 * c]

    start = [log10_alpha * np.log(10), 0.0, 2 * log10_alpha * np.log(10)]
    found = solve_ivp(
        velocity, (0, times[-1]), start, method="Radau", t_eval=times, rtol=1e-10, atol=1e-12
    )
    assert found.success
    a, b, log_det = np.exp(found.y[0]), found.y[1], found.y[2]
    return np.stack([a, b, (b * b + np.exp(log_det)) / a], axis=1), log_det / np.log(10)
