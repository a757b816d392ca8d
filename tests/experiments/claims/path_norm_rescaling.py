"""Rescaling moves no path-norm and no output: an identity, so only rounding is allowed."""

import numpy as np


def check_weights(ds):
    """Norms from the weights: paths summed by products of matrices, units rescaled one by one."""
    weights = [ds[f"weight_{k}"].values for k in (1, 2, 3)]
    for p in (1, 2):
        first, second, third = (np.abs(weight) ** p for weight in weights)
        total = np.sum(third @ second @ first) ** (1 / p)
        np.testing.assert_allclose(ds[f"path_norm_{p}"], total, rtol=1e-12)
    signs = (-1.0) ** np.arange(ds.attrs["width"])
    for factor, found in zip(ds.factor.values, ds.l2_norm.values, strict=True):
        c = factor ** signs[:, None]
        moved = [c * weights[0], c * weights[1] / c.T, weights[2] / c.T]
        np.testing.assert_allclose(
            found, np.sqrt(sum(np.sum(weight**2) for weight in moved)), rtol=1e-12
        )


def check(ds):
    assert ds.attrs["outcome"] == "holds"
    # Sums over paths of up to 256^2 positive terms, each rounded once a layer.
    for name in ("path_norm_1", "path_norm_2"):
        np.testing.assert_allclose(ds[name], ds[name][0], rtol=1e-12)
    assert np.all((ds.change_of_outputs >= 0) & (ds.change_of_outputs < 1e-12))
    # At c = 1 nothing is done, and the l2 norm is that of the start.
    assert float(ds.change_of_outputs.sel(factor=1.0)) == 0
    if "weight_1" in ds:
        check_weights(ds)
    # Half of the units has its incoming weights times c: the l2 norm grows at least like c / 2.
    assert float(ds.l2_norm[-1] / ds.l2_norm[0]) > float(ds.factor[-1]) / 2
