"""No theorem decides this one: the outcome must be the one that its own numbers say."""

import numpy as np


def check(ds):
    # A sum over hidden units of |in|^2 |out|^2 is at most (|in|^2 + |out|^2)^2 / 4; biases of the
    # output are paths of one edge.
    bound = np.sqrt(ds.l2_norm**4 / 4 + ds.l2_norm**2)
    assert np.all((ds.path_norm > 0) & (ds.path_norm <= bound * (1 + 1e-5)))
    for error in (ds.train_error, ds.test_error):
        assert np.all((error >= 0) & (error <= 1))
    fitted = (ds.train_error == 0).all("seed")
    assert ds.attrs["outcome"] in ("holds", "fails") or int(fitted.sum()) < 2
    if ds.attrs["outcome"] == "holds":
        error = ds.test_error.mean("seed").where(fitted, drop=True)
        spread = float(ds.test_error.where(fitted, drop=True).std("seed").max())
        assert float(error[-1]) <= float(error[0]) + spread
