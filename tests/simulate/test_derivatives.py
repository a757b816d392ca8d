"""Derivatives of stock integrations, both modes, against central differences."""

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
