"""The counterexamples' numbers are known; commuting limits are least, by a theorem."""

import numpy as np


def check(ds):
    assert ds.attrs["outcome"] == "fails"
    # Least norm and norm of the limit, found beforehand by a program that shares no code.
    known = {
        "3 x 3": (1.674316024366309, 1.678507352080517),
        "4 x 4": (8.0, 10.0),
    }
    for name in ds.known.values:
        one = ds.sel(known=name)
        least, limit = known[str(name)]
        # The convex solver's gap, and the limit's own error.
        assert abs(float(one.known_least_nuclear_norm) / least - 1) < 1e-6
        assert abs(float(one.known_nuclear_norm) / limit - 1) < 1e-6
        assert one.known_verdict == "not minimal"
        # A proof may not claim more than is true.
        assert 0 < float(one.known_excess_at_least) <= limit / least - 1 + 1e-6
    if "4 x 4" in ds.known.values:
        assert int(ds.sel(known="4 x 4").known_limit_rank) == 1
        traces = {-2.0: 8.0935, -4.0: 8.6767, -8.0: 9.8061, -12.0: 9.9932}
        for log10_alpha, trace in traces.items():
            found = ds.known_norm.sel(known="4 x 4", log10_alpha=log10_alpha)
            assert abs(float(found) - trace) < 1e-4
    # What is said to be above the least norm is so, and no more.
    for before in ("", "known_"):
        ratio = ds[f"{before}nuclear_norm"] / ds[f"{before}least_nuclear_norm"]
        np.testing.assert_allclose(ds[f"{before}excess"], ratio - 1, atol=1e-12)
        assert np.all(ds[f"{before}excess_at_least"] <= ds[f"{before}excess"] + 1e-6)
    # From other starts too: what fits is not below the least norm.
    assert np.all(ds.excess_by_start.where(ds.misfit_by_start < 1e-6, 0) > -1e-6)
    assert np.any(ds.misfit_by_start < 1e-6)
    # The finer ladder ends where the ladder of the limit ends, at 1e-300.
    np.testing.assert_allclose(ds.known_norm[:, -1], ds.known_nuclear_norm, rtol=1e-6)
    # Nothing that fits has less than the least norm; no verdict is more certain than its numbers.
    fits = ds.misfit < 1e-6
    assert np.all(ds.excess.where(fits, 0) > -1e-6)
    assert np.all((ds.excess_at_least > 0) | (ds.verdict != "not minimal"))
    assert np.all((abs(ds.excess) < 1e-3) | (ds.verdict != "minimal"))
    if "commuting" in ds.kind.values:
        commuting = ds.sel(kind="commuting")
        assert not np.any(commuting.verdict == "not minimal")
        # Exponents g are no smaller than some 0.1 here, and alpha is 1e-300.
        assert np.all(commuting.excess < 1e-6)
    if "step_size" in ds.dims:
        # The path of gradient descent is off by the order of its step.
        ratio = ds.distance_by_step.values[:-1] / ds.distance_by_step.values[1:]
        halved = ds.step_size.values[:-1] / ds.step_size.values[1:]
        np.testing.assert_allclose(ratio, halved, rtol=0.25)
    if "spectrum" in ds.dims:
        # With nr / 4 numbers nobody can know nr: no method recovers, this one neither.
        assert np.all(ds.recovery_error.sel(measurements="nr/4") > 0.3)
        assert float(ds.recovery_error.sel(measurements="3nr", spectrum="rank 2")) < 0.05
        assert np.all(ds.recovery_misfit < 1e-2)
