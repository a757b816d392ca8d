"""Norms against exact values; W_k against convex optimality; bounded factors against theirs."""

import numpy as np

from implicit_flow.experiments import norms


def check_outcome(ds):
    """Norms and minima that are not known decide nothing."""
    judged = lambda **other: norms._outcome(ds.assign(other))["outcome"]
    # Both halves have to be measured.
    few = {name: ds[name] <= ds.attrs["side"] for name in ("columns", "row_columns")}
    for name, some in few.items():
        found = norms._outcome(ds.isel({name: np.flatnonzero(some)}))
        assert found["outcome"] == "undecided"
        assert found["outcome_text"].startswith("Not measured: ")
    # As wrong as its program says of itself.
    longest = ds.norm == "max-norm"
    wrong = {"by_cones": ds.by_cones * (1 + 0.3 * longest), "gap": ds.gap + 0.5 * longest}
    assert judged(**wrong) == "undecided"
    assert judged(row_least_gap=ds.row_least_gap + 0.1) == "undecided"
    # Descents that stopped at once, all at the same place: the best of them is proved by nothing.
    ends = ("value", "gap", "slope")
    assert judged(**{f"end_{end}": 0 * ds[f"end_{end}"] + 1 for end in ends}) == "undecided"
    assert judged(**{f"row_end_{end}": 0 * ds[f"row_end_{end}"] + 1 for end in ends}) == "undecided"
    # Above the least value, and at rest or not.
    enough = ds.columns > ds.attrs["side"]
    above = {"end_value": ds.end_value * (1 + 0.1 * enough), "end_gap": ds.end_gap + 0.2 * enough}
    above["share_above"] = ds.share_above.where(~enough, 1.0)
    assert judged(**above) == "fails"
    assert judged(**above, end_slope=ds.end_slope + 0.1 * enough) == "undecided"


def check(ds):
    if ds.attrs["outcome"] == "holds":
        check_outcome(ds)
    # By factors and by cones, and both against what is known exactly. Descent over factors stops
    # at slopes of 1e-11, and cones say their own gap.
    np.testing.assert_allclose(ds.by_factors, ds.by_cones, rtol=float(ds.gap.max()) + 1e-8)
    assert float(ds.gap.max()) < 1e-6
    assert float(ds.missing.max()) < 1e-12
    exact = {"identity": 1.0, "ones": 1.0, "1 1 1 -1": np.sqrt(2)}
    for name, value in exact.items():
        for way in (ds.by_factors, ds.by_cones):
            assert abs(float(way.sel(matrix=name, norm="max-norm")) / value - 1) < 1e-8
    sums = np.linalg.svd(ds.W.values, compute_uv=False).sum(-1)
    np.testing.assert_allclose(ds.by_factors.sel(norm="trace norm"), sums, rtol=1e-8)
    # Weights that sum to one: |diag(sqrt p) W diag(sqrt q)|_tr <= gamma_2(W).
    weighted, largest = (ds.by_cones.sel(norm=n) for n in ("weighted trace norm", "max-norm"))
    assert bool((weighted <= largest * (1 + 1e-6)).all())

    # Bounds are below what they bound, but for rounding.
    assert float(ds.gap.min()) > -1e-12
    assert float(ds.missing.min()) >= 0
    assert float(ds.row_least_gap.min()) > -1e-12

    # What is reported as the parts of an objective adds up to it.
    parts = ds.attrs["num_train"] * ds.train_error**2 / 2 + ds.penalty * ds.trace_norm
    np.testing.assert_allclose(parts.transpose(*ds.objective.dims), ds.objective, rtol=1e-10)
    # A larger rank contains a smaller one, and nothing is below the bound over all ranks.
    assert bool((ds.objective.diff("k") <= 1e-6 * ds.objective[:, 1:]).all())
    assert bool((ds.lower_bound <= ds.objective * (1 + 1e-12)).all())
    # With the largest penalty descent reaches the minimum over all ranks, and says so itself.
    last = ds.sel(penalty=float(ds.penalty.max())).isel(k=-1)
    assert float(last.objective / last.lower_bound) - 1 < 1e-4
    assert bool((ds.attained_rank <= ds.k).all())
    # The claim about norms, where the penalty is least.
    rows = ds.sel(penalty=float(ds.penalty.min()))
    later = rows.where(rows.k >= ds.attrs["fitting_rank"], drop=True)
    if ds.attrs["outcome"] == "holds" or not ds.attrs["seed"]:
        assert float(later.trace_norm[-1]) < float(later.trace_norm[0])
        assert float(later.attained_rank[-1]) > float(later.attained_rank[0])

    # Frank and Wolfe: the gap bounds the distance from the minimum of any rank.
    best = ds.end_value.min(("columns", "start"))
    # Both are sums over the entries, of the size of the value, and rounded.
    rounding = 4 * ds.attrs["side"] ** 2 * np.finfo(float).eps * ds.end_value
    assert bool((ds.end_gap >= (ds.end_value - best) * (1 - 1e-9) - rounding).all())
    enough = ds.sel(columns=[int(d) for d in ds.columns.values if d > ds.attrs["side"]])
    assert enough.sizes["columns"] > 0
    # Flat directions stop descent at 1e-8 or so of the loss.
    assert float((enough.end_gap / enough.end_value).max()) < 1e-5
    # Where few columns trap descent, it is at a minimum among them, and one more leads out.
    trapped = ds.end_value > best * (1 + 1e-6)
    # Whether they do is up to the instances.
    assert ds.attrs["seed"] or bool(trapped.isel(columns=0).any())
    stuck = trapped & (ds.end_gap > 1e-3 * ds.end_value)
    assert not bool((stuck & (ds.end_curvature <= -1e-4)).any())
    assert not bool((stuck & (ds.end_escape >= -1e-6)).any())

    # Shares are counts of the values that are kept.
    counted, own = ("radius", "instance", "start"), ds.end_value.min("start")
    np.testing.assert_allclose(ds.share_above, trapped.mean(counted))
    np.testing.assert_allclose(ds.share_spurious, (ds.end_value > own * (1 + 1e-6)).mean(counted))
    # Bounded rows: the convex program says its own gap, and the max-norm of its W by the norm's own
    # program, which is the bound where that binds (here all do: what fits has larger entries).
    least = ds.row_least_value
    assert float((ds.row_least_gap / least).max()) < 1e-6
    np.testing.assert_allclose(ds.row_least_max_norm, 1.0, atol=1e-6)
    # Nothing within the bound is below the minimum, and each end's own bound is no better.
    assert bool((ds.row_end_value >= least - ds.row_least_gap - 1e-9 * least).all())
    assert bool((ds.row_end_gap >= (ds.row_end_value - least) * (1 - 1e-9)).all())
    above = ds.row_end_value / least - 1
    room = 1e-6 * ds.row_end_value + ds.row_least_gap
    share = (ds.row_end_value - least > room).mean(("radius", "instance", "start"))
    np.testing.assert_allclose(ds.row_share_above, share)
    enough = above.where(ds.row_columns > 2 * ds.attrs["side"], drop=True)
    assert enough.sizes["row_columns"] > 0
    # Flat directions stop descent at 1e-8 or so of the loss.
    assert float(enough.max()) < 1e-6
    # One column cannot reach it: the program is no lower bound of these only.
    assert float(above.isel(row_columns=0).min()) > 1e-3
