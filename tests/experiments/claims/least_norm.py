"""Least norms against the pseudo-inverse: `bound` is a theorem, and who stays in the row space."""

import numpy as np


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    for kind in ("", "matrix_"):
        distance, bound = ds[f"{kind}distance"], ds[f"{kind}bound"]
        # x - x* is its part outside the row space plus A^+ (A x - y); 1e-9 is what the reference
        # point itself may miss the targets by.
        assert np.all(distance <= bound + 1e-9)
        # Nothing that meets the targets is shorter than the shortest.
        assert np.all(ds[f"{kind}excess"] >= -bound - 1e-9)
    spanning = ["gradient descent", "SGD", "momentum", "conjugate gradients", "BFGS"]
    # Sums of some thousand steps in the row space, each rounded.
    assert float(ds.outside.sel(algorithm=spanning).max()) < 1e-11
    assert float(ds.distance.sel(algorithm=spanning).max()) < 1e-6
    assert float(ds.matrix_distance.max()) < 1e-6
    assert float(ds.matrix_outside.max()) < 1e-11
    leaving = ds.sel(algorithm=["coordinate descent", "Adam"])
    assert float(leaving.misfit.max()) < 1e-7
    assert float(leaving.excess.min()) > 1e-4
    # In the plane: the foot of the perpendicular, the corner of the l1 ball, and equal steps.
    ends = ds.path.isel(step=-1)
    np.testing.assert_allclose(ends.sel(plane_algorithm="gradient descent"), [0.4, 0.2], atol=1e-6)
    np.testing.assert_allclose(
        ends.sel(plane_algorithm="coordinate descent"), [0.5, 0.0], atol=1e-6
    )
