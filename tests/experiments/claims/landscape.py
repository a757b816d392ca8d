"""What closed forms and theorems fix about the landscapes."""

import numpy as np

from implicit_flow.experiments import landscape
from implicit_flow.experiments._landscape_models import NO_SPURIOUS


def check_outcome(ds):
    """Descents that were cut off, and a search that finds nothing, decide nothing."""
    judged = lambda **other: landscape._outcome(ds.assign(other))["outcome"]
    assert judged() == "holds"
    far = {"moved_distance": ds.moved_bound + 1}
    assert judged(**far) == "fails"
    assert judged(**far, moved_slope=ds.moved_slope + 1) == "undecided"
    assert judged(**far, moved_slope=np.nan * ds.moved_slope) == "undecided"
    # A census of nothing, with every start trapped.
    nothing = {"points": 0 * ds.points, "trapped": 0 * ds.trapped + 1}
    assert judged(**nothing) == "undecided"
    assert judged(trapped=0 * ds.trapped + 1) == "undecided"
    assert judged(unseen=ds.unseen + 1) == "undecided"
    assert judged(unfinished=ds.unfinished + 1) == "undecided"
    assert judged(family_unfinished=ds.family_unfinished + 0.1) == "undecided"
    assert judged(saddle_global=0 * ds.saddle_global) == "undecided"
    # What is found is found, be others cut off.
    some = ds.points + (ds.kind == "spurious minimum")
    assert judged(points=some, unfinished=ds.unfinished + 1) == "fails"
    # No model of those for which it is claimed.
    others = ds.isel(model=[name not in NO_SPURIOUS for name in ds.model.values])
    assert landscape._outcome(others)["outcome"] == "undecided"


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    check_outcome(ds)
    family(ds)
    census(ds)
    curvature(ds)
    # 2 ||w|| / sqrt(1 - delta): every end is as good as the best approximation of rank r.
    assert bool((ds.moved_distance <= ds.moved_bound * (1 + 1e-6)).all())
    assert bool((ds.moved_distance > 0).all())
    steps(ds)


def family(ds):
    """Everything about it is known in closed form."""
    d = ds.delta.values
    assert np.all(ds.family_lower <= d + 1e-12)
    assert np.all(ds.family_upper >= d)
    # Newton's method to rounding; power steps at a ratio of eigenvalues (1 - d) / (1 + d).
    np.testing.assert_allclose(ds.family_lower, d, atol=1e-6)
    np.testing.assert_allclose(ds.family_upper, d, atol=1e-12)
    np.testing.assert_allclose(ds.family_point, np.sqrt(d), atol=1e-10)
    np.testing.assert_allclose(ds.family_value, 1 - d**2, atol=1e-10)
    np.testing.assert_allclose(ds.family_curvature, -4 + 4 * d + 8 * d**2, atol=1e-9)
    # The root of 8 d^2 + 4 d - 4.
    assert abs(ds.attrs["threshold"] - 0.5) < 1e-9
    trapped = ds.family_trapped.values
    assert np.all(trapped[d < 0.5] == 0)
    assert np.all(trapped[d >= 0.6] > 0)
    # Where a minimum above zero exists descent comes to rest in it, or at zero.
    assert np.all(ds.family_unfinished.values[(d < 0.4) | (d > 0.6)] == 0)


def census(ds):
    points = ds.points
    pca = points.sel(model="principal components")
    instances = int(pca.sel(kind="global minimum"))
    # Eigenvalues 2, 1, 0, 0 and two columns: one value of minima, three sets S that miss one.
    assert instances >= 1
    assert int(pca.sum()) == int(pca.sel(kind=["global minimum", "strict saddle"]).sum())
    assert 1 <= int(pca.sel(kind="strict saddle")) <= 3 * instances
    # At S = {2} the curvature is minus the eigenvalue that is missing, 1; the others have -2.
    flattest = float(ds.flattest_saddle.sel(model="principal components"))
    np.testing.assert_allclose(flattest, -1, atol=1e-4)
    for name in ("principal components", "synchronization"):
        if name in ds.model:
            assert float(ds.trapped.sel(model=name)) == 0
    if "deep linear, N = 3" in ds.model:
        # Zero is critical without any curvature; with two layers every saddle is strict.
        assert int(points.sel(model="deep linear, N = 3", kind="degenerate")) >= 1
        assert int(points.sel(model="deep linear, N = 2", kind="degenerate")) == 0
        deep = points.sel(model=["deep linear, N = 2", "deep linear, N = 3", "synchronization"])
        assert int(deep.sel(kind="spurious minimum").sum()) == 0


def curvature(ds):
    assert bool((ds.saddle_lower <= ds.saddle_upper).all())
    close = ds.saddle_upper <= 0.1
    assert bool(close.any())
    found = ds.saddle_flattest.where(close)
    assert int(found.count()) >= 1
    assert float(found.max()) <= -0.2
    assert int(ds.saddle_spurious.where(ds.saddle_upper < 0.2).sum()) == 0
    # At delta = 0 the flattest saddle has curvature -sigma_r; the Hessian moves by a few delta
    # times sigma_1 = 2 sigma_r.
    assert bool((abs(found + 1) <= 8 * ds.saddle_upper).where(close & found.notnull(), True).all())


def steps(ds):
    assert bool(np.isfinite(ds.steps).all())
    large = ds.condition.values >= 4
    mean = np.log(ds.steps.isel(dim=-1).mean("start").values)[large]
    slope = np.polyfit(np.log(ds.condition.values[large]), mean, 1)[0]
    # Near the minimum the error falls by 1 - c / kappa a step: proportional to kappa, up to the
    # time to get there.
    assert 0.5 < slope < 1.5
    along = np.log(ds.steps.isel(condition=-1).mean("start").values)
    assert np.polyfit(np.log(ds.dim.values), along, 1)[0] < 0.7
