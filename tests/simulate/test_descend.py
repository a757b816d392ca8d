"""The discrete algorithm, against the same iteration in NumPy and against the flow."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from systems import STACK, TARGETS, matrix_problem, vector_problem

import implicit_flow as imf
from implicit_flow import RESULTS, flows


def iterate(step, alpha, count):
    U = np.sqrt(alpha) * np.eye(3)
    path, dual = [U @ U.T], np.zeros(2)
    for _ in range(count):
        r = np.einsum("kij,ij->k", STACK, U @ U.T) - TARGETS
        U = U - step * np.einsum("k,kij->ij", r, STACK) @ U
        dual = dual - step * r
        path.append(U @ U.T)
    return np.array(path), dual


def test_gradient_descent_is_explicit_euler():
    path, dual = iterate(0.01, 0.1, 50)
    sol = imf.descend(
        matrix_problem(),
        flows.FactorFlow(),
        optax.sgd(0.01),
        alpha=0.1,
        num_steps=50,
        saveat=[0, 7, 50],
    )
    np.testing.assert_allclose(sol.Xs, path[[0, 7, 50]], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(sol.X, path[50], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(sol.ts, [0, 0.07, 0.5], rtol=1e-12)
    np.testing.assert_allclose(sol.dual, dual, rtol=1e-12)
    assert jnp.isnan(sol.error_estimate)


def test_small_steps_approach_the_flow_to_first_order():
    problem = vector_problem()
    flow = flows.HadamardFlow(3)
    exact = imf.simulate(problem, flow, alpha=1e-2, t1=4.0, rtol=1e-9)

    def error(step):
        count = round(4.0 / step)
        sol = imf.descend(problem, flow, optax.sgd(step), alpha=1e-2, num_steps=count)
        return float(jnp.linalg.norm(sol.X - exact.X))

    order = np.log2(error(0.02) / error(0.01))
    assert 0.85 < order < 1.15


def test_learning_rates_of_schedules_and_injected_ones_are_summed():
    schedule = optax.linear_schedule(0.02, 0.0, 10)
    run = {"alpha": 0.1, "num_steps": 10, "saveat": [10]}
    # Schedules count in float32.
    plain = imf.descend(matrix_problem(), flows.FactorFlow(), optax.sgd(schedule), **run)
    np.testing.assert_allclose(plain.ts, [0.11], rtol=1e-6)
    injected = optax.inject_hyperparams(optax.adam)(learning_rate=schedule)
    adam = imf.descend(matrix_problem(), flows.FactorFlow(), injected, **run)
    # Hyperparameters are read after the update that used them.
    np.testing.assert_allclose(adam.ts, [0.11], rtol=1e-6)


def test_steps_from_zero_reach_the_least_frobenius_norm():
    # For finite steps too: the iterates never leave the range of the adjoint.
    sol = imf.descend(
        matrix_problem(), flows.EuclideanFlow(), optax.sgd(0.1, momentum=0.5), num_steps=400
    )
    rows = STACK.reshape(2, 9)
    least = np.linalg.pinv(rows) @ TARGETS
    np.testing.assert_allclose(np.asarray(sol.X).ravel(), least, atol=1e-10)


def test_divergence_is_a_result():
    run = {"alpha": 0.5, "num_steps": 60}
    sol = imf.descend(matrix_problem(), flows.FactorFlow(), optax.sgd(1e3), throw=False, **run)
    assert sol.result == RESULTS.nonfinite
    with pytest.raises(Exception, match=r"[Nn]on-?finite|nan"):
        imf.descend(matrix_problem(), flows.FactorFlow(), optax.sgd(1e3), **run)


def test_it_differentiates_and_maps():
    def value(targets):
        problem = imf.Problem(matrix_problem().measurement, targets)
        sol = imf.descend(
            problem, flows.FactorFlow(), optax.sgd(0.02, momentum=0.7), alpha=0.1, num_steps=30
        )
        return sol.nuclear_norm

    targets = jnp.asarray(TARGETS)
    gradient = jax.grad(value)(targets)
    h = 1e-6
    difference = (value(targets.at[0].add(h)) - value(targets.at[0].add(-h))) / (2 * h)
    np.testing.assert_allclose(gradient[0], difference, rtol=1e-6)
    both = jax.vmap(value)(jnp.stack([targets, 2 * targets]))
    np.testing.assert_allclose(both[0], value(targets), rtol=1e-12)


@pytest.mark.parametrize(
    ("flow", "options", "message"),
    [
        (flows.MatrixFlow(), {}, "`flow` must have a parameter to descend on"),
        (flows.SteeredFlow(lambda t: jnp.zeros(2)), {}, "`flow` must have a parameter"),
        (flows.FactorFlow(), {"num_steps": 0}, "`num_steps` must be at least 1"),
        (flows.FactorFlow(), {"saveat": [5, 3]}, "`saveat` must increase"),
        (flows.FactorFlow(), {"saveat": [0.5]}, "`saveat` must hold step numbers"),
        (flows.FactorFlow(), {"saveat": [11]}, "`saveat` must increase within 0..num_steps = 10"),
        (flows.FactorFlow(), {"optimizer": 0.1}, "`optimizer` must be an Optax"),
        (flows.FactorFlow(), {"alpha": None, "log10_alpha": -3000.0}, "underflow"),
        (flows.HadamardFlow(), {}, "DiagonalMeasurement"),
        (flows.EuclideanFlow(), {}, "`alpha` must be left out"),
    ],
)
def test_bad_input(flow, options, message):
    run = {"optimizer": optax.sgd(0.1), "alpha": 0.1, "num_steps": 10} | options
    # Without the run-time type checks of the tests, which would speak first.
    unhooked = getattr(imf.descend, "__wrapped__", imf.descend)
    with pytest.raises(ValueError, match=message):
        unhooked(matrix_problem(), flow, **run)
