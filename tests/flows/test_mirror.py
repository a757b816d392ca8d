"""Potentials against their definitions, and mirror flows under every transformation."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import implicit_flow as imf
from implicit_flow import flows
from implicit_flow.flows.potentials import Entropy, Hypentropy, PNorm, Quadratic


# Potential, and its formula once more in plain NumPy.
POTENTIALS = {
    "quadratic": (Quadratic(), lambda x: np.sum(x**2) / 2),
    "entropy": (Entropy(), lambda x: np.sum(x * np.log(x) - x)),
    "hypentropy": (
        Hypentropy(0.3),
        lambda x: np.sum(x * np.arcsinh(x / 0.3) - np.sqrt(x**2 + 0.09) + 0.3),
    ),
    "p = 1.4": (PNorm(1.4), lambda x: np.sum(np.abs(x) ** 1.4) ** (2 / 1.4) / 2),
    "p = 3": (PNorm(3), lambda x: np.sum(np.abs(x) ** 3) ** (2 / 3) / 2),
}
ROWS = np.array([[2.0, 1.0, 0.5], [0.3, -1.0, 1.5]])
VALUES = np.array([1.0, 0.4])


def problem_of(targets, dtype=np.float64):
    return imf.Problem(imf.measurements.DiagonalMeasurement(ROWS.astype(dtype)), targets)


def point(potential):
    x = np.array([0.7, 1.3, 0.02, 2.5])
    return x if potential.is_nonnegative else x * np.array([1.0, -1.0, 1.0, -1.0])


@pytest.mark.parametrize("name", POTENTIALS)
def test_value_gradient_and_inverse(name):
    potential, formula = POTENTIALS[name]
    x = jnp.asarray(point(potential))
    # Rounding of a sum of four terms.
    np.testing.assert_allclose(potential.value(x), formula(np.asarray(x)), rtol=1e-14)
    theta = potential.dual(x)
    np.testing.assert_allclose(theta, jax.grad(potential.value)(x), rtol=1e-12)
    np.testing.assert_allclose(potential.primal(theta), x, rtol=1e-12)
    # The derivative of the inverse is the inverse of the Hessian.
    hessian = jax.jacobian(jax.grad(potential.value))(x)
    slope = jax.jacobian(potential.primal)(theta)
    np.testing.assert_allclose(slope @ hessian, np.eye(4), atol=1e-10)


@pytest.mark.parametrize("name", POTENTIALS)
def test_divergence_is_positive_and_zero_only_at_the_start(name):
    potential, _ = POTENTIALS[name]
    x = jnp.asarray(point(potential))
    for step in np.random.default_rng(0).normal(size=(20, 4)) * 0.01:
        assert potential.divergence(x + step, x) > 0
    assert abs(float(potential.divergence(x, x))) < 1e-15


@pytest.mark.parametrize("name", ["quadratic", "hypentropy", "p = 1.4", "p = 3"])
def test_zero_is_where_these_start(name):
    potential, _ = POTENTIALS[name]
    zero = jnp.zeros(3)
    for value in (potential.value(zero), potential.dual(zero), potential.primal(zero)):
        np.testing.assert_array_equal(value, 0)
    assert np.all(np.isfinite(jax.jacobian(potential.primal)(zero)))


@pytest.mark.parametrize("beta", [1e-200, 1e-3, 1e6])
def test_hypentropy_far_from_one(beta):
    potential, x = Hypentropy(beta), jnp.array([2.0, -1e-3])
    assert np.isfinite(float(potential.value(x)))
    np.testing.assert_allclose(potential.primal(potential.dual(x)), x, rtol=1e-12)
    # Large beta: x^2 / (2 beta), with a relative error of (x / beta)^2 / 12.
    if beta > 1:
        np.testing.assert_allclose(potential.value(x), jnp.sum(x**2) / 2 / beta, rtol=1e-10)


def flow_of(name):
    return flows.MirrorFlow(POTENTIALS[name][0])


@pytest.mark.long
def test_it_differentiates():
    flow, targets = flow_of("hypentropy"), jnp.asarray(VALUES)

    def x_of(targets):
        x = imf.simulate(problem_of(targets), flow, rtol=1e-8).x
        return x, x

    jacobian, x = jax.jit(jax.jacrev(x_of, has_aux=True))(targets)
    # The end is where the gradient of the potential is in the row space: H dx = B'dl, B dx = dy,
    # with 1/sqrt(x^2 + beta^2) on the diagonal of H.
    inverse = np.diag(np.sqrt(np.asarray(x) ** 2 + 0.3**2))
    exact = inverse @ ROWS.T @ np.linalg.inv(ROWS @ inverse @ ROWS.T)
    # 1e-8 of x, and ten times that of a derivative.
    np.testing.assert_allclose(jacobian, exact, rtol=1e-6, atol=1e-7)


@pytest.mark.long
def test_beta_is_traced():
    def x_of(beta):
        x = imf.simulate(
            problem_of(VALUES),
            flows.MirrorFlow(Hypentropy(beta)),
            solver=diffrax.Tsit5(),
            adjoint=diffrax.ForwardMode(),
            rtol=1e-8,
        ).x
        return x, x

    # Lanes: limits at both ends of beta, a derivative, and the values beside it.
    betas = jnp.array([1e-12, 1e6, 0.1, 0.1001, 0.0999])
    derivatives, xs = jax.jit(jax.vmap(jax.jacfwd(x_of, has_aux=True)))(betas)
    small, large, _, above, below = xs
    least = imf.convex.min_l1(problem_of(VALUES))
    # At beta the sum of |x| is above its minimum by some n beta^(1 - |B'nu|): well below 1e-3.
    assert float(jnp.sum(jnp.abs(small))) - least.value < 1e-3 * least.value
    np.testing.assert_allclose(large, np.linalg.pinv(ROWS) @ VALUES, atol=1e-6)
    np.testing.assert_allclose(derivatives[2], (above - below) / 2e-4, rtol=1e-3, atol=1e-4)


def test_float32_and_it_names_its_potential():
    problem = problem_of(VALUES.astype(np.float32), np.float32)
    assert problem.measurement.dtype == np.float32
    sol = imf.simulate(problem, flow_of("hypentropy"))
    assert sol.x.dtype == np.float32
    assert sol.flow == "MirrorFlow(Hypentropy)"
    assert jnp.isnan(sol.log10_alpha)
    # beta = 0.3 is alpha = 0.15; 1e-3 is the default accuracy of float32.
    exact = imf.closed_forms.signed_hadamard(problem_of(VALUES), alpha=0.15)
    np.testing.assert_allclose(sol.X, exact, atol=1e-3 * float(jnp.linalg.norm(exact)))


@pytest.mark.parametrize("scale", [1e-8, 1e8])
@pytest.mark.parametrize("name", ["quadratic", pytest.param("p = 1.4", marks=pytest.mark.long)])
def test_the_accuracy_does_not_depend_on_the_scale(name, scale):
    one = imf.simulate(problem_of(VALUES), flow_of(name)).x
    scaled = imf.simulate(problem_of(scale * VALUES), flow_of(name)).x
    np.testing.assert_allclose(scaled / scale, one, rtol=1e-6, atol=1e-7)


def test_descend_is_mirror_descent():
    # Exponentiated gradient, by hand.
    x, step = np.full(3, 0.5), 0.02
    for _ in range(40):
        x = x * np.exp(-step * ROWS.T @ (ROWS @ x - VALUES))
    sol = imf.descend(
        problem_of(VALUES), flow_of("entropy"), optax.sgd(step), alpha=0.5, num_steps=40
    )
    np.testing.assert_allclose(sol.x, x, rtol=1e-12)
    np.testing.assert_allclose(sol.time, 0.8, rtol=1e-12)
    # alpha = 1 is a dual start of exactly 0, and no underflow; nor is any other alpha.
    for exponent in (0.0, -400.0):
        imf.descend(
            problem_of(VALUES),
            flow_of("entropy"),
            optax.sgd(step),
            log10_alpha=exponent,
            num_steps=1,
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PNorm(1), "`p` must lie between 1 and infinity, but is 1"),
        (lambda: PNorm(float("nan")), "`p` must lie between"),
        (lambda: Hypentropy(0.0), "`beta` must be positive"),
        (lambda: Hypentropy(float("inf")), "`beta` must be finite"),
        (lambda: Hypentropy(np.ones(2)), r"`beta` must have shape \(\)"),
        (lambda: simulated("quadratic", alpha=0.1), "`alpha` must be left out for MirrorFlow"),
        (lambda: simulated("entropy"), "Exactly one of the arguments `alpha`"),
        (
            lambda: imf.simulate(
                problem_of(VALUES), flow_of("entropy"), alpha=1.0, init=0 * np.ones(3)
            ),
            "`init` must be positive",
        ),
        (lambda: simulated("quadratic", init=np.ones(1)), r"`init` must have shape \(3,\)"),
        (
            lambda: imf.simulate(
                problem_of(VALUES), flow_of("quadratic"), init=np.array([1.0, np.nan, 0.0])
            ),
            "`init` must be finite",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def simulated(name, **options):
    return imf.simulate(problem_of(VALUES), flow_of(name), **options)


def test_what_is_no_potential():
    unhooked = getattr(flows.MirrorFlow, "__wrapped__", flows.MirrorFlow)
    with pytest.raises((ValueError, TypeError), match="potential"):
        unhooked(Quadratic)


def test_matrices_are_refused():
    A = imf.measurements.DenseMeasurement(np.eye(2)[None])
    with pytest.raises(ValueError, match="DiagonalMeasurement for MirrorFlow"):
        imf.simulate(imf.Problem(A, np.ones(1)), flow_of("quadratic"))
