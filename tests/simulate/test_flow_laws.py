"""What every flow obeys on a stock solver: vmap = loop, grad = finite differences, float32."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import SYSTEMS

import implicit_flow as imf
from implicit_flow import RESULTS, flows


# Two compilations of an integration for each flow.
pytestmark = pytest.mark.long

WEIGHTS = np.arange(9.0).reshape(3, 3) / 9


def of(name, targets, alpha, rtol=None):
    """The solution at t = 1, in the type of the targets."""
    system = SYSTEMS[name]
    measurement = system.problem.measurement
    data = measurement.matrix if system.flow.is_vector else measurement.stack
    problem = imf.Problem(type(measurement)(data.astype(targets.dtype)), targets)
    options = {"alpha": alpha} if system.flow.needs_alpha else {}
    congruence = isinstance(system.flow, flows.FactorFlow | flows.MatrixFlow)
    solver = diffrax.Dopri8() if congruence else None
    return imf.simulate(
        problem, system.flow, t1=1.0, solver=solver, rtol=rtol, throw=False, **options
    )


def value(name, move):
    """A function of X along a line in targets and alpha."""
    targets = SYSTEMS[name].problem.targets + move * jnp.array([0.7, -0.4])
    sol = of(name, targets, 1e-2 * (1 + move), rtol=1e-8)
    return jnp.sum(sol.X * jnp.asarray(WEIGHTS)) + jnp.trace(sol.X)


@pytest.mark.parametrize("name", SYSTEMS)
def test_vmap_is_a_loop_and_grad_is_the_difference(name):
    h = 1e-3
    lanes = jax.jit(jax.vmap(lambda move: value(name, move)))(jnp.array([-h, 0.0, h]))
    alone, slope = jax.jit(jax.value_and_grad(lambda move: value(name, move)))(jnp.array(0.0))
    # Both are within 1e-8 of the truth, X is of order one.
    np.testing.assert_allclose(lanes[1], alone, rtol=1e-7)
    if name == "steered":
        # Nothing depends on the targets, and X is proportional to alpha.
        np.testing.assert_allclose(slope, alone, rtol=1e-7)
    # h^2 = 1e-6 times third derivatives, and 1e-8 / h of the solver.
    np.testing.assert_allclose(slope, (lanes[2] - lanes[0]) / (2 * h), rtol=1e-4, atol=1e-5)
    assert abs(float(slope)) > 1e-3


@pytest.mark.parametrize("name", SYSTEMS)
def test_float32_reaches_its_accuracy_and_stays_float32(name):
    targets = SYSTEMS[name].problem.targets
    exact = of(name, targets, 1e-2, rtol=1e-8)
    sol = of(name, targets.astype(jnp.float32), 1e-2)
    assert sol.X.dtype == sol.residual.dtype == sol.dual.dtype == jnp.float32
    error = jnp.linalg.norm(sol.X.astype(jnp.float64) - exact.X) / jnp.linalg.norm(exact.X)
    # Rounding of the result itself is not part of the estimate.
    assert float(error) <= float(sol.error_estimate) + 8 * 2.0**-23
    # The default of the type.
    assert float(error) <= 1e-3
    # The companion that `signed` is compared with makes four steps: by the compiler, the estimate
    # is half of what was asked, or a tenth above it. The result says which.
    assert float(sol.error_estimate) <= (2e-3 if name == "signed" else 1e-3)
    met = float(sol.error_estimate) <= 1e-3
    assert sol.result == (RESULTS.successful if met else RESULTS.tolerance_not_met)
