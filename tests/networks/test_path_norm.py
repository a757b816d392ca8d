"""Path-norm and scaling against the enumeration of every path, one by one."""

import dataclasses
import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from implicit_flow.networks import MLP, RNN, ConvNet, path_norm, path_scaling


# A float64 sum of at most a few thousand positive terms: relative rounding far below this.
ROUNDING = 1e-12


@dataclasses.dataclass
class Graph:
    """A network as edges (from, to, parameter); a parameter is (leaf, index) or a fixed number."""

    sources: list
    sinks: list
    edges: list = dataclasses.field(default_factory=list)

    def connect(self, start, end, parameter=1.0):
        self.edges.append((start, end, parameter))

    def paths(self):
        """Every path, as the list of what its edges carry."""
        out = {}
        for start, end, parameter in self.edges:
            out.setdefault(start, []).append((end, parameter))
        sinks = set(self.sinks)

        def walk(node, carried):
            if node in sinks:
                yield carried
            for end, parameter in out.get(node, []):
                yield from walk(end, [*carried, parameter])

        return list(itertools.chain.from_iterable(walk(source, []) for source in self.sources))


def weight_of(parameter, leaves):
    if isinstance(parameter, float):
        return parameter
    leaf, index = parameter
    return float(leaves[leaf][index])


def enumerated(graph, leaves):
    """phi_p^p for p = 1, 2, 4, and kappa1 and kappa2 of every entry of every leaf."""
    norms = dict.fromkeys((1, 2, 4), 0.0)
    kappa1 = [np.zeros_like(leaf) for leaf in leaves]
    kappa2 = [np.zeros_like(leaf) for leaf in leaves]
    for path in graph.paths():
        weights = [weight_of(parameter, leaves) for parameter in path]
        for p in norms:
            norms[p] += float(np.prod(np.abs(weights) ** p))
        squares = np.array(weights) ** 2
        uses = [(k, x) for k, x in enumerate(path) if not isinstance(x, float)]
        for k, (leaf, index) in uses:
            kappa1[leaf][index] += np.prod(np.delete(squares, k))
        for (k, first), (l, second) in itertools.permutations(uses, 2):
            if first == second:
                rest = np.prod(np.delete(squares, [k, l]))
                kappa2[first[0]][first[1]] += 2 * squares[k] * rest
    return norms, kappa1, kappa2


# -- networks, each beside its graph --------------------------------------------------------------


def dense(graph, layer, before, after, weight, bias=None):
    """Edges of a linear layer between nodes named (before, j) and (after, i)."""
    for i, j in np.ndindex(layer.shape):
        graph.connect((before, j), (after, i), (weight, (i, j)))
    if bias is not None:
        for i in range(layer.shape[0]):
            graph.connect(("one", 0), (after, i), (bias, (i,)))


def mlp(key):
    network = jax.tree.map(
        lambda x: x + 0.3 if eqx.is_inexact_array(x) else x, MLP((3, 4, 3, 2), key=key)
    )
    leaves = jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))
    graph = Graph([*((0, j) for j in range(3)), ("one", 0)], [(3, i) for i in range(2)])
    for k in range(3):
        dense(graph, leaves[2 * k], k, k + 1, 2 * k, 2 * k + 1)
    return network, None, graph


class Residual(eqx.Module):
    """h <- h + B relu(A h) twice, then a readout; the second block reuses the first one's A."""

    a: jax.Array
    b: jax.Array
    c: jax.Array
    out: jax.Array

    def __call__(self, x):
        h = x + self.b @ jax.nn.relu(self.a @ x)
        h = h + self.c @ jnp.maximum(self.a @ h, 0)
        return self.out @ h


def residual(key):
    shapes = ((3, 2), (2, 3), (2, 3), (1, 2))
    keys = jax.random.split(key, 4)
    network = Residual(*(jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)))
    leaves = jax.tree.leaves(network)
    graph = Graph([("x", 0), ("x", 1)], [("y", 0)])
    for before, inner, after, leaf in (("x", "u", "h", 1), ("h", "v", "k", 2)):
        dense(graph, leaves[0], before, inner, 0)
        dense(graph, leaves[leaf], inner, after, leaf)
        for i in range(2):
            graph.connect((before, i), (after, i))
    dense(graph, leaves[3], "k", "y", 3)
    return network, (2,), graph


