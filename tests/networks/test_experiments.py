"""The three experiments of Path-SGD run, say what came out, and draw it."""

import jax
import numpy as np
import pytest

from implicit_flow.experiments import network_size, path_sgd_feedforward, path_sgd_rnn


@pytest.mark.parametrize("experiment", [path_sgd_feedforward, path_sgd_rnn, network_size])
def test_tiny_setting_runs_and_draws(experiment):
    # Optax's AdaGrad and momentum mix dtypes in ways that strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        ds = experiment.run(setting="tiny")
    assert ds.attrs["outcome"] in {"holds", "fails", "undecided"}
    assert any(character.isdigit() or character == "F" for character in ds.attrs["outcome_text"])
    figure = experiment.plot(ds)
    assert all(axis.lines for axis in figure.axes)
    assert all(np.isfinite(ds[name].values).all() for name in ("test_error",))


def test_path_sgd_curves_coincide_to_rounding():
    with jax.numpy_dtype_promotion("standard"):
        ds = path_sgd_feedforward.run(setting="tiny", num_steps=40)
    losses = ds.train_loss.sel(optimizer="path-sgd", dropout=0.0)
    # Float64: 1e-16, times forty steps of an amplification of at most a few each.
    np.testing.assert_allclose(
        losses.sel(start="balanced"), losses.sel(start="unbalanced"), rtol=1e-9
    )
    assert ds.attrs["outcome"] == "holds"
