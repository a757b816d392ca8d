"""What the experiments of Path-SGD show already at their tiny setting."""

import jax
import numpy as np

from implicit_flow.experiments import path_sgd_feedforward


def test_path_sgd_curves_coincide_to_rounding():
    with jax.numpy_dtype_promotion("standard"):
        ds = path_sgd_feedforward.run(setting="tiny", num_steps=40)
    losses = ds.train_loss.sel(optimizer="path-sgd", dropout=0.0)
    # Float64: 1e-16, times forty steps of an amplification of at most a few each.
    np.testing.assert_allclose(
        losses.sel(start="balanced"), losses.sel(start="unbalanced"), rtol=1e-9
    )
    assert ds.attrs["outcome"] == "holds"
