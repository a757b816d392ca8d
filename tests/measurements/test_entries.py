"""Entries: few and many of them are worked with differently, and give the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import implicit_flow as imf


@pytest.mark.parametrize("count", [5, 300])
def test_products_are_those_of_the_stack(count):
    rng = np.random.default_rng(0)
    n = 40
    flat = rng.choice(n * n, count, replace=False)
    flat[0] = 0  # one on the diagonal
    rows, cols = np.unique(flat) // n, np.unique(flat) % n
    A = imf.measurements.EntryMeasurement(rows, cols, n)
    # 40^2 = 1600 entries of X: 320 and 5 for each measured one, on both sides of the rule.
    assert A._is_dense == (count == 300)
    stack = np.zeros((rows.size, n, n))
    stack[np.arange(rows.size), rows, cols] += 0.5
    stack[np.arange(rows.size), cols, rows] += 0.5
    U, V = rng.normal(size=(2, n, 3))
    r = rng.normal(size=rows.size)
    field = np.tensordot(r, stack, 1)
    np.testing.assert_allclose(A.adjoint(jnp.asarray(r)), field, atol=1e-14)
    np.testing.assert_allclose(
        A.adjoint_times(jnp.asarray(r), jnp.asarray(U)), field @ U, atol=1e-13
    )
    same, other = jnp.asarray(U), jnp.asarray(V)
    square = np.einsum("kij,ij->k", stack, U @ U.T)
    np.testing.assert_allclose(A.apply_product(same, same), square, atol=1e-13)
    mixed = np.einsum("kij,ij->k", stack, U @ V.T)
    np.testing.assert_allclose(A.apply_product(same, other), mixed, atol=1e-13)


def test_a_stack_of_jax_stays_on_its_device():
    stack = np.array([[[2.0, 1.0], [1.0, 0.0]]])
    placed = jax.device_put(jnp.asarray(stack), jax.devices()[0])
    kept, made = (imf.measurements.DenseMeasurement(one).stack for one in (placed, stack))
    # Committed to it: computing with an array of another device is then refused, as JAX does.
    assert kept.committed
    assert not made.committed
    assert kept.tolist() == made.tolist() == stack.tolist()
