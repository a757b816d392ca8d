"""Which networks have a path-norm, why others have none, and readings easy to get wrong."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from implicit_flow.networks import LSTM, MLP, RNN, path_norm, path_scaling, support_report


KEY = jax.random.key(0)


class Pointwise(eqx.Module):
    """One hidden layer with a given activation."""

    weight: jax.Array
    out: jax.Array
    activation: object = eqx.field(static=True)

    def __call__(self, x):
        return self.out @ self.activation(self.weight @ x)


def pointwise(activation):
    return Pointwise(jnp.array([[1.0, -2.0], [0.5, 3.0]]), jnp.array([[2.0, 1.0]]), activation)


# |out| |weight| summed over the four paths.
PLAIN = 2 * 1 + 2 * 2 + 1 * 0.5 + 1 * 3

HOMOGENEOUS = {
    "relu": (jax.nn.relu, 1.0),
    "leaky": (lambda x: jax.nn.leaky_relu(x, 0.3), 1.0),
    "ninth": (lambda x: jax.nn.relu(x) / 9, 1 / 9),
    "steep": (lambda x: jax.nn.leaky_relu(x, 3.0), 3.0),
    "abs": (jnp.abs, 1.0),
    "where": (lambda x: jnp.where(x > 0, x, 0.0), 1.0),
    "mask": (lambda x: x * (x > 0).astype(x.dtype), 1.0),
    "clip": (lambda x: jnp.clip(x, 0.0), 1.0),
    "root": (lambda x: jnp.sqrt(x * x), 1.0),
    "negated": (lambda x: -2.0 * jnp.minimum(x, 0.0), 2.0),
    "identity": (lambda x: x, 1.0),
}
OTHERS = {
    "tanh": jnp.tanh,
    "relu6": jax.nn.relu6,
    "silu": jax.nn.silu,
    "gelu": jax.nn.gelu,
    "elu": jax.nn.elu,
    "softplus": jax.nn.softplus,
    "square": jnp.square,
    "step": lambda x: (x > 0).astype(x.dtype),
    "softmax": jax.nn.softmax,
    "soft_sign": lambda x: x / (1 + jnp.abs(x)),
    "far_clip": lambda x: jnp.clip(x, -100.0, 100.0),
    "farther_clip": lambda x: jnp.clip(x, 0.0, 1e6),
    "threshold": lambda x: jnp.where(x > 1e-5, x, 0.0),
    "late_bias": lambda x: jax.nn.relu(x) * jax.nn.relu(x[::-1]),
}


@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_positively_homogeneous_activations_have_their_slope(name):
    activation, factor = HOMOGENEOUS[name]
    network = pointwise(activation)
    assert support_report(network)
    assert float(path_norm(network, p=1)) == pytest.approx(factor * PLAIN, rel=1e-12)


@pytest.mark.parametrize("name", OTHERS)
def test_other_activations_are_refused_with_the_layer(name):
    report = support_report(pointwise(OTHERS[name]))
    assert not report.supported
    assert "Pointwise" in report.errors[0]
    with pytest.raises(ValueError, match="Argument `network` must be a network of linear maps"):
        path_norm(pointwise(OTHERS[name]))


def test_report_names_activation_and_layer():
    network = eqx.nn.MLP(3, 2, 4, 2, activation=jax.nn.silu, key=KEY)
    assert support_report(network).errors[0].startswith("`silu` after `.layers[0]` (Linear)")
    assert "no path-norm" in str(support_report(network))


def test_gates_and_attention_are_named():
    lstm = support_report(LSTM(3, 4, 2, key=KEY), input_shape=(5, 3))
    assert any("`.cell` (LSTMCell)" in error and "gate" in error for error in lstm.errors)

    class Attentive(eqx.Module):
        attention: eqx.nn.MultiheadAttention

        def __call__(self, x):
            return self.attention(x, x, x)

    report = support_report(Attentive(eqx.nn.MultiheadAttention(2, 4, key=KEY)), input_shape=(5, 4))
    assert any("`.attention` (MultiheadAttention)" in error for error in report.errors)
    assert any("attention" in error and "two signals" in error for error in report.errors)


@pytest.mark.parametrize(
    "choose",
    [
        lambda h: h[jnp.argmax(h)],
        lambda h: h[jnp.argsort(h)],
        lambda h: h.at[jnp.argmax(h)].set(0.0),
        lambda h: jnp.interp(h, jnp.arange(2.0), jnp.arange(2.0)),
    ],
)
def test_a_place_that_the_signal_decides_is_refused(choose):
    network = eqx.nn.Sequential([eqx.nn.Linear(3, 4, key=KEY), eqx.nn.Lambda(choose)])
    report = support_report(network)
    assert not report.supported
    assert "`.layers[0]` (Linear)" in report.errors[0]


def test_normalization_of_the_example_is_refused():
    network = eqx.nn.Sequential(
        [eqx.nn.Linear(3, 4, key=KEY), eqx.nn.LayerNorm(4), eqx.nn.Lambda(jax.nn.relu)]
    )
    error = support_report(network).errors[0]
    assert "in `.layers[1]` (LayerNorm), after `.layers[0]` (Linear)" in error


def test_the_layer_is_named_where_nothing_comes_before_it():
    first = eqx.nn.Sequential([eqx.nn.RMSNorm(3), eqx.nn.Linear(3, 4, key=KEY)])
    assert "in `.layers[0]` (RMSNorm), after the input" in support_report(first).errors[0]
    first = eqx.nn.Sequential([eqx.nn.Lambda(jax.nn.gelu), eqx.nn.Linear(3, 4, key=KEY)])
    (error,) = support_report(first).errors
    assert error.startswith("`gelu` in `.layers[0]` (Lambda)")


def test_the_layer_is_named_inside_a_scan_and_among_others():
    class Scanned(eqx.Module):
        linear: eqx.nn.Linear
        norms: list[eqx.nn.LayerNorm]

        def __call__(self, x):
            def body(h, _):
                return self.step(h), None

            h = jax.lax.scan(body, self.norms[0](x), None, length=2)[0]
            return self.linear(h)

        def step(self, h):
            return jnp.cos(self.linear(h))

    network = Scanned(eqx.nn.Linear(3, 3, key=KEY), [eqx.nn.LayerNorm(3), eqx.nn.LayerNorm(3)])
    errors = support_report(network).errors
    assert any("one of `.norms[0]`, `.norms[1]` (LayerNorm), after the input" in e for e in errors)
    assert any(e.startswith("`cos` after `.linear` (Linear)") for e in errors)


def test_loops_and_branches():
    class Looping(eqx.Module):
        weight: jax.Array

        def __call__(self, x):
            return jax.lax.while_loop(
                lambda h: jnp.sum(h) < 10, lambda h: jax.nn.relu(self.weight @ h), x
            )

    assert "loop" in support_report(Looping(jnp.eye(2))).errors[0]

    class Counting(eqx.Module):
        weight: jax.Array

        def __call__(self, x):
            def body(i, h):
                return jax.lax.cond(i == 1, lambda h: 2.0 * h, lambda h: self.weight @ h, h)

            return jax.lax.fori_loop(0, 3, body, x)

    network = Counting(jnp.array([[3.0]]))
    assert float(path_norm(network, p=1)) == pytest.approx(18.0)


def folded_and_normalized():
    """A linear layer with batch normalization, and the one layer that it folds into."""
    linear = eqx.nn.Linear(3, 4, key=KEY)
    linear = eqx.tree_at(lambda n: n.bias, linear, jnp.array([0.3, -0.2, 0.5, 0.1]))
    norm, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(4, "batch", mode="ema")
    out = eqx.nn.Linear(4, 2, use_bias=False, key=jax.random.key(1))
    gain, shift = jnp.array([1.5, -0.7, 2.0, 0.9]), jnp.array([0.2, 0.1, -0.4, 0.0])
    mean, variance = jnp.array([0.4, -0.1, 0.2, 0.6]), jnp.array([1.2, 0.5, 2.0, 0.8])
    norm = eqx.tree_at(lambda n: (n.weight, n.bias), norm, (gain, shift))
    state = state.set(norm.ema_state_index, (mean, variance))
    state = state.set(norm.ema_first_time_index, jnp.asarray(False))

    class Normalized(eqx.Module):
        linear: eqx.nn.Linear
        norm: eqx.nn.BatchNorm
        out: eqx.nn.Linear

        def __call__(self, x, state):
            h, state = self.norm(self.linear(x), state)
            return self.out(jax.nn.relu(h)), state

    network = eqx.Partial(Normalized(linear, norm, out), state=state)
    factor = gain / jnp.sqrt(variance + norm.eps)
    folded = eqx.tree_at(
        lambda n: (n.weight, n.bias),
        linear,
        (linear.weight * factor[:, None], (linear.bias - mean) * factor + shift),
    )
    plain = eqx.nn.Sequential([folded, eqx.nn.Lambda(jax.nn.relu), out])
    return network, plain, factor


@pytest.mark.parametrize("p", [1, 2])
def test_batch_normalization_is_folded(p):
    network, plain, _ = folded_and_normalized()
    x = jnp.array([0.3, -1.0, 0.7])
    inference = eqx.nn.inference_mode(network)
    np.testing.assert_allclose(inference(x)[0], plain(x), rtol=1e-12)
    found = float(path_norm(network, p, input_shape=(3,)))
    assert found == pytest.approx(float(path_norm(plain, p)), rel=1e-12)


def test_scaling_of_a_normalized_layer_is_that_of_the_folded_one():
    network, plain, factor = folded_and_normalized()
    kappa = path_scaling(network, input_shape=(3,)).func
    folded = path_scaling(plain)
    # d(phi^2)/d(w^2) = d(phi^2)/d(folded^2) factor^2.
    np.testing.assert_allclose(
        kappa.linear.weight, folded.layers[0].weight * factor[:, None] ** 2, rtol=1e-12
    )
    np.testing.assert_allclose(kappa.norm.bias, folded.layers[0].bias, rtol=1e-12)
    np.testing.assert_allclose(kappa.out.weight, folded.layers[2].weight, rtol=1e-12)


def test_statistics_kept_as_plain_arrays_are_noted():
    class Normalized(eqx.Module):
        weight: jax.Array
        variance: jax.Array

        def __call__(self, x):
            return jax.nn.relu(self.weight @ x / jnp.sqrt(self.variance + 1.0))

    network = Normalized(jnp.ones((2, 2)), jnp.array([3.0, 8.0]))
    report = support_report(network)
    assert report.supported
    assert "`.variance` enters through" in report.notes[0]
    assert float(path_norm(network, p=1)) == pytest.approx(2 / 2 + 2 / 3)
    assert not path_scaling(network).variance.any()


def test_dropout_is_off():
    network = MLP((3, 16, 2), key=KEY, dropout=0.5)
    assert float(path_norm(network)) == float(path_norm(MLP((3, 16, 2), key=KEY)))


def test_integers_are_looked_up_like_one_hot_vectors():
    network = RNN(5, 4, 2, key=KEY)
    tokens = jax.ShapeDtypeStruct((3,), jnp.int32)
    assert float(path_norm(network, input_shape=tokens)) == pytest.approx(
        float(path_norm(network, input_shape=(3, 5))), rel=1e-13
    )

    class Embedded(eqx.Module):
        table: eqx.nn.Embedding
        out: eqx.nn.Linear

        def __call__(self, token):
            return self.out(self.table(token))

    embedded = Embedded(
        eqx.nn.Embedding(5, 3, key=KEY), eqx.nn.Linear(3, 1, use_bias=False, key=KEY)
    )
    one = jax.ShapeDtypeStruct((), jnp.int32)
    expected = jnp.sum(jnp.abs(embedded.out.weight) @ jnp.abs(embedded.table.weight.T))
    assert float(path_norm(embedded, 1, input_shape=one)) == pytest.approx(float(expected))


def test_learned_slopes_and_maxima_sum_their_branches():
    class Sloped(eqx.Module):
        weight: jax.Array
        slope: eqx.nn.PReLU

        def __call__(self, x):
            return self.slope(self.weight @ x)

    prelu = Sloped(jnp.array([[1.0, -2.0]]), eqx.nn.PReLU(0.25))
    assert float(path_norm(prelu, 1)) == 3.75

    class Maxout(eqx.Module):
        a: jax.Array
        b: jax.Array

        def __call__(self, x):
            return jnp.maximum(self.a @ x, self.b @ x)

    maxout = Maxout(jnp.array([[1.0, -2.0]]), jnp.array([[4.0, 8.0]]))
    assert float(path_norm(maxout, 1)) == 15.0


def test_a_sum_of_parameters_is_one_edge():
    class Corrected(eqx.Module):
        weight: jax.Array
        left: jax.Array
        right: jax.Array

        def __call__(self, x):
            return (self.weight + self.left @ self.right) @ x

    network = Corrected(jnp.array([[3.0]]), jnp.array([[-2.0]]), jnp.array([[1.0]]))
    assert float(path_norm(network, 1)) == 1.0
    kappa = path_scaling(network)
    # The edge's own kappa is 1; the factors share it as d(w^2) does along them.
    assert float(kappa.weight[0, 0]) == 1.0
    assert float(kappa.right[0, 0]) == 4.0


def test_frozen_parameters_are_fixed_numbers():
    class Frozen(eqx.Module):
        weight: jax.Array
        frozen: jax.Array

        def __call__(self, x):
            return self.weight @ (jax.lax.stop_gradient(self.frozen) @ x)

    network = Frozen(jnp.array([[2.0]]), jnp.array([[3.0]]))
    assert float(path_norm(network, 1)) == 6.0
    kappa = path_scaling(network)
    assert float(kappa.weight[0, 0]) == 9.0
    assert float(kappa.frozen[0, 0]) == 0.0


def test_shape_that_cannot_be_inferred_is_asked_for():
    with pytest.raises(ValueError, match="Argument `input_shape` must be given"):
        path_norm(RNN(3, 4, 2, key=KEY))
    with pytest.raises(ValueError, match=r"`input_shape` must be a tuple of positive.* but is 3"):
        path_norm(MLP((3, 2), key=KEY), input_shape=3)


def test_a_call_that_fails_says_how():
    class Keyed(eqx.Module):
        weight: jax.Array

        def __call__(self, x, key):
            return self.weight @ x

    report = support_report(Keyed(jnp.eye(2)), input_shape=(2,))
    assert "missing 1 required positional argument: 'key'" in report.errors[0]
    with pytest.raises(ValueError, match="missing 1 required positional argument: 'key'"):
        path_norm(Keyed(jnp.eye(2)), input_shape=(2,))


def test_what_is_no_network_is_refused():
    with pytest.raises(ValueError, match="Argument `network` must be callable"):
        path_norm(jnp.ones(3))
    with pytest.raises(ValueError, match="at least one inexact array"):
        path_norm(eqx.nn.Identity())
