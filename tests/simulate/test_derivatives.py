"""Derivatives of stock integrations, both modes, against central differences."""

from functools import partial

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import STACK, TARGETS, matrix_problem

import implicit_flow as imf
from implicit_flow.flows import _settled, settled


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


def _difference(value, point, h=1e-3):
    """Central, extrapolated: an error of h^4."""
    basis = np.eye(point.size)
    wide, narrow = (
        np.array([(value(point + s * e) - value(point - s * e)) / (2 * s) for e in basis])
        for s in (h, h / 2)
    )
    return (4 * narrow - wide) / 3


@pytest.mark.parametrize("solver", [None, diffrax.Dopri8()])
def test_derivatives_of_a_flow_that_starts_at_its_end(solver):
    """X has nowhere to go, but its derivatives have."""
    init = jnp.array([[1.0, 0.3, -0.2], [0.1, 0.8, 0.4], [-0.5, 0.2, 0.9]])
    A = imf.measurements.DenseMeasurement(STACK)
    targets = A.apply(init @ init.T)

    def end(y, rtol=1e-6):
        sol = imf.simulate(imf.Problem(A, y), alpha=1.0, init=init, solver=solver, rtol=rtol)
        return jnp.sum(sol.X * jnp.arange(9.0).reshape(3, 3)), (sol.dual, sol.residual)

    found = jax.jit(jax.grad(lambda y: end(y)[0]))(targets)
    wanted = _difference(jax.jit(lambda y: end(y, 1e-10)[0]), targets)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    dual, residual = jax.jit(jax.jacrev(lambda y: end(y)[1]))(targets)
    # The limit meets its targets, whatever they are.
    np.testing.assert_allclose(residual, np.zeros((2, 2)), atol=1e-6)
    moved = jax.jit(lambda y: end(y, 1e-10)[1][0])
    wanted = np.stack([_difference(lambda y, k=k: moved(y)[k], targets) for k in range(2)])
    np.testing.assert_allclose(dual, wanted, rtol=1e-4, atol=1e-5)


def test_derivatives_of_a_flow_that_takes_no_step():
    """From X = 0 to targets of zero: X is least norm, and linear in the targets."""
    A = imf.measurements.DenseMeasurement(STACK)

    def end(y):
        return imf.simulate(imf.Problem(A, y), imf.flows.EuclideanFlow()).X

    rows = STACK.reshape(2, 9)
    wanted = np.linalg.pinv(rows).reshape(3, 3, 2)
    np.testing.assert_allclose(jax.jit(jax.jacrev(end))(jnp.zeros(2)), wanted, atol=1e-12)


@pytest.mark.parametrize("log10_alpha", [-5.0, -300.0])
def test_derivatives_from_a_tiny_start(log10_alpha):
    """They come to rest later than X, by the length of the path in logarithms."""
    A = imf.measurements.DiagonalMeasurement([[1.0, 0.5, 0.2], [0.1, 0.6, 1.2]])

    def end(y, rtol=1e-6):
        sol = imf.simulate(
            imf.Problem(A, y), imf.flows.HadamardFlow(), log10_alpha=log10_alpha, rtol=rtol
        )
        return jnp.sum(sol.x * jnp.array([1.0, -2.0, 3.0]))

    targets = jnp.array([1.0, 0.7])
    wanted = _difference(jax.jit(lambda y: end(y, 1e-10)), targets)
    np.testing.assert_allclose(jax.jit(jax.grad(end))(targets), wanted, rtol=1e-6)


def test_many_measurements_are_not_decomposed(monkeypatch):
    """What X has left of its way, both ways: 14 equations of a 6 x 6 matrix of rank two."""
    problem = imf.problems.gaussian_sensing(6, 2, 14, key=jax.random.key(0))
    X, no_dual = problem.ground_truth + 1e-3 * jnp.eye(6), jnp.zeros(14)

    def end(shift):
        at = imf.Problem(problem.measurement, problem.measurement.apply(X) + shift)
        return settled(imf.flows.MatrixFlow(), at, X, (X, -shift, no_dual), jnp.array(True))

    direct = jax.jacrev(end)(jnp.zeros(14))
    monkeypatch.setattr(_settled, "_FEW_MEASUREMENTS", 1)
    for derivative in (jax.jacrev, jax.jacfwd):
        for one, other in zip(derivative(end)(jnp.zeros(14)), direct, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-7 * np.abs(other).max() + 1e-9)
    # The targets are met wherever they move.
    np.testing.assert_allclose(
        problem.measurement.apply(direct[0][..., 0]), np.eye(14)[0], atol=1e-9
    )
    np.testing.assert_allclose(direct[1], 0, atol=1e-9)


def test_targets_that_are_missed_by_little_do_not_move_the_limit():
    """x2 = 0 is nearest to them, whatever they are."""
    A = imf.measurements.DiagonalMeasurement(np.eye(2))

    def end(y):
        sol = imf.simulate(imf.Problem(A, y), imf.flows.HadamardFlow(depth=3), alpha=0.1)
        return sol.x, sol.result

    found, result = jax.jit(jax.jacrev(end, has_aux=True))(jnp.array([1.0, -5e-4]))
    assert result == imf.RESULTS.stationary
    np.testing.assert_allclose(found, [[1, 0], [0, 0]], atol=1e-3)


@pytest.mark.parametrize("solver", [None, diffrax.Dopri8()])
def test_derivatives_past_rest_are_those_of_the_limit(solver):
    init = jnp.array([[1.0, 0.3, -0.2], [0.1, 0.8, 0.4], [-0.5, 0.2, 0.9]])
    A = imf.measurements.DenseMeasurement(STACK)

    def ends(y):
        given = {"alpha": 1.0, "init": init, "solver": solver, "saveat": jnp.array([0.0, 1e6])}
        sol = imf.simulate(imf.Problem(A, y), **given)
        return (sol.X, sol.residual, sol.dual), (sol.Xs, sol.residuals, sol.duals)

    last, along = jax.jit(jax.jacrev(ends))(A.apply(init @ init.T))
    for end, kept in zip(last, along, strict=True):
        np.testing.assert_allclose(kept[1], end, atol=1e-14)
        assert np.abs(end).max() > 1e-3 or end is last[1]
