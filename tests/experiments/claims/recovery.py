"""What counting dimensions, full observation and the isometry constants fix."""

import numpy as np


# The nonconvex methods stop at a misfit of 1e-6; the flow at alpha > 0 is further away.
RECOVERED = 1e-3


def check(ds):
    recovered = ds.error < RECOVERED
    # Shares are of the trials, and of one threshold.
    np.testing.assert_allclose(ds.success, recovered.mean("trial"), atol=1e-12)
    complete = (ds.completion_error < RECOVERED).mean("trial")
    np.testing.assert_allclose(ds.completion_success, complete, atol=1e-12)
    # The planted matrix lies on a manifold of dimension nr - r(r-1)/2; with fewer measurements a
    # generic instance has other matrices of rank r arbitrarily near it that measure the same.
    few = ds.num_measurements < ds.dimension_count
    assert bool(few.any())
    assert not bool((recovered & few).any())
    # Everything is measured: the only matrix that fits is the planted one, and the start is it.
    n = ds.attrs["dim"]
    whole = ds.num_measurements >= n * (n + 1) // 2
    assert bool(whole.any())
    assert bool((recovered.sel(algorithm="convex relaxation") | ~whole).all())
    seen = ds.completion_error.sel(rate=1.0)
    convex = seen.sel(algorithm=["convex relaxation", "spectral start + gradient descent"])
    assert float(convex.max()) < RECOVERED
    # The bounds bracket a constant that grows with the rank of which it is the constant.
    assert bool((ds.delta_lower <= ds.delta_upper).all())
    # Fewer measurements than the N dimensions of all matrices: some X has A(X) = 0, and the upper
    # bound, of all ranks, is at least 1.
    assert bool(((ds.delta_upper >= 1) | whole).all())
    # delta_2r < 1/5: no spurious local minima. Proved on every instance of the last ratio.
    proved = ds.delta_upper < 0.2
    assert bool(proved.isel(ratio=-1).all())
    random = [str(name) for name in ds.algorithm.values if str(name).startswith("random")]
    assert len(random) == 2
    assert bool((recovered.sel(algorithm=random) | ~proved).all())
    # The least eigenvalue of a Wishart matrix of order N with m degrees of freedom is near
    # (1 - sqrt(N / m))^2, the largest near (1 + sqrt(N / m))^2: within a fifth at 140 times N.
    m = ds.num_measurements.isel(ratio=-1)
    edge = 2 * np.sqrt(n * (n + 1) / 2 / m) + n * (n + 1) / 2 / m
    assert bool((abs(ds.delta_upper.isel(ratio=-1) / edge - 1) < 0.35).all())
    assert ds.attrs["outcome"] == "holds"