def convolutional(key):
    """Convolution 3x3 with padding, ReLU, max-pool 2x2, dense."""
    network = ConvNet((1, 4, 4), (2,), 2, key=key)
    network = jax.tree.map(lambda x: x + 0.2 if eqx.is_inexact_array(x) else x, network)
    graph = Graph([*(("x", i, j) for i, j in np.ndindex(4, 4)), ("one", 0)], [("y", 0), ("y", 1)])
    for channel, i, j in np.ndindex(2, 4, 4):
        for di, dj in np.ndindex(3, 3):
            row, column = i + di - 1, j + dj - 1
            if 0 <= row < 4 and 0 <= column < 4:
                graph.connect(("x", row, column), ("c", channel, i, j), (0, (channel, 0, di, dj)))
        graph.connect(("one", 0), ("c", channel, i, j), (1, (channel, 0, 0)))
        graph.connect(("c", channel, i, j), ("pool", channel, i // 2, j // 2))
    for flat, (channel, i, j) in enumerate(np.ndindex(2, 2, 2)):
        for k in range(2):
            graph.connect(("pool", channel, i, j), ("y", k), (2, (k, flat)))
    for k in range(2):
        graph.connect(("one", 0), ("y", k), (3, (k,)))
    return network, None, graph


class Averaging(eqx.Module):
    """Average-pooling of a strided convolution in one dimension, and a concatenated skip."""

    conv: eqx.nn.Conv1d
    pool: eqx.nn.AvgPool1d
    out: eqx.nn.Linear

    def __call__(self, x):
        pooled = self.pool(jax.nn.leaky_relu(self.conv(x), 0.2))
        return self.out(jnp.concatenate([pooled.reshape(-1), x[0, :2]]))


def averaging(key):
    keys = jax.random.split(key)
    network = Averaging(
        eqx.nn.Conv1d(1, 1, 2, key=keys[0]),
        eqx.nn.AvgPool1d(2, 2),
        eqx.nn.Linear(4, 1, use_bias=False, key=keys[1]),
    )
    graph = Graph([*(("x", i) for i in range(5)), ("one", 0)], [("y", 0)])
    for i in range(4):
        for d in range(2):
            graph.connect(("x", i + d), ("c", i), (0, (0, 0, d)))
        graph.connect(("one", 0), ("c", i), (1, (0, 0)))
        graph.connect(("c", i), ("cat", i // 2), 0.5)
    for i in range(2):
        graph.connect(("x", i), ("cat", 2 + i))
    for j in range(4):
        graph.connect(("cat", j), ("y", 0), (2, (0, j)))
    return network, (1, 5), graph


def recurrent(key):
    """An output at every step; each step's inputs are sources."""
    network = RNN(2, 2, 1, key=key)
    network = jax.tree.map(lambda x: x + 0.4 if eqx.is_inexact_array(x) else x, network)
    leaves = jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))
    sources = [*((("x", t), j) for t in range(3) for j in range(2)), ("one", 0)]
    graph = Graph(sources, [(("y", t), 0) for t in range(3)])
    for t in range(3):
        dense(graph, leaves[0], ("x", t), ("h", t), 0, 2)
        if t:
            dense(graph, leaves[1], ("h", t - 1), ("h", t), 1)
        dense(graph, leaves[3], ("h", t), ("y", t), 3, 4)
    return network, (3, 2), graph


class Tied(eqx.Module):
    """An encoder, a scan over stacked layers, and the encoder's transpose as decoder."""

    encoder: jax.Array
    stack: jax.Array
    gain: jax.Array

    def __call__(self, x):
        def layer(h, w):
            return jax.nn.relu(w @ h), None

        h, _ = jax.lax.scan(layer, jax.nn.relu(self.encoder @ x), self.stack)
        return self.encoder.T @ (self.gain * h)


def tied(key):
    keys = jax.random.split(key, 3)
    network = Tied(
        jax.random.normal(keys[0], (2, 3)),
        jax.random.normal(keys[1], (2, 2, 2)),
        jax.random.normal(keys[2], (2,)),
    )
    leaves = jax.tree.leaves(network)
    graph = Graph([(0, j) for j in range(3)], [("y", j) for j in range(3)])
    dense(graph, leaves[0], 0, 1, 0)
    for layer in range(2):
        for i, j in np.ndindex(2, 2):
            graph.connect((1 + layer, j), (2 + layer, i), (1, (layer, i, j)))
    for i in range(2):
        graph.connect((3, i), (4, i), (2, (i,)))
    for i, j in np.ndindex(2, 3):
        graph.connect((4, i), ("y", j), (0, (i, j)))
    return network, (3,), graph


class RandomDag(eqx.Module):
    """Unit j is relu of a sum over some earlier units, some weights being one and the same."""

    weights: jax.Array
    plan: tuple = eqx.field(static=True)
    num_inputs: int = eqx.field(static=True)

    def __call__(self, x):
        units = [x[i] for i in range(self.num_inputs)]
        for links in self.plan:
            terms = [units[i] * self.weights[k] for i, k in links]
            units.append(jax.nn.relu(functools.reduce(jnp.add, terms)))
        return jnp.stack([units[-2], units[-1]])


def random_dag(seed, key):
    rng = np.random.default_rng(seed)
    plan = []
    for unit in range(2, 8):
        before = rng.choice(unit, size=min(unit, 3), replace=False)
        plan.append(tuple((int(i), int(rng.integers(6))) for i in before))
    network = RandomDag(jax.random.normal(key, (6,)), tuple(plan), 2)
    graph = Graph([0, 1], [6, 7])
    for unit, links in enumerate(plan, start=2):
        for i, k in links:
            graph.connect(i, unit, (0, (k,)))
    return network, (2,), graph


REGISTRY = {
    "mlp": mlp,
    "residual": residual,
    "convolutional": convolutional,
    "averaging": averaging,
    "recurrent": recurrent,
    "tied": tied,
    **{f"dag{seed}": functools.partial(random_dag, seed) for seed in range(3)},
}


@functools.cache
def entry(name):
    network, shape, graph = REGISTRY[name](jax.random.key(len(name)))
    leaves = [np.asarray(x) for x in jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))]
    return network, shape, enumerated(graph, leaves)


