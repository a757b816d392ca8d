"""ReLU networks that are written down, not trained: truth tables, parity, halfspaces, labels."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..networks import MLP


def network(*layers: tuple[np.ndarray, np.ndarray]) -> MLP:
    """A network with the weights that are given.

    Args:
        layers: weights and biases, from the input to the output.

    Returns:
        The network.
    """
    sizes = [layers[0][0].shape[1], *(len(bias) for _, bias in layers)]
    blank = eqx.filter_eval_shape(lambda: MLP(sizes, key=jax.random.key(0)))
    values = [jnp.asarray(array, float) for layer in layers for array in layer]
    return eqx.tree_at(
        lambda n: [array for layer in n.layers for array in (layer.weight, layer.bias)],
        blank,
        values,
    )


def outputs(net: MLP, points: np.ndarray) -> np.ndarray:
    """What a network says of many points. In NumPy: there are many shapes, and each is small.

    Args:
        net: with one output.
        points: shape (n, inputs).

    Returns:
        Outputs, shape (n,).
    """
    layers = [(np.asarray(layer.weight), np.asarray(layer.bias)) for layer in net.layers]
    for weight, bias in layers[:-1]:
        points = np.maximum(points @ weight.T + bias, 0)
    weight, bias = layers[-1]
    return (points @ weight.T + bias)[:, 0]


def cube(num_inputs: int) -> np.ndarray:
    """All points of {-1, 1}^d, shape (2^d, d)."""
    bits = (np.arange(2**num_inputs)[:, None] >> np.arange(num_inputs)) & 1
    return 2.0 * bits - 1.0


def disjunction(table: np.ndarray) -> MLP:
    """A truth table as a disjunction: one hidden unit for each input on which it is true.

    A unit is relu(s.x - (d - 1)): 1 at the input s, 0 at every other one.

    Args:
        table: true or false for each point of `cube`, shape (2^d,).

    Returns:
        A network that is 1/2 where the table is true and -1/2 elsewhere.
    """
    num_inputs = int(np.log2(len(table)))
    # A table that is never true keeps one unit, with weight 0.
    rows = cube(num_inputs)[table] if table.any() else cube(num_inputs)[:1]
    hidden = (rows, np.full(len(rows), 1.0 - num_inputs))
    return network(hidden, (np.full((1, len(rows)), float(table.any())), np.array([-0.5])))


def parity(num_inputs: int, room: int = 0) -> MLP:
    """Parity with d hidden units: a zigzag of the number s of ones, -1 at even s, 1 at odd s.

    Args:
        num_inputs: d.
        room: inputs and units that the network has if that is more; all of their weights are 0.

    Returns:
        A network that is 1 where an odd number of inputs is 1, and -1 elsewhere.
    """
    more = max(room - num_inputs, 0)
    # s = (sum of x + d) / 2; unit j is relu(s - j), and the slope turns from 2 to -2 at each.
    first = np.pad(np.full((num_inputs, num_inputs), 0.5), (0, more))
    biases = np.pad(num_inputs / 2 - np.arange(num_inputs), (0, more))
    turns = 4.0 * (-1.0) ** np.arange(num_inputs)
    turns[0] = 2.0
    return network((first, biases), (np.pad(turns, (0, more))[None], np.array([-1.0])))


def intersection(normals: np.ndarray, offsets: np.ndarray) -> MLP:
    """Where a.x >= b for every halfspace: one hidden unit each, relu(b - a.x), must be 0.

    Args:
        normals: a, shape (k, d).
        offsets: b, shape (k,).

    Returns:
        A network with one hidden layer that is 0 inside and negative outside.
    """
    return network((-normals, offsets), (-np.ones((1, len(offsets))), np.zeros(1)))


def union(normals: np.ndarray, offsets: np.ndarray) -> MLP:
    """Where a.x > b for some halfspace: one hidden unit each, relu(a.x - b).

    Args:
        normals: a, shape (k, d).
        offsets: b, shape (k,).

    Returns:
        A network with one hidden layer that is positive inside and 0 outside.
    """
    return network((normals, -offsets), (np.ones((1, len(offsets))), np.zeros(1)))


def union_of_intersections(normals: np.ndarray, offsets: np.ndarray, margin: float) -> MLP:
    """A union of polytopes with two hidden layers.

    Unit j of the second layer is relu(1 - (sum of what is missing from polytope j) / margin): 1
    inside, 0 where that sum is `margin` or more.

    Args:
        normals: a, shape (polytopes, k, d).
        offsets: b, shape (polytopes, k).
        margin: between inside and outside; positive.

    Returns:
        A network that is 1/2 or more inside and -1/2 outside.
    """
    count, faces, dim = normals.shape
    first = (-normals.reshape(-1, dim), offsets.reshape(-1))
    second = (-np.kron(np.eye(count), np.ones((1, faces))) / margin, np.ones(count))
    return network(first, second, (np.ones((1, count)), np.array([-0.5])))


def memory(points: np.ndarray, labels: np.ndarray, direction: np.ndarray) -> MLP:
    """Any labels of N points in general position, with N hidden units along one direction.

    Unit j is relu(z - b_j) with z = direction.x and b_j below the j-th smallest z and above the
    one before: the equations for the output weights are triangular.

    Args:
        points: shape (N, d).
        labels: shape (N,).
        direction: on which the points have different projections, shape (d,).

    Returns:
        A network that is the label at each point, to rounding.

    Reference:
        Zhang, Bengio, Hardt, Recht and Vinyals (2017), Understanding deep learning requires
        rethinking generalization.
    """
    order = np.argsort(points @ direction)
    z = (points @ direction)[order]
    biases = np.concatenate([[z[0] - 1.0], (z[1:] + z[:-1]) / 2])
    weights = np.linalg.solve(np.maximum(z[:, None] - biases, 0), labels[order])
    hidden = np.tile(direction, (len(points), 1))
    return network((hidden, -biases), (weights[None], np.zeros(1)))
