"""The laws of a loss, for every one in the registry."""

import io

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import implicit_flow as imf


PREDICTIONS = jnp.array([0.2, -1.5, 3.0, 2.1])
EPS = 2.0**-52


def exact(formula, predictions, targets):
    """The loss, with 60 digits."""
    with mpmath.workdps(60):
        pairs = zip(predictions.tolist(), targets.tolist(), strict=True)
        return sum(formula(mpmath.mpf(p), mpmath.mpf(y), k) for k, (p, y) in enumerate(pairs))


def exact_slopes(formula, predictions, targets, order):
    """Derivatives of each term, by differences with 60 digits."""
    with mpmath.workdps(60):
        pairs = zip(predictions.tolist(), targets.tolist(), strict=True)
        return [
            float(mpmath.diff(lambda q, k=k, y=y: formula(q, mpmath.mpf(y), k), p, order))
            for k, (p, y) in enumerate(pairs)
        ]


@pytest.mark.parametrize("distance", [1.0, 1e-3, 1e-9, 30.0])
def test_value(lost, distance):
    loss, formula, targets = lost
    predictions = targets + distance * jnp.array([0.9, -1.0, 0.5, 1.0])
    got = float(loss.value(predictions, targets))
    # Four terms, each with a relative error of a few roundings, of the difference too.
    difference = EPS * 4 / distance
    want = float(exact(formula, predictions, targets))
    assert got == pytest.approx(want, rel=50 * EPS + difference)


def test_residual_is_the_derivative_of_the_value(lost):
    loss, formula, targets = lost
    got = loss.residual(PREDICTIONS, targets)
    np.testing.assert_allclose(got, exact_slopes(formula, PREDICTIONS, targets, 1), rtol=1e-14)
    np.testing.assert_allclose(got, jax.grad(loss.value)(PREDICTIONS, targets), rtol=1e-14)


def test_curvature_is_the_derivative_of_the_residual(lost):
    loss, formula, targets = lost
    got = loss.curvature(PREDICTIONS, targets)
    want = exact_slopes(formula, PREDICTIONS, targets, 2)
    # Differences of second order lose two thirds of the 60 digits at most.
    np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-18)
    slopes = jax.jacfwd(loss.residual)(PREDICTIONS, targets)
    # The derivative of tanh in JAX is 1 - tanh^2, to rounding of 1.
    cancelled = 4e-16 if isinstance(loss, imf.losses.LogCosh) else 0
    np.testing.assert_allclose(slopes, np.diag(got), rtol=1e-14, atol=cancelled)


def test_derivatives_at_the_target(lost):
    """No kink and no nan where prediction and target agree."""
    loss, _, targets = lost
    np.testing.assert_allclose(
        jax.grad(loss.value)(targets, targets), loss.residual(targets, targets), atol=1e-15
    )
    hessian = jax.jacfwd(jax.grad(loss.value))(targets, targets)
    np.testing.assert_allclose(hessian, np.diag(loss.curvature(targets, targets)), atol=1e-15)


def test_finite_minimizer(lost):
    loss, _, targets = lost
    at_target = loss.residual(targets, targets)
    assert loss.has_finite_minimizer == bool(jnp.all(at_target == 0))
    if not loss.has_finite_minimizer:
        # The loss of a larger margin is always smaller.
        values = [float(loss.value(scale * targets, targets)) for scale in (1.0, 10.0, 30.0)]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == 3


def test_convex(lost):
    loss, _, targets = lost
    left, right = jax.random.normal(jax.random.key(0), (2, 200, 4)) * 3
    weight = jax.random.uniform(jax.random.key(1), (200, 1))
    value = jax.vmap(lambda p: loss.value(p, targets))
    between = value(weight * left + (1 - weight) * right)
    chord = weight[:, 0] * value(left) + (1 - weight[:, 0]) * value(right)
    assert jnp.all(between <= chord * (1 + 10 * EPS))
    assert jnp.all(jax.vmap(lambda p: loss.curvature(p, targets))(left) >= 0)


@pytest.mark.parametrize("extreme", [1e300, -1e300, 1e-300, 0.0])
def test_extreme_predictions(lost, extreme):
    """Never nan; infinite only where the number itself is beyond what floats hold."""
    loss, formula, targets = lost
    predictions = jnp.full(4, extreme)
    value = float(loss.value(predictions, targets))
    slopes = (loss.residual(predictions, targets), loss.curvature(predictions, targets))
    with mpmath.workdps(400):
        # The exponent of exp(1e300) is too large even for mpmath; that of exp(700) is not.
        near = mpmath.mpf(extreme) if abs(extreme) < 1 else mpmath.sign(extreme) * 700
        terms = [formula(near, mpmath.mpf(float(y)), k) for k, y in enumerate(targets)]
    if isinstance(loss, imf.losses.Exponential):
        assert value == (np.inf if abs(extreme) > 1 else 4.0)
        assert not any(jnp.any(jnp.isnan(slope)) for slope in slopes)
        return
    assert all(jnp.all(jnp.isfinite(slope)) for slope in slopes)
    if abs(extreme) < 1:
        assert value == pytest.approx(float(sum(terms)), rel=1e-14)
    elif isinstance(loss, imf.losses.Squared | imf.losses.WeightedSquared):
        assert value == np.inf
    else:
        # Linear far out: the value at 1e300 is 1e300 / 700 times that at 700, up to constants.
        assert value == pytest.approx(float(sum(terms)) * (1e300 / 700), rel=1e-2)


def test_jit_and_vmap(lost):
    loss, _, targets = lost
    batch = jnp.stack([PREDICTIONS, -PREDICTIONS])

    def everything(p):
        return loss.value(p, targets), loss.residual(p, targets), loss.curvature(p, targets)

    together = jax.jit(jax.vmap(everything))(batch)
    for lane in range(2):
        for many, one in zip(together, everything(batch[lane]), strict=True):
            np.testing.assert_allclose(many[lane], one, rtol=1e-14)


def test_float32_stays_float32(lost):
    loss, formula, targets = lost
    p, y = PREDICTIONS.astype(jnp.float32), targets.astype(jnp.float32)
    outputs = (loss.value(p, y), loss.residual(p, y), loss.curvature(p, y))
    assert {out.dtype for out in outputs} == {jnp.dtype(jnp.float32)}
    assert float(outputs[0]) == pytest.approx(float(exact(formula, p, y)), rel=1e-6)


def test_pytree(lost):
    loss, _, targets = lost
    again = jax.tree.unflatten(jax.tree.structure(loss), jax.tree.leaves(loss))
    assert eqx.tree_equal(loss, again)
    assert eqx.tree_equal(loss, eqx.combine(*eqx.partition(loss, eqx.is_inexact_array)))
    buffer = io.BytesIO()
    eqx.tree_serialise_leaves(buffer, loss)
    buffer.seek(0)
    doubled = jax.tree.map(lambda x: 2 * x, loss)
    assert eqx.tree_equal(loss, eqx.tree_deserialise_leaves(buffer, doubled))
    through = jax.jit(lambda loss: loss)(loss)
    np.testing.assert_array_equal(
        through.residual(PREDICTIONS, targets), loss.residual(PREDICTIONS, targets)
    )


def test_targets_are_admitted(lost):
    loss, _, targets = lost
    loss.check_targets(targets)
    jax.jit(lambda y: loss.check_targets(y))(targets)
