"""The order of the method, by halving its steps against SciPy at the reach of float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import implicit_flow as imf
from implicit_flow._congruence_term import congruence_term
from implicit_flow.solvers._full_newton import stage_jacobian
from implicit_flow.solvers._stages import defect, stage_factors


END = 1.0
TARGETS = np.array([4.0, 3.0])
MIXED = np.array([[[2, 1, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 1], [1, 0, 0], [1, 0, 3]]], float)
ROTATION, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
SPECTRA = np.array([[2.0, 1.0, 0.5], [0.3, -1.0, 1.5]])
COMMUTING = np.einsum("ij,kj,lj->kil", ROTATION, SPECTRA, ROTATION)


def exact(stack):
    def field(t, u):
        U = u.reshape(3, 3)
        r = np.tensordot(stack, U @ U.T, 2) - TARGETS
        return -(np.tensordot(r, stack, 1) @ U).ravel()

    start = np.sqrt(0.1) * np.eye(3).ravel()
    found = solve_ivp(field, (0.0, END), start, "DOP853", rtol=3e-14, atol=1e-15)
    U = found.y[:, -1].reshape(3, 3)
    return U @ U.T


@jax.jit
def end_of(stack, count):
    problem = imf.Problem(imf.measurements.DenseMeasurement(stack), jnp.asarray(TARGETS))
    term = congruence_term(problem)
    h = END / count.astype(stack.dtype)

    def step(_, U):
        def newton(_, k):
            J = stage_jacobian(term, k, h, U)
            return k - jnp.linalg.solve(J, defect(term, k, h, U).ravel()).reshape(3, 2)

        constant = jnp.tile(term.residual(term.predict(U)), (3, 1))
        return stage_factors(term, jax.lax.fori_loop(0, 8, newton, constant), h, U)[0][2]

    U = jax.lax.fori_loop(0, count, step, jnp.sqrt(0.1) * jnp.eye(3))
    return U @ U.T


@pytest.mark.parametrize(
    ("stack", "order", "fewest"), [(MIXED, 4, 32), (COMMUTING, 5, 8)], ids=["mixed", "commuting"]
)
def test_halved_steps(stack, order, fewest):
    wanted = exact(stack)
    counts = fewest * 2 ** np.arange(4)
    ends = [end_of(jnp.asarray(stack), jnp.asarray(count)) for count in counts]
    errors = np.array([np.linalg.norm(end - wanted) for end in ends])
    # Above the rounding of the reference, so that what is seen is the method.
    assert errors[-1] > 1e-12
    # Terms of the next order are still seen at these steps.
    assert np.all(np.abs(np.log2(errors[:-1] / errors[1:]) - order) < 0.2)
