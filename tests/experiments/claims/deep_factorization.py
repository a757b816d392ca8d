"""Two theorems, the equation of the singular values and balancedness; the rest is observed."""

import numpy as np


def check(ds):
    # The observation on ranks may fail on few instances; the theorems may not.
    assert ds.attrs["outcome"] in ("holds", "undecided")
    size = float(ds.exact.max())
    # The flow is asked for a relative error of 1e-5; the equation is solved to 1e-9.
    np.testing.assert_allclose(ds.singular_values, ds.exact, atol=1e-4 * size)
    start = 10.0 ** ds.attrs["log10_alpha"]
    np.testing.assert_allclose(ds.singular_values[:, 0], start, rtol=1e-8)
    # The integrator's tolerance is 1e-10 a step.
    assert float(ds.balance_moved.max()) < 1e-7
    assert float(ds.balance_at_start.sel(start="balanced").max()) < 1e-14
    assert float(ds.balance_at_start.sel(start="random").min()) > 1e-3
    # Finite steps do move it: the check above could fail.
    assert float(ds.balance_moved_by_steps.sel(start="random").min()) > 1e-6
    rank = ds.effective_rank
    assert float(rank.min()) >= 1 - 1e-9
    assert float(rank.max()) <= ds.attrs["dim"] + 1e-9
