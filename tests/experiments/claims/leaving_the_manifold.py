"""The distance from the manifold, against gradient descent written out in the eigenvectors."""

import numpy as np


def written_out(ds, step, momentum=0.0):
    """The distance of log X from the span, and int g^2 dt along the steps, in plain NumPy."""
    spectra, y = ds.spectra.values, ds.targets.values
    u = np.sqrt(10.0 ** ds.attrs["start_log10_alpha"] * ds.start_diagonal.values)
    log_start, velocity, squares = 2 * np.log(u), np.zeros_like(u), np.zeros_like(u)
    for _ in range(10**6):
        g = (spectra @ u**2 - y) @ spectra
        velocity = momentum * velocity + g * u
        u = u - step * (1 - momentum) * velocity
        squares = squares + step * g**2
        if np.linalg.norm(spectra @ u**2 - y) < 1e-9 * np.linalg.norm(y):
            break
    off = lambda v: v - spectra.T @ np.linalg.lstsq(spectra.T, v, rcond=None)[0]
    return np.linalg.norm(off(2 * np.log(u) - log_start)), np.linalg.norm(off(squares))


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    step = float(ds.step[-1])
    distance, constant = written_out(ds, step)
    # Both stop at a misfit of 1e-9; the distance stands still by then.
    np.testing.assert_allclose(ds.log_distance[-1, 0], distance, rtol=1e-5)
    # A sum over steps for an integral: of first order in the step, itself below 0.1.
    np.testing.assert_allclose(ds.attrs["constant"], constant, rtol=2 * step)
    np.testing.assert_allclose(ds.predicted[-1, 0], ds.attrs["constant"] * step, rtol=1e-12)
    slow, _ = written_out(ds, step, 0.5)
    np.testing.assert_allclose(ds.log_distance[-1, 1], slow, rtol=1e-5)
    # log(1 - 2hg) against 2 log(1 - hg): twice the distance to first order.
    by_update = ds.log_distance_by_update.values
    np.testing.assert_allclose(by_update[1] / by_update[0], 2, rtol=2 * float(ds.step[0]))
    # Left multiplication does not see an orthogonal matrix on the right; rounding adds up.
    assert float(ds.factorization_dependence.max()) < 1e-11
    assert float(ds.factorization_dependence_of_adam.min()) > 1e-3
    # The first order of the shift in X is that in log X, at most: |dX| <= |X| |d log X|.
    assert float((ds.distance / ds.log_distance).max()) < 1
    # Where the trace is measured, every fit has the least trace: only the point moves.
    assert float(np.abs(ds.trace_excess_of_alpha.sel(minimizer="not unique")).max()) < 1e-6
