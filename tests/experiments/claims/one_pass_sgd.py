"""Excess risks are never negative, and in the mean below the bound where f is convex."""

import numpy as np

from implicit_flow.experiments import one_pass_sgd


def check_outcome(ds):
    """The bound, and what is said of minimizers, are decided by numbers."""
    judged = lambda risk: one_pass_sgd._outcome(ds.assign(excess_risk=risk))["outcome"]
    assert judged(ds.excess_risk) == "holds"
    learned = {name: ds.learner == name for name in ds.learner.values}
    assert judged(ds.excess_risk.where(~learned["one pass"], 1e9)) == "fails"
    # The minimizer does as well without a penalty; or the penalty does not help.
    one, minimized = (ds.excess_risk.sel(learner=name) for name in ("one pass", "minimized"))
    assert judged(ds.excess_risk.where(~learned["minimized"], one / 2)) == "fails"
    assert judged(ds.excess_risk.where(~learned["minimized"], one)) == "undecided"
    assert judged(ds.excess_risk.where(~learned["penalized"], minimized)) == "fails"
    # One number is missing; none is judged: not the problem, or more samples than unknowns.
    first = (ds.trial == 0) & (ds.t == ds.t[0]) & (ds.problem == "supervised, SGD")
    assert judged(ds.excess_risk.where(~(first & learned["one pass"]))) == "undecided"
    others = [name for name in ds.problem.values if name.startswith("routes")]
    assert one_pass_sgd._outcome(ds.sel(problem=others))["outcome"] == "undecided"
    assert one_pass_sgd._outcome(ds.isel(t=slice(-1, None)))["outcome"] == "undecided"


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    check_outcome(ds)
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
