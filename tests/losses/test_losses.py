"""Limits of the losses, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from implicit_flow import losses


TARGETS = jnp.array([0.3, -1.0, 0.0, 2.0])
DIFFERENCES = jnp.array([0.5, -2.0, 1e-9, 30.0])


def everything(loss, targets=TARGETS, differences=DIFFERENCES):
    p = targets + differences
    return [loss.value(p, targets), loss.residual(p, targets), loss.curvature(p, targets)]


def test_huber_with_a_wide_middle_is_squared():
    for wide, squared in zip(
        everything(losses.Huber(1e6)), everything(losses.Squared()), strict=True
    ):
        np.testing.assert_allclose(wide, squared, rtol=1e-15)


def test_huber_with_a_width_beyond_floats_squared():
    value = losses.Huber(1e300).value(jnp.array([3.0]), jnp.array([1.0]))
    assert float(value) == 2.0


def test_huber_with_a_narrow_middle_is_the_absolute_value():
    delta = 1e-12
    value, residual, curvature = everything(losses.Huber(delta))
    absolute = np.sum(np.abs(DIFFERENCES))
    # The middle is 1e-12 wide: beyond it the value is delta |d| - delta^2 / 2.
    assert float(value) / delta == pytest.approx(absolute, rel=1e-11)
    np.testing.assert_allclose(residual / delta, np.sign(DIFFERENCES), rtol=1e-15)
    np.testing.assert_array_equal(curvature, 0)


def test_log_cosh_near_the_target_is_squared():
    small = DIFFERENCES * 1e-6
    for smooth, squared in zip(
        everything(losses.LogCosh(), jnp.zeros(4), small),
        everything(losses.Squared(), jnp.zeros(4), small),
        strict=True,
    ):
        # The next term is d^2 / 6 times smaller, at most (3e-5)^2 / 2.
        np.testing.assert_allclose(smooth, squared, rtol=1e-9)


def test_log_cosh_far_from_the_target_is_the_absolute_value():
    far = jnp.array([50.0, -300.0, 1e10, -40.0])
    value, residual, curvature = everything(losses.LogCosh(), jnp.zeros(4), far)
    assert float(value) == pytest.approx(float(jnp.sum(jnp.abs(far))) - 4 * np.log(2), rel=1e-15)
    np.testing.assert_array_equal(residual, np.sign(far))
    np.testing.assert_allclose(curvature[0], 4 * np.exp(-100), rtol=1e-13)


def test_log_cosh_is_smooth_where_its_two_forms_meet():
    value = lambda p: losses.LogCosh().value(p[None], jnp.zeros(1))
    below, above = jnp.array(1.0 - 2**-53), jnp.array(1.0)
    for f in (value, jax.grad(value), jax.grad(jax.grad(value))):
        np.testing.assert_allclose(f(below), f(above), rtol=1e-15)


def test_logistic_of_a_hopeless_prediction_is_linear():
    loss, y = losses.Logistic(), jnp.array([1.0])
    assert float(loss.value(jnp.array([-800.0]), y)) == 800.0
    assert float(loss.residual(jnp.array([-800.0]), y)[0]) == -1.0
    assert float(loss.value(jnp.array([40.0]), y)) == pytest.approx(np.exp(-40), rel=1e-14)


@pytest.mark.parametrize("loss", [losses.Logistic(), losses.Exponential()])
@pytest.mark.parametrize("bad", [0.0, 2.0, -1.0000000001])
def test_labels(loss, bad):
    with pytest.raises(
        ValueError, match=rf"`targets` must be labels \+1 or -1 for this loss, but contain {bad}"
    ):
        loss.check_targets(jnp.array([1.0, bad]))


REFUSED = {
    "zero weight": (lambda: losses.WeightedSquared([1.0, 0.0]), "`weights` must be positive"),
    "negative weight": (lambda: losses.WeightedSquared([-1.0]), "but contains -1.0. Leave out"),
    "nan weight": (lambda: losses.WeightedSquared([np.nan]), "`weights` must be finite"),
    "no weights": (lambda: losses.WeightedSquared([]), r"\(m,\) with m >= 1"),
    "one weight for all": (lambda: losses.WeightedSquared(2.0), r"have shape \(m,\)"),
    "complex weights": (lambda: losses.WeightedSquared(np.ones(2, complex)), "must be real"),
    "text": (lambda: losses.WeightedSquared("uniform"), "be an array of real numbers"),
    "zero delta": (lambda: losses.Huber(0.0), "`delta` must be positive, but is 0.0"),
    "infinite delta": (lambda: losses.Huber(np.inf), "`delta` must be finite"),
    "many deltas": (lambda: losses.Huber(np.ones(2)), r"`delta` must have shape \(\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert str(caught.value).startswith("Argument `")


def test_weights_and_targets_have_one_length():
    with pytest.raises(ValueError, match=r"`weights` must have shape \(3,\), but has shape \(2,\)"):
        losses.WeightedSquared([1.0, 2.0]).check_targets(jnp.zeros(3))


def test_an_integer_width_is_read():
    assert losses.Huber(1).delta.dtype == jnp.float64
