"""Rescaling moves no path-norm and no output: an identity, so only rounding is allowed."""

import numpy as np


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    # Sums over paths of up to 256^2 positive terms, each rounded once a layer.
    for name in ("path_norm_1", "path_norm_2"):
        np.testing.assert_allclose(ds[name], ds[name][0], rtol=1e-12)
    assert float(ds.change_of_outputs.max()) < 1e-12
    # Half of the units has its incoming weights times c: the l2 norm grows at least like c / 2.
    assert float(ds.l2_norm[-1] / ds.l2_norm[0]) > float(ds.factor[-1]) / 2
