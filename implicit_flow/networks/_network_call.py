"""A network as a function of its parameters and of one example."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PyTree

from .._checks import refuse


def _is_state(node: Any) -> bool:
    return isinstance(node, eqx.nn.State)


def _is_weight(leaf: Any) -> bool:
    return eqx.is_inexact_array(leaf) or (
        isinstance(leaf, jax.ShapeDtypeStruct) and jnp.issubdtype(leaf.dtype, jnp.inexact)
    )


def _is_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


class NetworkCall(eqx.Module):
    """A network taken apart: parameters, the arrays that are none, and the rest.

    Attributes:
        weights: the inexact arrays of the network, `None` elsewhere.
        others: integer arrays, and the statistics kept in an `equinox.nn.State`.
        static: what is no array.
    """

    weights: PyTree
    others: PyTree
    static: PyTree

    @property
    def leaves(self) -> list[Any]:
        """The parameters, in the order of the tree."""
        return jtu.tree_leaves(self.weights)

    @property
    def names(self) -> list[str]:
        """The path of each parameter inside the network, such as `.layers[0].weight`."""
        paths = jtu.tree_flatten_with_path(self.weights)[0]
        return [jtu.keystr(path) for path, _ in paths]

    @property
    def dtype(self) -> Any:
        """The widest dtype of the parameters."""
        return max((leaf.dtype for leaf in self.leaves), key=lambda dtype: dtype.itemsize)

    @property
    def sum_dtype(self) -> Any:
        """The dtype of sums over paths: the parameters' own, but float32 at the least."""
        return at_least_float32(self.dtype)

    def __call__(self, leaves: Sequence[Any], others: PyTree, example: Any) -> PyTree:
        weights = jtu.tree_unflatten(jtu.tree_structure(self.weights), leaves)
        return eqx.combine(weights, others, self.static)(example)


def network_call(network: Any) -> NetworkCall:
    """Takes a network apart, with dropout switched off.

    Args:
        network: an Equinox module, or any callable that is a pytree, called on one example.

    Returns:
        The parts.

    Raises:
        ValueError: if the network holds no parameter or cannot be called.
    """
    if not callable(network):
        raise ValueError(
            f"Argument `network` must be callable on one example, but is a "
            f"{type(network).__name__}. Pass an Equinox module with a `__call__`."
        )
    network = eqx.nn.inference_mode(network)
    # The statistics of a normalization are kept in a State: they are no parameters.
    in_state = jtu.tree_map(_is_state, network, is_leaf=_is_state)
    is_parameter = jtu.tree_map(
        lambda frozen, part: jtu.tree_map(lambda leaf: _is_weight(leaf) and not frozen, part),
        in_state,
        network,
    )
    weights, rest = eqx.partition(network, is_parameter)
    others, static = eqx.partition(rest, _is_array)
    if not jtu.tree_leaves(weights):
        raise ValueError(
            "Argument `network` must hold at least one inexact array, but holds none. Pass an "
            "Equinox module with weights."
        )
    return NetworkCall(weights, others, static)


