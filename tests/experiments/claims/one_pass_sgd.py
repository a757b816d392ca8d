"""Excess risks are never negative, and in the mean below the bound where f is convex."""

import numpy as np


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    risk, convex = ds.excess_risk, ds.is_convex == 1
    # Exact sums over the population: nothing is below the least risk but by what L-BFGS leaves.
    assert float(risk.where(convex).min()) > -1e-7
    one = risk.sel(learner="one pass")
    mean = one.mean("trial")
    assert bool((mean <= ds.bound).where(convex, True).all())
    # Bounds fall like 1 / sqrt(t).
    ratio = ds.bound.isel(t=0) / ds.bound.isel(t=-1)
    np.testing.assert_allclose(ratio, np.sqrt(float(ds.t[-1] / ds.t[0])), rtol=1e-12)
    # More samples, less risk.
    assert bool((mean.isel(t=-1) < mean.isel(t=0)).where(convex, True).all())
    # Few samples do not determine w: without a penalty their minimizer is worse than one pass.
    few = risk.isel(t=0).sel(problem="supervised, SGD").mean("trial")
    assert float(few.sel(learner="minimized")) > float(few.sel(learner="one pass"))
