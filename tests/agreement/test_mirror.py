"""Mirror flows against the argmin of their divergence, and against the flows of powers."""

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import implicit_flow as imf
from implicit_flow import closed_forms, flows
from implicit_flow.flows.potentials import Entropy, Hypentropy, PNorm, Quadratic


# Any x fits y = A x; the sixth is away from 0, where the start is.
RNG = np.random.default_rng(3)
ROWS = RNG.normal(size=(3, 6))
TARGETS = ROWS @ np.abs(RNG.normal(size=6))
START = np.array([0.4, -1.0, 0.2, 0.8, -0.3, 0.6])
PROBLEM = imf.Problem(imf.measurements.DiagonalMeasurement(ROWS), TARGETS)
# The default start, given all the same: one compiled program then serves several tests.
ZERO = np.zeros(6)


def nearest(value, slope, start):
    """argmin of the Bregman divergence over A x = y by SciPy, with formulas written out here."""
    particular = np.linalg.pinv(ROWS) @ TARGETS
    free = np.linalg.svd(ROWS)[2][3:].T
    tilt = slope(start) if np.any(start) else np.zeros(6)

    def divergence(z):
        x = particular + free @ z
        return value(x) - tilt @ x, free.T @ (slope(x) - tilt)

    found = minimize(divergence, np.zeros(3), jac=True, method="BFGS", options={"gtol": 1e-12})
    return particular + free @ found.x


def hypentropy(beta):
    return (
        lambda x: np.sum(x * np.arcsinh(x / beta) - np.sqrt(x**2 + beta**2)),
        lambda x: np.arcsinh(x / beta),
    )


def p_norm(p):
    def slope(x):
        return np.sign(x) * np.abs(x) ** (p - 1) * np.sum(np.abs(x) ** p) ** ((2 - p) / p)

    return lambda x: np.sum(np.abs(x) ** p) ** (2 / p) / 2, slope


@pytest.mark.parametrize("start", [pytest.param(ZERO, marks=pytest.mark.long), START])
@pytest.mark.parametrize(
    ("potential", "formulas"),
    [
        (Quadratic(), (lambda x: x @ x / 2, lambda x: x)),
        (Hypentropy(0.05), hypentropy(0.05)),
        pytest.param(PNorm(1.5), p_norm(1.5), marks=pytest.mark.long),
        (PNorm(4), p_norm(4)),
    ],
)
def test_the_limit_is_the_nearest_point(potential, formulas, start):
    sol = imf.simulate(PROBLEM, flows.MirrorFlow(potential), init=start)
    exact = nearest(*formulas, start)
    size = np.linalg.norm(exact)
    error = float(np.linalg.norm(np.asarray(sol.x) - exact)) / size
    # 1e-6: what BFGS leaves where the Hessian of an l_p norm is singular.
    assert error <= float(sol.error_estimate) + 1e-6


def test_least_l2_norm():
    sol = imf.simulate(PROBLEM, flows.MirrorFlow(Quadratic()), init=ZERO)
    np.testing.assert_allclose(sol.x, imf.convex.min_l2(PROBLEM).x, atol=1e-6)


@pytest.mark.parametrize("log10_alpha", [0.0, -6.0, -300.0])
def test_entropy_is_the_hadamard_flow_on_half_its_clock(log10_alpha):
    weights = np.array([1.0, 0.5, 2.0, 1.0, 1.5, 0.7])
    flow, other = flows.MirrorFlow(Entropy()), flows.HadamardFlow(2)
    ends = imf.simulate(PROBLEM, flow, log10_alpha=log10_alpha, init=weights)
    exact = closed_forms.hadamard(PROBLEM, log10_alpha=log10_alpha, init=np.sqrt(weights))
    error = float(jnp.linalg.norm(ends.X - exact) / jnp.linalg.norm(exact))
    assert error <= float(ends.error_estimate) + 1e-12
    if log10_alpha < -100:
        return
    times = np.array([0.05, 0.4, 2.0])
    options = {"log10_alpha": log10_alpha, "t1": 4.0, "solver": diffrax.Tsit5()}
    mirror = imf.simulate(PROBLEM, flow, saveat=2 * times, init=weights, **options)
    powers = imf.simulate(PROBLEM, other, saveat=times, init=np.sqrt(weights), **options)
    # Between steps the interpolant is of lower order than the steps.
    np.testing.assert_allclose(mirror.Xs, powers.Xs, atol=1e-5)


@pytest.mark.parametrize("log10_alpha", [2.0, -1.0, -8.0, -100.0])
def test_hypentropy_is_the_signed_hadamard_flow(log10_alpha):
    sol = imf.simulate(PROBLEM, flows.MirrorFlow(Hypentropy(2 * 10.0**log10_alpha)), init=ZERO)
    exact = closed_forms.signed_hadamard(PROBLEM, log10_alpha=log10_alpha)
    error = float(jnp.linalg.norm(sol.X - exact) / jnp.linalg.norm(exact))
    assert error <= float(sol.error_estimate) + 1e-12


def test_limit_and_certificate():
    lim = imf.limit(PROBLEM, flows.MirrorFlow(Entropy()))
    least = imf.convex.min_l1(PROBLEM, nonnegative=True)
    np.testing.assert_allclose(jnp.trace(lim.X), least.value, rtol=1e-6)
    assert lim.verdict == "minimal"
    # From 0 there is no scale to take to zero: the limit is the end of one flow.
    alone = imf.limit(PROBLEM, flows.MirrorFlow(Quadratic()))
    assert float(alone.error_estimate) < 1e-6


@pytest.mark.long
def test_other_losses_end_at_the_same_point():
    # The dual stays in the same affine space whatever the residual is.
    huber = imf.Problem(PROBLEM.measurement, TARGETS, imf.losses.Huber(0.3))
    flow = flows.MirrorFlow(Hypentropy(0.05))
    one, other = (imf.simulate(problem, flow, init=ZERO).x for problem in (PROBLEM, huber))
    np.testing.assert_allclose(one, other, atol=2e-6 * float(jnp.linalg.norm(one)))