@pytest.mark.parametrize("p", [1, 2, 4])
@pytest.mark.parametrize("name", REGISTRY)
def test_path_norm_is_the_sum_over_all_paths(name, p):
    network, shape, (norms, _, _) = entry(name)
    found = float(path_norm(network, p, input_shape=shape))
    assert found == pytest.approx(norms[p] ** (1 / p), rel=ROUNDING)


@pytest.mark.parametrize("name", REGISTRY)
def test_scaling_is_the_sum_over_paths_through_an_edge(name):
    network, shape, (_, kappa1, kappa2) = entry(name)
    found = jax.tree.leaves(path_scaling(network, input_shape=shape))
    both = jax.tree.leaves(path_scaling(network, input_shape=shape, second_order=True))
    for got, total, first, second in zip(found, both, kappa1, kappa2, strict=True):
        np.testing.assert_allclose(got, first, rtol=ROUNDING)
        np.testing.assert_allclose(total, first + second, rtol=ROUNDING)


def test_enumeration_sees_repeated_weights():
    """The oracle itself: some registered network uses a weight twice on one path."""
    repeated = {name for name in REGISTRY if any(k.any() for k in entry(name)[2][2])}
    assert {"recurrent", "residual", "tied"} <= repeated
    assert "mlp" not in repeated and "convolutional" not in repeated


def fixture_network():
    network = MLP((2, 2, 2, 1), key=jax.random.key(0), use_bias=False)
    weights = (
        jnp.array([[1.0, -2.0], [3.0, 0.0]]),
        jnp.array([[2.0, 1.0], [-1.0, 1.0]]),
        jnp.array([[1.0, -1.0]]),
    )
    return eqx.tree_at(lambda n: [layer.weight for layer in n.layers], network, weights)


def test_fixture_is_exact():
    network = fixture_network()
    assert float(path_norm(network, p=1)) == 15.0
    assert float(path_norm(network)) == float(np.sqrt(43.0))
    kappa = [layer.weight.tolist() for layer in path_scaling(network).layers]
    assert kappa == [[[5, 5], [2, 2]], [[5, 9], [5, 9]], [[29, 14]]]


def test_scalar_recurrent_network_is_exact():
    network = RNN(1, 1, 1, key=jax.random.key(0), last_only=True)
    network = jax.tree.map(jnp.ones_like, network)
    network = eqx.tree_at(
        lambda n: (n.recurrent_weight, n.bias, n.head.bias),
        network,
        (jnp.full((1, 1), 2.0), jnp.zeros(1), jnp.zeros(1)),
    )
    # The bias is zero, but its edges are there: kappa counts them, phi does not.
    first = path_scaling(network, input_shape=(3, 1)).recurrent_weight
    both = path_scaling(network, input_shape=(3, 1), second_order=True).recurrent_weight
    assert float(first[0, 0]) == 9.0
    assert float(both[0, 0]) - float(first[0, 0]) == 16.0


