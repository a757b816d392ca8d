"""Path-SGD as an Optax transformation."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optax
from jaxtyping import Array, Int, PyTree

from .. import _checks
from ._network_call import example_of, network_call, require_callable
from ._outer_products import Compact, dense, is_compact
from ._path_norm import compact_scaling
from ._support import support_report


class ScaleByPathNormState(NamedTuple):
    """What `scale_by_path_norm` remembers.

    Attributes:
        count: the number of updates so far.
        kappa: the scaling in use, or None where it is computed in every update. Large matrices
            that are outer products are kept as their two factors.
    """

    count: Int[Array, ""]  # pyright: ignore[reportIncompatibleMethodOverride]
    kappa: PyTree


def scale_by_path_norm(
    network: PyTree, *, input_shape: Any = None, update_every: Any = 1
) -> optax.GradientTransformationExtraArgs:
    r"""Divides every gradient by the $\kappa$ of its parameter.

    $$u_e = g_e / \kappa_e(w), \qquad \kappa_e = \partial \phi_2^2 / \partial (w_e^2)$$

    is steepest descent with respect to the path-norm. A step along $u$ commutes with the rescaling
    of hidden units (incoming weights times $c$, outgoing weights divided by $c$), which leaves the
    function unchanged and changes the course of SGD.

    A parameter with $\kappa_e = 0$ keeps its gradient, so that the step stays finite. Where it is
    an edge (of a dead unit, say: every path through the edge has another weight that is zero) its
    gradient is zero too, and so is the step. Where it is no edge (a statistic, a norm inside a
    weight) the step is that of SGD. Where it is not a number, neither is the step.

    An Equinox network is callable, and some of Optax calls what is callable. Give
    `optax.multi_transform` a function that returns the tree of labels, not the tree itself, and
    `optax.inject_hyperparams` the words `static_args=("network",)`.

    Args:
        network: the network whose parameters are optimized. Only its structure is used, and the
            values of parameters that `update` is not shown (as by `optax.multi_transform`); give
            the current network to `update` as `network=` where these move. An abstract network
            (of `jax.ShapeDtypeStruct`) keeps no array alive.
        input_shape: the shape of one example, where it cannot be inferred.
        update_every: the number of updates for which one scaling is used. With 1 nothing is
            stored; with more, at most one copy of the parameters (of a large layer, which is an
            outer product, the two factors).

    Returns:
        A transformation whose `update` requires `params`: the inexact arrays of the network, as
        `equinox.filter(network, equinox.is_inexact_array)`, or the network.

    Raises:
        ValueError: if the network has no path-norm.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, optax
        >>> from implicit_flow.networks import MLP, scale_by_path_norm
        >>> net = MLP((1, 1, 1), key=jax.random.key(0), use_bias=False)
        >>> net = jax.tree.map(lambda w: jnp.full_like(w, 2.0), net)
        >>> tx = optax.chain(scale_by_path_norm(net), optax.scale_by_learning_rate(0.1))
        >>> grads = eqx.filter_grad(lambda n: n(jnp.ones(1))[0])(net)
        >>> updates, state = tx.update(grads, tx.init(eqx.filter(net, eqx.is_array)), net)
        >>> round(float(updates.layers[0].weight[0, 0]), 6)
        -0.05

    Reference:
        Neyshabur, Salakhutdinov, Srebro, "Path-SGD: path-normalized optimization in deep neural
        networks" (2015).
    """
    # `optax.inject_hyperparams` turns numbers into arrays.
    is_injected = isinstance(update_every, jax.Array)
    if not is_injected:
        _checks.at_least(update_every, "update_every", 1)
    example = example_of(network, input_shape)
    require_callable(network_call(network), example)
    report = support_report(network, input_shape=example)
    if not report:
        raise ValueError(
            f"Argument `network` must have a path-norm, but has {report.errors[0]} "
            "`implicit_flow.networks.support_report` lists all such layers."
        )
    stores = is_injected or update_every > 1

    def init(params: PyTree) -> ScaleByPathNormState:
        kappa = None
        if stores:
            kappa = params = eqx.filter(params, _is_number)
            # Optax's `tree_map_params` asks with a node that has no leaves where they are.
            if jtu.tree_leaves(params):
                kappa = _zeros(_merged(network, params), params, example)
        return ScaleByPathNormState(jnp.zeros((), jnp.int32), kappa)

    def update(
        updates: PyTree,
        state: ScaleByPathNormState,
        params: PyTree = None,
        *,
        network: PyTree = network,
        **extra_args: Any,
    ) -> tuple[PyTree, ScaleByPathNormState]:
        del extra_args
        if params is None:
            raise ValueError(
                "Argument `params` must be given to `update`, but is None. The scaling depends on "
                "the parameters: call `optimizer.update(grads, state, params)`."
            )
        params = eqx.filter(params, _is_number)
        if stores:
            fresh, old = state.count % update_every == 0, state.kappa
        else:
            # Always so, and not known to the compiler: in a branch the scaling shares the memory of
            # the gradient's activations, which is free by then.
            fresh, old = state.count >= 0, _zeros(_merged(network, params), params, example)
        kappa = jax.lax.cond(
            fresh,
            lambda: _shown(
                compact_scaling(_with_params(network, params), input_shape=example), params
            ),
            lambda: old,
        )
        scaled = jtu.tree_map(lambda update, part: divide(update, dense(part)), updates, kappa)
        count = jnp.asarray(optax.safe_increment(state.count))
        return scaled, ScaleByPathNormState(count, kappa if stores else None)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]


def path_sgd(
    learning_rate: Any,
    network: PyTree,
    *,
    input_shape: Any = None,
    momentum: Any = None,
    update_every: Any = 1,
) -> optax.GradientTransformationExtraArgs:
    r"""Path-SGD: $w_e \leftarrow w_e - (\eta / \kappa_e) \, \partial L / \partial w_e$.

    Args:
        learning_rate: the step size $\eta$, a number or an Optax schedule.
        network: the network whose parameters are optimized.
        input_shape: the shape of one example, where it cannot be inferred.
        momentum: the decay of a running sum of scaled gradients, or None.
        update_every: the number of updates for which one scaling is used.

    Returns:
        An Optax transformation; its `update` requires `params`.

    Raises:
        ValueError: if the network has no path-norm; a negative step size; a momentum outside of
            [0, 1).

    Example:
        An existing training loop changes in two lines.

        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from implicit_flow.networks import MLP, path_sgd
        >>> net = MLP((2, 8, 1), key=jax.random.key(0))
        >>> optimizer = path_sgd(0.02, net)  # instead of optax.sgd(0.02)
        >>> def loss(net):
        ...     return jnp.square(net(jnp.array([1.0, -1.0]))[0] - 1.0)
        >>> state = optimizer.init(eqx.filter(net, eqx.is_inexact_array))
        >>> before = loss(net)
        >>> for _ in range(5):
        ...     grads = eqx.filter_grad(loss)(net)
        ...     params = eqx.filter(net, eqx.is_inexact_array)
        ...     updates, state = optimizer.update(grads, state, params)  # params are required
        ...     net = eqx.apply_updates(net, updates)
        >>> bool(loss(net) < before)
        True
    """
    # Said to be a bool, or the type of what is not callable would be taken for the only one.
    is_schedule: bool = callable(learning_rate)
    if not is_schedule:
        _checks.between(learning_rate, "learning_rate", 0, np.inf)
    if momentum is not None:
        _checks.between(momentum, "momentum", 0, 1)
    scale = scale_by_path_norm(network, input_shape=input_shape, update_every=update_every)
    decay = [] if momentum is None else [optax.trace(momentum)]
    return optax.chain(scale, *decay, optax.scale_by_learning_rate(learning_rate))


def divide(gradient: Array, kappa: Array) -> Array:
    """A gradient divided by its scaling; unchanged where the scaling is zero."""
    wide = gradient.astype(kappa.dtype)
    zero = kappa < jnp.finfo(kappa.dtype).tiny
    return jnp.where(zero, wide, wide / jnp.where(zero, 1, kappa)).astype(gradient.dtype)


def _is_number(leaf: Any) -> bool:
    """Whether a leaf is a parameter, or stands for one."""
    return eqx.is_inexact_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def _is_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _zeros(network: PyTree, params: PyTree, example: Any) -> PyTree:
    """Zeros in the place of a stored scaling."""
    structs = jtu.tree_map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if _is_array(x) else x, network
    )
    arrays, rest = eqx.partition(structs, _is_array)
    kinds = jax.eval_shape(
        lambda arrays: compact_scaling(eqx.combine(arrays, rest), input_shape=example), arrays
    )

    def zeros(old: Any, kind: Any) -> Any:
        if is_compact(kind):
            return jtu.tree_map(lambda x: jnp.zeros(x.shape, x.dtype), kind)
        return jnp.zeros_like(old, dtype=kind.dtype)

    leaves, structure = jtu.tree_flatten(params, is_leaf=_is_masked)
    pairs = zip(leaves, kinds, strict=True)
    shown = [old if _is_masked(old) else zeros(old, kind) for old, kind in pairs]
    return jtu.tree_unflatten(structure, shown)


def _merged(network: PyTree, params: PyTree) -> PyTree:
    """The network with the given parameters, where they are shown."""
    arrays = network_call(network).weights
    shown = jtu.tree_leaves(params, is_leaf=_is_masked)
    leaves, structure = jtu.tree_flatten(arrays)
    everything = eqx.filter(network, lambda leaf: _is_number(leaf))
    if len(shown) == len(jtu.tree_leaves(everything)) != len(leaves):
        leaves, structure = jtu.tree_flatten(everything)
    if len(shown) != len(leaves):
        raise ValueError(
            f"Argument `params` must hold the {len(leaves)} inexact arrays of the network, but "
            f"holds {len(shown)}. Pass `equinox.filter(network, equinox.is_inexact_array)`."
        )
    pairs = zip(leaves, shown, strict=True)
    merged = [old if _is_masked(new) else new for old, new in pairs]
    return eqx.combine(jtu.tree_unflatten(structure, merged), network)


def _with_params(network: PyTree, params: PyTree) -> PyTree:
    """The network with the given parameters; none may be missing."""
    network = _merged(network, params)
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jtu.tree_leaves(network)):
        raise ValueError(
            "Argument `params` must hold every parameter where the transformation was built from "
            "an abstract network, but some are masked. Pass the network itself to "
            "`scale_by_path_norm`, or `network=` to `update`."
        )
    return network


def _shown(kappa: Sequence[Compact], params: PyTree) -> PyTree:
    """The scaling in the place of the parameters, masked as they are."""
    leaves, structure = jtu.tree_flatten(params, is_leaf=_is_masked)
    pairs = zip(leaves, kappa, strict=True)
    return jtu.tree_unflatten(structure, [old if _is_masked(old) else new for old, new in pairs])
