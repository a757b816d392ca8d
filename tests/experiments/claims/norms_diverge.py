"""The flow in other variables, (log X11, X12, log det X), by SciPy: det > 0 is built in."""

import numpy as np
from scipy.integrate import solve_ivp


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
    known = {1e2: 7.85455291, 1e3: 17.90018161}
    for time, value in known.items():
        found = ds.X11.sel(log10_alpha=-2).sel(time=time, method="nearest")
        assert abs(float(found) - value) < 1e-6
    # No X fits, and no certificate may say that one is minimal.
    assert not np.any(np.isin(ds.verdict.values, ["minimal", "not minimal"]))
    # The determinant falls for ever, and never reaches zero.
    assert np.all(np.diff(ds.log10_det.values, axis=1) < 0)


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