class Function(eqx.Module):
    """A network that is one line."""

    w: jax.Array
    v: jax.Array
    line: object = eqx.field(static=True)

    def __call__(self, x):
        return self.line(self.w, self.v, x)


@pytest.mark.parametrize(
    "repeat",
    [
        lambda h: jnp.outer(h, jnp.ones(3)),
        lambda h: h[:, None] * jnp.ones((1, 3)),
        lambda h: h[:, None] / jnp.ones((2, 3)),
        lambda h: jnp.maximum(h[:, None], jnp.zeros((1, 3))),
        lambda h: jnp.kron(h, jnp.ones(3)),
        lambda h: (h.reshape(2, 1) * jnp.ones((2, 3))) @ jnp.ones(3),
    ],
)
def test_a_signal_that_is_repeated_along_an_axis_is_as_many_paths(repeat):
    w = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    network = Function(w, jnp.zeros(()), lambda w, v, x: repeat(w @ x))
    assert float(path_norm(network, 1, input_shape=(2,))) == 30.0
    np.testing.assert_array_equal(path_scaling(network, input_shape=(2,)).w, np.full((2, 2), 3.0))


@pytest.mark.parametrize(
    "line",
    [
        lambda w, v, x: w[1] * jax.nn.relu(v * x + w[1]),
        lambda w, v, x: v * jax.nn.relu((w * w) * x),
        lambda w, v, x: v * jax.nn.relu(w**3 * jnp.square(v) * x),
        lambda w, v, x: v * jnp.maximum(w * x, w[0]) * w[0],
        lambda w, v, x: w * jax.nn.relu(v * x - w),
    ],
)
def test_a_parameter_may_meet_itself_as_a_bias_or_in_a_product(line):
    network = Function(jnp.array([3.0, 2.0]), jnp.array(2.0), line)

    def square(w):
        return path_norm(eqx.tree_at(lambda n: n.w, network, w), input_shape=(2,)) ** 2

    half = jnp.diagonal(jax.hessian(square)(network.w)) / 2
    both = path_scaling(network, input_shape=(2,), second_order=True).w
    assert not np.allclose(both, path_scaling(network, input_shape=(2,)).w)
    np.testing.assert_allclose(both, half, rtol=ROUNDING)


def test_euler_identity_over_cuts():
    """Without biases every path crosses each layer once: sum kappa w^2 = phi^2."""
    network = MLP((5, 7, 6, 3), key=jax.random.key(3), use_bias=False)
    kappa = path_scaling(network)
    expected = float(path_norm(network)) ** 2
    for layer, scale in zip(network.layers, kappa.layers, strict=True):
        assert float(jnp.sum(scale.weight * layer.weight**2)) == pytest.approx(expected, rel=1e-13)


def test_euler_identity_counts_each_use_of_a_shared_weight():
    """In time, sum kappa_rec w^2 = (recurrent edges per path, weighted), by enumeration."""
    network, shape, (_, kappa1, _) = entry("recurrent")
    found = path_scaling(network, input_shape=shape).recurrent_weight
    weight = np.asarray(network.recurrent_weight)
    assert float(jnp.sum(found * weight**2)) == pytest.approx(
        float(np.sum(kappa1[1] * weight**2)), rel=ROUNDING
    )


