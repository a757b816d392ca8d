"""The invariance law, and the checks that any Optax transformation passes."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from implicit_flow.networks import (
    LSTM,
    MLP,
    RNN,
    ConvNet,
    HiddenUnits,
    UnitEdges,
    path_norm,
    path_scaling,
    path_sgd,
    rescale,
    scale_by_path_norm,
    unbalanced,
)


KEY = jax.random.key(5)


def perturbed(network):
    """Biases that are not zero."""
    return jax.tree.map(lambda x: x + 0.1 if eqx.is_inexact_array(x) else x, network)


class Residual(eqx.Module):
    """Only the units inside the branch can be rescaled."""

    a: jax.Array
    b: jax.Array
    out: jax.Array

    def __call__(self, x):
        return self.out @ (x + self.b @ jax.nn.relu(self.a @ x))

    def hidden_units(self):
        incoming = UnitEdges(lambda network: network.a, axis=0)
        outgoing = UnitEdges(lambda network: network.b, axis=1)
        return (HiddenUnits(6, (incoming,), (outgoing,)),)


def residual():
    keys = jax.random.split(KEY, 3)
    shapes = ((6, 3), (3, 6), (2, 3))
    return Residual(*(jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)))


NETWORKS = {
    "mlp": (lambda: perturbed(MLP((4, 8, 8, 2), key=KEY)), (4,)),
    "convolutional": (lambda: perturbed(ConvNet((2, 4, 4), (3,), 2, key=KEY)), (2, 4, 4)),
    "recurrent": (lambda: perturbed(RNN(3, 6, 2, key=KEY)), (5, 3)),
    "recurrent, no biases": (lambda: RNN(3, 6, 2, key=KEY, use_bias=False), (5, 3)),
    "residual": (residual, (3,)),
    "equinox": (lambda: perturbed(eqx.nn.MLP(3, 2, 5, 2, key=KEY)), (3,)),
}


def batch(shape, size=6):
    return jax.random.normal(jax.random.key(9), (size, *shape))


def loss_of(network, x):
    out = jax.vmap(network)(x).reshape(x.shape[0], -1)
    return jnp.mean(jnp.square(out - jnp.arange(out.shape[1], dtype=out.dtype)[None, :]))


@eqx.filter_jit
def step(network, optimizer, x, count):
    params, rest = eqx.partition(network, eqx.is_inexact_array)
    state = optimizer.init(params)
    for _ in range(count):
        grads = jax.grad(lambda p: loss_of(eqx.combine(p, rest), x))(params)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return eqx.combine(params, rest)


def distance(one, other):
    """The largest relative difference between entries of two networks."""
    pairs = zip(
        jax.tree.leaves(eqx.filter(one, eqx.is_array)),
        jax.tree.leaves(eqx.filter(other, eqx.is_array)),
        strict=True,
    )
    return max(float(jnp.max(jnp.abs(a - b) / (jnp.abs(a) + jnp.abs(b) + 1e-30))) for a, b in pairs)


# Momentum is one chain of Optax for all networks: one of them stands for it.
@pytest.mark.parametrize(("name", "momentum"), [*((name, None) for name in NETWORKS), ("mlp", 0.9)])
def test_step_and_rescaling_commute(name, momentum):
    build, shape = NETWORKS[name]
    network, x = build(), batch(shape)
    other = rescale(network, jax.random.key(1), num_draws=6, strength=3.0)
    assert distance(network, other) > 0.1
    optimizer = path_sgd(0.02, network, input_shape=shape, momentum=momentum)
    count = 1 if momentum is None else 3
    moved_then_rescaled = rescale(
        step(network, optimizer, x, count), jax.random.key(1), num_draws=6, strength=3.0
    )
    rescaled_then_moved = step(other, optimizer, x, count)
    # Each entry is a difference of two numbers that were rounded differently: 1e-16 times the
    # cancellation in the worst entry (measured: at most 2e-11).
    assert distance(moved_then_rescaled, rescaled_then_moved) < 1e-9
    assert distance(network, moved_then_rescaled) > 1e-6


def test_sgd_does_not_commute_with_rescaling():
    """The law above can fail: for SGD it does."""
    build, shape = NETWORKS["mlp"]
    network, x = build(), batch(shape)
    other = rescale(network, jax.random.key(1), num_draws=6, strength=3.0)
    optimizer = optax.sgd(0.02)
    moved = rescale(step(network, optimizer, x, 1), jax.random.key(1), num_draws=6, strength=3.0)
    assert distance(moved, step(other, optimizer, x, 1)) > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_rescaling_changes_neither_function_nor_path_norm(name):
    build, shape = NETWORKS[name]
    network, x = build(), batch(shape)
    other = rescale(network, jax.random.key(2))
    np.testing.assert_allclose(jax.vmap(network)(x), jax.vmap(other)(x), rtol=1e-9, atol=1e-12)
    for p in (1, 2):
        before = path_norm(network, p, input_shape=shape)
        after = path_norm(other, p, input_shape=shape)
        assert float(after) == pytest.approx(float(before), rel=1e-12)


def test_unbalanced_start_is_published_one():
    network = MLP((4, 400, 400, 2), key=KEY)
    other = unbalanced(network, KEY)
    norms = jnp.linalg.norm(other.layers[0].weight, axis=1)
    # 200 draws of 800 units: (1 - 1/800)^200 = 78% of the rows are left as they are.
    assert 0.70 < float(jnp.mean(norms < 3.0)) < 0.86
    assert float(jnp.max(norms)) > 20.0


def test_unknown_hidden_units_are_asked_for():
    with pytest.raises(ValueError, match="Argument `units` must be given"):
        rescale(eqx.nn.Linear(2, 2, key=KEY), KEY)


# -- an Optax transformation like any other -------------------------------------------------------


def small():
    return perturbed(MLP((3, 5, 2), key=KEY))


def gradients(network):
    params, rest = eqx.partition(network, eqx.is_inexact_array)
    return jax.grad(
        lambda p: loss_of(eqx.combine(p, rest), batch((3,)).astype(p.layers[0].bias.dtype))
    )(params)


def expected_updates(network, rate):
    kappa = path_scaling(network)
    return jax.tree.map(lambda g, k: -rate * g / k, gradients(network), kappa)


def assert_close(found, expected, rtol=1e-12):
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=rtol)


def test_update_is_the_gradient_over_kappa():
    network = small()
    optimizer = path_sgd(0.1, network)
    params = eqx.filter(network, eqx.is_inexact_array)
    updates, _ = optimizer.update(gradients(network), optimizer.init(params), params)
    assert_close(updates, expected_updates(network, 0.1))
    # The whole network may stand for its parameters.
    again, _ = optimizer.update(gradients(network), optimizer.init(params), network)
    assert_close(again, updates)


def test_jit_agrees_and_state_structure_is_stable():
    network = small()
    params = eqx.filter(network, eqx.is_inexact_array)
    for optimizer in (path_sgd(0.1, network, momentum=0.9, update_every=3), path_sgd(0.1, network)):
        state = optimizer.init(params)
        eager, after = optimizer.update(gradients(network), state, params)
        jitted, jitted_after = jax.jit(optimizer.update)(gradients(network), state, params)
        assert_close(jitted, eager)
        for other in (after, jitted_after):
            assert jax.tree.structure(other) == jax.tree.structure(state)
            kinds = [(x.shape, x.dtype, x.sharding) for x in jax.tree.leaves(state)]
            assert kinds == [(x.shape, x.dtype, x.sharding) for x in jax.tree.leaves(other)]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("update_every", [1, 2])
def test_dtype_of_the_parameters_is_kept(dtype, update_every):
    network = jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, small())
    params = eqx.filter(network, eqx.is_inexact_array)
    optimizer = path_sgd(0.1, network, update_every=update_every)
    state = optimizer.init(params)
    updates, after = optimizer.update(gradients(network), state, params)
    assert all(u.dtype == dtype for u in jax.tree.leaves(updates))
    stored = [x for x in jax.tree.leaves(after) if jnp.issubdtype(x.dtype, jnp.inexact)]
    assert all(x.dtype == jnp.float32 for x in stored)
    assert bool(stored) == (update_every > 1)


def test_learning_rate_schedule_and_injection():
    network = small()
    params = eqx.filter(network, eqx.is_inexact_array)
    scheduled = path_sgd(optax.constant_schedule(0.1), network)
    injected = optax.inject_hyperparams(path_sgd, static_args="network")(0.1, network)
    for optimizer in (scheduled, injected):
        updates, _ = optimizer.update(gradients(network), optimizer.init(params), params)
        assert_close(updates, expected_updates(network, 0.1))
    state = injected.init(params)
    state.hyperparams["learning_rate"] = jnp.asarray(0.2)
    updates, _ = jax.jit(injected.update)(gradients(network), state, params)
    assert_close(updates, expected_updates(network, 0.2))


def test_chain_and_accumulation():
    network = small()
    params = eqx.filter(network, eqx.is_inexact_array)
    clipped = optax.chain(optax.clip_by_global_norm(1e9), path_sgd(0.1, network))
    updates, _ = clipped.update(gradients(network), clipped.init(params), params)
    assert_close(updates, expected_updates(network, 0.1))
    accumulated = optax.MultiSteps(path_sgd(0.1, network), every_k_schedule=2)
    state = accumulated.init(params)
    # Optax's own running mean divides floats by integers.
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(2):
            updates, state = accumulated.update(gradients(network), state, params)
    # Optax accumulates in float32.
    assert_close(updates, expected_updates(network, 0.1), rtol=1e-6)


def labels_of(params):
    """The last layer by plain SGD, the rest by Path-SGD."""
    labels = jax.tree.map(lambda _: "path", params)
    last = jax.tree.map(lambda _: "plain", params.layers[-1])
    return eqx.tree_at(lambda p: p.layers[-1], labels, last)


def test_multi_transform():
    network = small()
    params = eqx.filter(network, eqx.is_inexact_array)
    moved = eqx.tree_at(lambda n: n.layers[-1].weight, network, 2 * network.layers[-1].weight)
    parts = {"path": path_sgd(0.1, network), "plain": optax.sgd(0.1)}
    optimizer = optax.multi_transform(parts, labels_of)
    state = optimizer.init(params)
    updates, _ = optimizer.update(gradients(network), state, params)
    assert_close(updates.layers[0], expected_updates(network, 0.1).layers[0])
    assert_close(updates.layers[1].weight, -0.1 * gradients(network).layers[1].weight)
    # Once the other layer has moved, the scaling needs to be shown the network.
    updates, _ = optimizer.update(
        gradients(moved), state, eqx.filter(moved, eqx.is_inexact_array), network=moved
    )
    assert_close(updates.layers[0], expected_updates(moved, 0.1).layers[0])


def test_abstract_network_holds_no_arrays():
    network = small()
    params = eqx.filter(network, eqx.is_inexact_array)
    skeleton = eqx.filter_eval_shape(small)
    optimizer = path_sgd(0.1, skeleton)
    updates, _ = optimizer.update(gradients(network), optimizer.init(params), params)
    assert_close(updates, expected_updates(network, 0.1))
    masked = optax.multi_transform({"path": optimizer, "plain": optax.sgd(0.1)}, labels_of)
    with pytest.raises(ValueError, match="abstract network"):
        masked.update(gradients(network), masked.init(params), params)


def test_scaling_is_kept_between_updates():
    network = small()
    params = eqx.filter(network, eqx.is_inexact_array)
    doubled = jax.tree.map(lambda x: 2 * x, params)
    optimizer = scale_by_path_norm(network, update_every=2)
    grads = gradients(network)
    first, state = optimizer.update(grads, optimizer.init(params), params)
    second, state = optimizer.update(grads, state, doubled)
    third, state = optimizer.update(grads, state, doubled)
    assert_close(second, first)
    fresh = path_scaling(eqx.combine(doubled, network))
    assert_close(third, jax.tree.map(lambda g, k: g / k, grads, fresh))
    assert int(state.count) == 3


def test_dead_unit_gives_a_zero_step():
    """A unit whose outgoing weights are zero: kappa of its incoming edges is zero."""
    network = small()
    network = eqx.tree_at(
        lambda n: n.layers[1].weight, network, network.layers[1].weight.at[:, 0].set(0)
    )
    params = eqx.filter(network, eqx.is_inexact_array)
    kappa, optimizer = path_scaling(network), path_sgd(0.1, network)
    assert not kappa.layers[0].weight[0].any()
    updates, _ = optimizer.update(gradients(network), optimizer.init(params), params)
    assert all(bool(jnp.all(jnp.isfinite(u))) for u in jax.tree.leaves(updates))
    assert not updates.layers[0].weight[0].any()
    assert updates.layers[1].weight[:, 0].any()


def test_a_scaling_that_is_not_a_number_gives_no_step_that_looks_like_one():
    network = small()
    params = eqx.filter(network, eqx.is_inexact_array)
    grads, optimizer = gradients(network), path_sgd(0.1, network)
    broken = eqx.tree_at(
        lambda n: n.layers[0].weight, params, params.layers[0].weight.at[0, 0].set(jnp.nan)
    )
    updates, _ = optimizer.update(grads, optimizer.init(params), broken)
    assert jnp.isnan(updates.layers[1].weight).any()


def test_parameters_that_are_no_edges_step_like_sgd():
    class Normalized(eqx.Module):
        weight: jax.Array
        variance: jax.Array

        def __call__(self, x):
            return jax.nn.relu(self.weight @ x / jnp.sqrt(self.variance + 1.0))

    network = Normalized(jnp.ones((2, 3)), jnp.array([3.0, 8.0]))
    grads = jax.grad(loss_of)(network, batch((3,)))
    optimizer = scale_by_path_norm(network)
    updates, _ = optimizer.update(grads, optimizer.init(network), network)
    assert_close(updates.variance, grads.variance)
    assert grads.variance.any()


def test_refusals():
    network = small()
    params = eqx.filter(network, eqx.is_inexact_array)
    optimizer = path_sgd(0.1, network)
    with pytest.raises(ValueError, match="Argument `params` must be given"):
        optimizer.update(gradients(network), optimizer.init(params))
    with pytest.raises(ValueError, match="Argument `update_every` must be at least 1"):
        path_sgd(0.1, network, update_every=0)
    for wrong in (1.5, True, "2"):
        with pytest.raises(ValueError, match="Argument `update_every` must be an integer"):
            path_sgd(0.1, network, update_every=wrong)
    for wrong in (-0.1, math.nan, math.inf, "0.1", [0.1]):
        with pytest.raises(ValueError, match="Argument `learning_rate` must be a number, at least"):
            path_sgd(wrong, network)
    for wrong in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="Argument `momentum` must be a number, at least 0"):
            path_sgd(0.1, network, momentum=wrong)
    for wrong in ((-3,), (0,), 3.0):
        with pytest.raises(ValueError, match="Argument `input_shape` must be a tuple of positive"):
            path_sgd(0.1, network, input_shape=wrong)
    with pytest.raises(ValueError, match=r"callable on one example of shape \(7,\)"):
        path_sgd(0.1, network, input_shape=(7,))
    with pytest.raises(ValueError, match="Argument `network` must have a path-norm"):
        path_sgd(0.1, LSTM(3, 4, 2, key=KEY), input_shape=(5, 3))
    with pytest.raises(ValueError, match="Argument `params` must hold the 4 inexact arrays"):
        optimizer.update(params.layers[0], optimizer.init(params), params.layers[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 0.0}, "`strength` must be positive, but is 0.0"),
        ({"strength": -1.0}, "`strength` must be positive, but is -1.0"),
        ({"num_draws": -1}, "`num_draws` must be at least 0, but is -1"),
        ({"spread": np.nan}, "`spread` must be finite"),
    ],
)
def test_rescaling_by_what_is_not_positive_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        rescale(small(), KEY, **options)


@pytest.mark.parametrize("kind", [MLP, eqx.nn.MLP])
def test_units_whose_activation_is_not_homogeneous_are_not_rescaled(kind):
    sizes = ((3, 4, 2),) if kind is MLP else (3, 2, 4, 1)
    network = kind(*sizes, activation=jnp.tanh, key=KEY)
    with pytest.raises(ValueError, match="homogeneous activation"):
        rescale(network, KEY)


def test_injection_keeps_the_network_as_it_is():
    """Optax takes a callable for a schedule, unless it is named as static."""
    network = small()
    params = eqx.filter(network, eqx.is_inexact_array)
    make = optax.inject_hyperparams(path_sgd, static_args=("network",))
    injected = make(learning_rate=0.1, network=network, update_every=2)
    updates, state = injected.update(gradients(network), injected.init(params), params)
    assert_close(updates, expected_updates(network, 0.1))
    assert jax.tree.structure(state) == jax.tree.structure(injected.init(params))


def test_path_sgd_learns():
    network = MLP((2, 16, 1), key=KEY)
    x = jax.random.normal(jax.random.key(3), (32, 2))
    y = jnp.maximum(x[:, :1] - x[:, 1:], 0)
    optimizer = path_sgd(0.05, network)
    params, rest = eqx.partition(network, eqx.is_inexact_array)

    def loss(params):
        return jnp.mean(jnp.square(jax.vmap(eqx.combine(params, rest))(x) - y))

    @jax.jit
    def train(params):
        def advance(carry, _):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(advance, (params, optimizer.init(params)), None, length=300)[0][0]

    assert float(loss(train(params))) < 0.05 * float(loss(params))
