"""Step and rescaling commute: the two curves of Path-SGD are one, those of SGD are not."""

import numpy as np


def check(ds):
    def distance(optimizer):
        curves = ds.train_loss.sel(optimizer=optimizer).isel(dropout=0)
        balanced, unbalanced = curves.sel(start="balanced"), curves.sel(start="unbalanced")
        return float(np.max(np.abs(balanced - unbalanced) / balanced))

    assert ds.attrs["outcome"] == "holds"
    assert ds.attrs["dtype"] == "float64"
    # Some hundred steps, each of which may amplify the rounding of the one before.
    assert distance("path-sgd") < 1e-9
    assert distance("sgd") > 1e-3
    assert distance("adagrad") > 1e-3