@pytest.mark.parametrize("p", [1, 2, 4])
@pytest.mark.parametrize("name", ["mlp", "recurrent", "tied"])
def test_gradient_agrees_with_finite_differences(name, p):
    network, shape, _ = entry(name)
    gradient = eqx.filter_grad(lambda n: path_norm(n, p, input_shape=shape))(network)
    arrays, rest = eqx.partition(network, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(arrays)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    direction = jax.tree.unflatten(
        structure, [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    )
    step = 1e-5

    def moved(sign):
        shifted = jax.tree.map(lambda x, d: x + sign * step * d, arrays, direction)
        return float(path_norm(eqx.combine(shifted, rest), p, input_shape=shape))

    slope = (moved(1) - moved(-1)) / (2 * step)
    products = jax.tree.map(
        lambda g, d: jnp.sum(g * d), eqx.filter(gradient, eqx.is_array), direction
    )
    # Central differences: truncation h^2 = 1e-10 times third derivatives of at most a thousand,
    # rounding 1e-16 / h = 1e-11.
    assert float(sum(jax.tree.leaves(products))) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("name", ["mlp", "residual", "convolutional", "averaging", "tied"])
def test_lipschitz_bound(name):
    network, shape, _ = entry(name)
    shape = network.input_shape if shape is None else shape
    bound = float(path_norm(network, p=1, input_shape=shape))
    x, y = jax.random.normal(jax.random.key(2), (2, 200, *shape))
    distance = jnp.abs(x - y).reshape(200, -1).max(axis=1)
    change = jnp.abs(jax.vmap(network)(x) - jax.vmap(network)(y)).reshape(200, -1).sum(axis=1)
    ratio = change / distance
    assert float(ratio.max()) <= bound
    assert float(ratio.max()) > 1e-3 * bound


def test_lipschitz_bound_is_attained_by_nonnegative_weights():
    network = jax.tree.map(
        lambda x: jnp.abs(x) if eqx.is_inexact_array(x) else x,
        MLP((3, 5, 2), key=jax.random.key(0), use_bias=False),
    )
    ones = jnp.ones(3)
    change = float(jnp.sum(network(2 * ones) - network(ones)))
    assert change == pytest.approx(float(path_norm(network, p=1)), rel=1e-14)


def test_many_networks_at_once():
    networks = eqx.filter_vmap(lambda k: MLP((3, 4, 2), key=k))(
        jax.random.split(jax.random.key(0), 4)
    )
    together = eqx.filter_vmap(path_norm)(networks)
    for i in range(4):
        one = jax.tree.map(lambda x: x[i] if eqx.is_array(x) else x, networks)  # noqa: B023
        assert float(together[i]) == pytest.approx(float(path_norm(one)), rel=1e-14)


def test_zero_network_has_norm_zero_and_a_finite_gradient():
    network = jax.tree.map(
        lambda x: jnp.zeros_like(x) if eqx.is_inexact_array(x) else x,
        MLP((2, 3, 1), key=jax.random.key(0)),
    )
    value, gradient = eqx.filter_value_and_grad(path_norm)(network)
    assert float(value) == 0.0
    assert all(bool(jnp.all(g == 0)) for g in jax.tree.leaves(gradient))


def test_a_weight_that_is_not_a_number_shows():
    network = fixture_network()
    network = eqx.tree_at(
        lambda n: n.layers[0].weight, network, network.layers[0].weight.at[0, 0].set(jnp.nan)
    )
    assert jnp.isnan(path_norm(network))
    assert jnp.isnan(path_scaling(network).layers[1].weight).any()


@pytest.mark.parametrize("p", [0.5, float("inf"), float("nan")])
def test_power_must_be_at_least_one_and_finite(p):
    with pytest.raises(ValueError, match="Argument `p` must be at least 1 and finite"):
        path_norm(fixture_network(), p=p)


def test_a_network_that_raises_whatever_it_likes_is_refused():
    """BatchNorm without a state raises an AttributeError from deep inside."""
    network, _ = eqx.nn.make_with_state(eqx.nn.BatchNorm)(4, "batch", mode="batch")
    with pytest.raises(ValueError, match=r"the call fails \(.*Error: .*wrap a network"):
        path_norm(network, input_shape=(4,))


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-6), (jnp.bfloat16, 2e-2)])
def test_lower_precision(dtype, tolerance):
    """float32 sums of 32-bit inputs; bfloat16 keeps 8 bits of each of three factors."""
    network = MLP((6, 8, 8, 3), key=jax.random.key(0))
    lower = jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, network)
    found = path_norm(lower)
    assert found.dtype == jnp.float32
    assert float(found) == pytest.approx(float(path_norm(network)), rel=tolerance)
    assert all(k.dtype == jnp.float32 for k in jax.tree.leaves(path_scaling(lower)))


def test_without_float64():
    with jax.enable_x64(False):
        network = MLP((6, 8, 8, 3), key=jax.random.key(0))
        found = path_norm(network)
        kappa = path_scaling(network)
        assert found.dtype == jnp.float32 and kappa.layers[0].weight.dtype == jnp.float32
        total = jnp.sum(kappa.layers[2].weight * network.layers[2].weight ** 2)
        # The last layer's biases are zero at the start: the cut sees every path.
        assert float(total) == pytest.approx(float(found) ** 2, rel=1e-5)
