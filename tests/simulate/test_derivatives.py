"""Derivatives of stock integrations, both modes, against central differences."""

from functools import partial

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import STACK, TARGETS, matrix_problem

import implicit_flow as imf


def value(stack, targets, alpha, adjoint=None):
    problem = imf.Problem(imf.measurements.DenseMeasurement(stack), targets)
    sol = imf.simulate(problem, alpha=alpha, solver=diffrax.Dopri8(), adjoint=adjoint, rtol=1e-8)
    return jnp.sum(sol.X * jnp.arange(9.0).reshape(3, 3)) + sol.nuclear_norm


POINT = (jnp.asarray(STACK), jnp.asarray(TARGETS), jnp.array(1e-2))
DIRECTION = (
    jnp.asarray(STACK[::-1] * 0.3),
    jnp.array([0.7, -0.4]),
    jnp.array(2e-3),
)


@pytest.fixture(scope="module")
def difference():
    h = 1e-4
    compiled = jax.jit(value)
    ahead, behind = (
        compiled(*(p + sign * h * d for p, d in zip(POINT, DIRECTION, strict=True)))
        for sign in (1, -1)
    )
    return float((ahead - behind) / (2 * h))


# The difference has an error of h^2 = 1e-8 times third derivatives, and 1e-8 / h of the solver.
TOLERANCE = 1e-4


def test_reverse_mode(difference):
    gradients = jax.jit(jax.grad(value, argnums=(0, 1, 2)))(*POINT)
    along = sum(float(jnp.sum(g * d)) for g, d in zip(gradients, DIRECTION, strict=True))
    np.testing.assert_allclose(along, difference, rtol=TOLERANCE)


def test_forward_mode(difference):
    forward = jax.jit(
        lambda p, d: jax.jvp(lambda *x: value(*x, adjoint=diffrax.ForwardMode()), p, d)[1]
    )
    np.testing.assert_allclose(forward(POINT, DIRECTION), difference, rtol=TOLERANCE)


@pytest.mark.parametrize(
    ("adjoint", "reason"),
    [
        (diffrax.ImplicitAdjoint(), "silently 0"),
        (diffrax.BacksolveAdjoint(), "unstable backwards"),
    ],
)
def test_wrong_adjoints_are_refused_with_the_reason(adjoint, reason):
    with pytest.raises(ValueError, match=reason):
        imf.simulate(matrix_problem(), alpha=0.1, solver=diffrax.Tsit5(), adjoint=adjoint)


def test_a_steering_that_closes_over_what_is_differentiated():
    """Outside `jit`, where no argument of `simulate` is traced: X = e^{2 a t1 A}."""
    problem = imf.Problem(imf.measurements.DenseMeasurement(STACK[:1]), jnp.zeros(1))

    def trace(a, **options):
        flow = imf.flows.SteeredFlow(lambda t: -a * jnp.ones(1))
        return imf.simulate(problem, flow, alpha=1.0, t1=0.7, rtol=1e-8, **options).nuclear_norm

    values = np.linalg.eigvalsh(STACK[0])
    exact = np.sum(1.4 * values * np.exp(1.4 * 0.5 * values))
    np.testing.assert_allclose(jax.grad(trace)(0.5), exact, rtol=1e-6)
    forward = partial(trace, adjoint=diffrax.ForwardMode())
    np.testing.assert_allclose(jax.jvp(forward, (0.5,), (1.0,))[1], exact, rtol=1e-6)


def of_function(stack):
    return imf.measurements.from_function(
        lambda X: jnp.einsum("kij,ij->k", stack, X), *reversed(stack.shape[:2])
    )


def test_what_a_function_closes_over_is_a_leaf_where_it_is_differentiated():
    stack = jnp.asarray(STACK)
    assert not jax.tree.leaves(of_function(stack))
    assert of_function(stack).function.func.__code__.co_freevars == ("stack",)
    seen = []

    def value(stack):
        seen.extend(jax.tree.leaves(of_function(stack)))
        return jnp.sum(of_function(stack).apply(jnp.eye(3)))

    np.testing.assert_allclose(jax.grad(value)(stack), np.broadcast_to(np.eye(3), stack.shape))
    assert len(seen) == 1


@pytest.mark.long
def test_the_engine_differentiates_what_a_function_closes_over():
    def value(measurement, stack, targets):
        return imf.simulate(imf.Problem(measurement(stack), targets), alpha=1e-2).nuclear_norm

    at = (jnp.asarray(STACK), jnp.asarray(TARGETS))
    found = jax.grad(partial(value, of_function), (0, 1))(*at)
    dense = jax.grad(partial(value, imf.measurements.DenseMeasurement), (0, 1))(*at)
    for mine, other in zip(found, dense, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("log10_alpha", [-20.0, -300.0])
def test_steps_that_are_rejected_do_not_spoil_the_derivative(log10_alpha):
    # Some of them go so far that x is infinite. In the limit, least l1 norm, the first two entries
    # solve [[2, 1], [1, -1]] x = y, and x_0 is (y_0 + y_1) / 3.
    measurement = imf.measurements.DiagonalMeasurement([[2.0, 1.0, 0.5], [1.0, -1.0, 1.0]])

    def first(targets):
        problem = imf.Problem(measurement, targets)
        flow = imf.flows.HadamardFlow()
        return imf.simulate(problem, flow, log10_alpha=log10_alpha, throw=False).x[0]

    gradient = jax.grad(first)(jnp.array([1.0, 0.3]))
    np.testing.assert_allclose(gradient, [1 / 3, 1 / 3], rtol=1e-5)


@pytest.mark.parametrize("solver", [None, diffrax.Dopri8()])
def test_a_lane_of_invalid_input_has_no_derivative(solver):
    """Not zero, which would look like a minimum. Nor does it take steps, which others wait for."""
    good = {"alpha": jnp.array(1e-2), "t1": jnp.array(2.0), "targets": jnp.asarray(TARGETS)}
    lanes = jax.tree.map(lambda x: jnp.stack(4 * [x]), good)
    for lane, (name, bad) in enumerate([("alpha", -1.0), ("t1", -1.0), ("targets", jnp.nan)]):
        lanes[name] = lanes[name].at[lane + 1].set(bad)

    def total(lane):
        problem = imf.Problem(imf.measurements.DenseMeasurement(STACK), lane["targets"])
        given = {"alpha": lane["alpha"], "t1": lane["t1"]}
        sol = imf.simulate(problem, **given, solver=solver, throw=False)
        return sol.nuclear_norm, (sol.result, sol.stats["num_steps"])

    found, (result, steps) = jax.jit(jax.vmap(jax.grad(total, has_aux=True)))(lanes)
    for name, derivative in found.items():
        assert np.all(np.isfinite(derivative[0])), name
        assert np.all(np.asarray(derivative[0]) != 0), name
        assert np.all(np.isnan(derivative[1:])), name
    assert (result == imf.RESULTS.invalid_input).tolist() == [False, True, True, True]
    assert max(steps[1:]) <= 2 * steps[0]
