"""What is done for speed in large layers and in loops gives the scaling that it would give without.

The truth is the derivative of the path-norm squared, formed with NumPy by central differences in
each squared weight, from the network's own call on ones.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from implicit_flow.networks import (
    MLP,
    _signal_rules,
    _squares,
    path_scaling,
    scale_by_path_norm,
)


KEY = jax.random.key(11)


class Sideways(eqx.Module):
    """Weights with the inputs first, and a matrix that is used twice."""

    first: jax.Array
    shared: jax.Array
    last: jax.Array

    def __call__(self, x):
        hidden = jax.nn.relu(x @ self.first)
        return self.last @ jax.nn.relu(hidden @ self.shared + self.shared @ hidden)


class Loops(eqx.Module):
    """A loop with two uses of one matrix, either way around, and a loop and a branch inside."""

    into: jax.Array
    recurrent: jax.Array
    inner: jax.Array
    out: jax.Array

    def __call__(self, xs):
        def inner(state, _):
            return jax.nn.relu(self.inner @ state), None

        def advance(state, inputs):
            x, flag = inputs
            state = jax.nn.relu(self.into @ x + self.recurrent @ state + state @ self.recurrent)
            state, _ = jax.lax.scan(inner, state, None, length=2)
            state = jax.lax.cond(flag, lambda s: self.inner @ s, lambda s: s, state)
            return state, self.out @ state

        flags = jnp.array([False, True, False])
        return jax.lax.scan(advance, jnp.ones_like(self.into[:, 0]), (xs, flags))[1]


def draw(kind, *shapes):
    keys = jax.random.split(KEY, len(shapes))
    return kind(*(jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)))


NETWORKS = {
    "layers": (
        lambda: jax.tree.map(
            lambda x: x + 0.2 if eqx.is_inexact_array(x) else x, MLP((5, 7, 6, 2), key=KEY)
        ),
        (5,),
    ),
    "sideways": (lambda: draw(Sideways, (3, 4), (4, 4), (2, 4)), (3,)),
    "loops": (lambda: draw(Loops, (3, 2), (3, 3), (3, 3), (1, 3)), (3, 2)),
}


@pytest.fixture
def everything_is_large(monkeypatch):
    """Every matrix counts as large, and blocks of rows do not divide it."""
    monkeypatch.setattr(_signal_rules, "FEWEST_ENTRIES", 1)
    monkeypatch.setattr(_squares, "_ROWS", 3)
    jax.clear_caches()
    yield
    jax.clear_caches()


def differences(network, shape):
    """d phi_2^2 / d (w^2), entry by entry."""
    params, rest = eqx.partition(network, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(params)
    squares = [np.square(np.asarray(leaf)) for leaf in leaves]
    ones = jnp.ones(shape)

    @jax.jit
    def call(leaves):
        # With nonnegative weights and inputs every ReLU is the identity.
        return jnp.sum(eqx.combine(jax.tree.unflatten(structure, leaves), rest)(ones))

    found = []
    for number, square in enumerate(squares):
        slope = np.zeros_like(square)
        for index in np.ndindex(square.shape):
            ends = []
            for sign in (1, -1):
                moved = square.copy()
                moved[index] += sign * 1e-4
                ends.append(float(call([*squares[:number], moved, *squares[number + 1 :]])))
            slope[index] = (ends[0] - ends[1]) / 2e-4
        found.append(slope)
    return found


@pytest.mark.usefixtures("everything_is_large")
def test_derivative_of_the_scaling():
    """It is a function of the parameters like any other."""
    build, shape = NETWORKS["sideways"]
    network = build()
    direction = jax.tree.map(jnp.cos, network)

    def along(t):
        moved = jax.tree.map(lambda w, d: w + t * d, network, direction)
        leaves = jax.tree.leaves(path_scaling(moved, input_shape=shape))
        return sum(jnp.sum(jnp.sin(k)) for k in leaves)

    forward = jax.jvp(along, (0.0,), (1.0,))[1]
    step = 1e-5
    central = (along(step) - along(-step)) / (2 * step)
    # Rounding 1e-16 over the step, and third derivatives times 1e-10.
    assert float(jax.grad(along)(0.0)) == pytest.approx(float(central), rel=1e-6)
    assert float(forward) == pytest.approx(float(central), rel=1e-6)
    batch = jax.vmap(along)(jnp.array([0.0, 0.1]))
    np.testing.assert_allclose(batch, [along(0.0), along(0.1)], rtol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("everything_is_large")
def test_scaling_of_large_layers_and_loops(name):
    build, shape = NETWORKS[name]
    network = build()
    expected = differences(network, shape)
    kappa = jax.tree.leaves(path_scaling(network, input_shape=shape))
    for found, slope in zip(kappa, expected, strict=True):
        # Central differences with a step of 1e-4: third derivatives of polynomials times 1e-8,
        # and rounding over the step.
        np.testing.assert_allclose(found, slope, rtol=1e-5, atol=1e-6 * np.max(slope))


@pytest.mark.usefixtures("everything_is_large")
def test_stored_scaling_of_large_layers_is_two_vectors():
    build, shape = NETWORKS["layers"]
    network = build()
    optimizer = scale_by_path_norm(network, update_every=2)
    params = eqx.filter(network, eqx.is_inexact_array)
    grads = jax.tree.map(jnp.cos, params)
    state = optimizer.init(params)
    assert all(leaf.ndim < 2 for leaf in jax.tree.leaves(state))
    expected = jax.tree.map(lambda g, k: g / k, grads, path_scaling(network, input_shape=shape))
    for point in (params, jax.tree.map(jnp.sin, params)):
        # The second update is with the scaling of the first.
        updates, after = jax.jit(optimizer.update)(grads, state, point)
        assert jax.tree.structure(after) == jax.tree.structure(state)
        state = after
        pairs = zip(jax.tree.leaves(updates), jax.tree.leaves(expected), strict=True)
        for found, wanted in pairs:
            np.testing.assert_allclose(found, wanted, rtol=1e-12)
