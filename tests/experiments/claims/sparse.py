"""The l1 norm of the flow within its bound, the transition of basis pursuit, and its optimality."""

import numpy as np

from implicit_flow.experiments import sparse


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    n = ds.attrs["dim"]
    least = ds.least_l1_norm
    excess = ds.l1_norm.sel(algorithm="Hadamard flow") / least - 1
    # Nothing that fits is below the least norm, and the flow is within its bound above it.
    assert bool((excess >= -1e-7).all())
    assert bool((excess <= sparse.bound(ds) + 1e-7).all())
    # Flows end where the closed form says, within what they say of themselves.
    solved, tried = ds.flow_error_estimate.notnull(), ds.flow_distance.notnull()
    assert int(solved.sum()) >= 0.7 * int(tried.sum()) > 0
    # Those that were cut off too, but for few.
    assert int((ds.flow_distance <= 1e-5).sum()) >= 0.9 * int(tried.sum())
    assert float(ds.flow_error_estimate.max()) < 1e-3
    assert bool(((ds.flow_distance <= ds.flow_error_estimate + 1e-8) | ~solved).all())
    # Where x is recovered, no method has more than the norm of x, which is that of the others.
    recovered = ds.error < 1e-3
    flow, convex = (recovered.sel(algorithm=name) for name in ("Hadamard flow", "basis pursuit"))
    assert float((flow != convex).mean()) <= 0.1
    # Columns of norm 1 with one nonzero entry: nu = the column itself is a strict certificate.
    one = ds.sparsity.values * n < 1.5
    assert bool(convex.values[:, one].all())
    assert bool(recovered.sel(algorithm="matching pursuit").values[:, one].all())
    # Vertices of l1 balls have no more nonzero entries than there are equations.
    too_many = ds.sparsity > ds.ratio + 1e-9
    assert not bool(convex.where(too_many, False).any())
    # Far from the transition, at four standard deviations, the theorem promises 96%.
    far = 2 / np.sqrt(n)
    for region, wanted in (
        (ds.ratio > ds.transition + far, 1),
        (ds.ratio < ds.transition - far, 0),
    ):
        if bool(region.any()):
            assert abs(float(convex.mean("instance").where(region).mean()) - wanted) < 0.1
    # The transition, as the least expected squared distance of a Gaussian vector from tau times the
    # subdifferential, with the expectation by quadrature.
    taus = np.linspace(0, 6, 601)
    grid = np.linspace(0, 12, 24001)
    density = 2 * np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
    tails = [np.trapezoid(np.maximum(grid - tau, 0) ** 2 * density, grid) for tau in taus]
    for rho, found in zip(ds.sparsity.values, ds.transition.values, strict=True):
        least = np.min(rho * (1 + taus**2) + (1 - rho) * np.array(tails))
        assert abs(found - least) < 0.02
    # Statistical dimensions, known in closed form at the ends.
    assert abs(sparse.statistical_dimension(1.0) - 1) < 1e-6
    assert sparse.statistical_dimension(1e-9) < 1e-6