def _struct(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _candidates(call: NetworkCall) -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = []
    for leaf in call.leaves:
        if leaf.ndim == 2:
            # Equinox keeps a matrix as (out, in); `x @ W` keeps it the other way around.
            shapes += [(leaf.shape[1],), (leaf.shape[0],)]
    return list(dict.fromkeys(shapes))


def _declared(network: Any) -> tuple[int, ...] | None:
    shape = getattr(network, "input_shape", None)
    if isinstance(shape, tuple):
        return shape
    size = getattr(network, "in_size", getattr(network, "in_features", None))
    if size == "scalar":
        return ()
    return (size,) if isinstance(size, int) else None


def example_of(network: Any, input_shape: Any) -> jax.ShapeDtypeStruct:
    """One example of what a network is called on.

    Args:
        network: the network.
        input_shape: the example's shape; or a `jax.ShapeDtypeStruct` where its dtype is not that
            of the parameters (tokens are integers); or None to infer it.

    Returns:
        Shape and dtype of the example.

    Raises:
        ValueError: if the shape is not given and cannot be inferred.
    """
    if isinstance(input_shape, jax.ShapeDtypeStruct):
        return input_shape
    call = network_call(network)
    if input_shape is not None:
        return jax.ShapeDtypeStruct(_shape_of(input_shape), call.dtype)
    declared = _declared(network)
    if declared is not None:
        return jax.ShapeDtypeStruct(declared, call.dtype)
    for shape in _candidates(call):
        example = jax.ShapeDtypeStruct(shape, call.dtype)
        if refusal(call, example) is None:
            return example
    raise ValueError(
        "Argument `input_shape` must be given, but is None, and the shape of one example cannot "
        "be inferred from the network. Pass the shape of what the network is called on, such as "
        "`input_shape=(3, 32, 32)`."
    )


def _shape_of(input_shape: Any) -> tuple[int, ...]:
    try:
        shape = tuple(operator.index(size) for size in input_shape)
    except TypeError:
        shape = None
    if shape is None or min(shape, default=1) < 1:
        refuse(
            "input_shape",
            "be a tuple of positive integers or a `jax.ShapeDtypeStruct`",
            f"is {input_shape!r}",
            "Pass the shape of one example, such as `input_shape=(3, 32, 32)`.",
        )
    return shape


def refusal(call: NetworkCall, example: jax.ShapeDtypeStruct) -> str | None:
    """Why the network cannot be called on an example of this shape; None if it can be."""
    try:
        jax.eval_shape(call, call.leaves, call.others, example)
    except Exception as error:  # the user's own code may raise anything
        return f"{type(error).__name__}: {(str(error).splitlines() or ['no text'])[0]}"
    return None


def trace(call: NetworkCall, example: jax.ShapeDtypeStruct) -> tuple[Any, Callable[..., list[Any]]]:
    """The network's program.

    Args:
        call: the network.
        example: what it is called on.

    Raises:
        ValueError: if the network cannot be called on it.

    Returns:
        The closed jaxpr of (parameters, other arrays, example), and a function that lines its
        arguments up: (leaves, others, input) to a flat list.
    """
    require_callable(call, example)
    leaves = [_struct(leaf) for leaf in call.leaves]
    others = jtu.tree_map(_struct, call.others)
    program = jax.make_jaxpr(call)(leaves, others, example)

    def arguments(leaves: Sequence[Any], others: PyTree, inputs: Any) -> list[Any]:
        return [*leaves, *jtu.tree_leaves(others), inputs]

    return program, arguments


def require_callable(call: NetworkCall, example: jax.ShapeDtypeStruct) -> None:
    """Refuses a network that cannot be called on an example.

    Args:
        call: the network.
        example: what it is called on.

    Raises:
        ValueError: if the call fails; it says how.
    """
    reason = refusal(call, example)
    if reason is not None:
        raise ValueError(
            f"Argument `network` must be callable on one example of shape {example.shape} and "
            f"dtype {example.dtype}, but the call fails ({reason}). Pass the `input_shape` of one "
            "example, without a batch axis; wrap a network that also takes a state or a key in a "
            "module that holds them."
        )


def layer_of(network: Any, names: frozenset[str]) -> tuple[str, str]:
    """The deepest module that holds all the named parameters, for messages.

    Args:
        network: the network.
        names: paths of parameters.

    Returns:
        Its path, and a phrase such as "`.layers[0]` (Linear)".
    """
    paths = [
        path
        for path, _ in jtu.tree_flatten_with_path(network_call(network).weights)[0]
        if jtu.keystr(path) in names
    ]
    if not paths:
        return "", f"the input of the network ({type(network).__name__})"
    depth = min(len(path) for path in paths) - 1
    while depth and len({jtu.keystr(path[:depth]) for path in paths}) > 1:
        depth -= 1
    node, found, label = network, "", type(network).__name__
    for position, key in enumerate(paths[0][:depth]):
        node = _child(node, key)
        if isinstance(node, eqx.Module):
            found = jtu.keystr(paths[0][: position + 1])
            label = f"`{found}` ({type(node).__name__})"
    return found, label


def _child(node: Any, key: Any) -> Any:
    if isinstance(key, jtu.GetAttrKey):
        return getattr(node, key.name)
    if isinstance(key, jtu.SequenceKey):
        return node[key.idx]
    if isinstance(key, jtu.DictKey):
        return node[key.key]
    return None


def at_least_float32(dtype: Any) -> Any:
    """A real floating point dtype, widened to float32 (also where promotion is strict)."""
    dtype = jnp.finfo(dtype).dtype
    return dtype if dtype.itemsize >= 4 else jnp.dtype(jnp.float32)
