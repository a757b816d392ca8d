"""The path-norm of a network, and what each of its edges has to do with it."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._checks import refuse
from ._late_sums import LateSums
from ._network_call import NetworkCall, example_of, network_call
from ._outer_products import Compact, compact
from ._reader import Reader
from ._support import path_sum, require_support, shares_of


def path_norm(
    network: PyTree, p: float | int | np.integer | np.floating = 2, *, input_shape: Any = None
) -> Float[Array, ""]:
    r"""The path-norm $\phi_p$ of a network.

    $$\phi_p(w) = \Bigl(\sum_{\text{paths}} \prod_{e \in \text{path}} |w_e|^p\Bigr)^{1/p}$$

    over all paths from an input, or from a bias, to an output. It is the output of the network
    with $|w|^p$ in place of $w$, on the input of ones: one forward pass. Maxima count every path
    through each of their operands, an average over $K$ has $K$ edges of weight $1/K$, the
    statistics of a normalization are folded, and each use of a shared weight is an edge. It bounds
    the network: $|f(x) - f(y)|_1 \le \phi_1 \|x - y\|_\infty$. It does not change when a hidden
    unit is rescaled.

    Args:
        network: an Equinox module called on one example. Dropout is off.
        p: a power, at least one.
        input_shape: the shape of one example, where it cannot be inferred; a
            `jax.ShapeDtypeStruct` where its dtype is not the parameters'.

    Returns:
        $\phi_p$, not its power, in the dtype of the parameters (float32 at the least).
        Differentiable with respect to the network.

    Raises:
        ValueError: if the network has no path-norm; `support_report` lists the reasons.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from implicit_flow.networks import MLP, path_norm
        >>> net = MLP((2, 2, 1), key=jax.random.key(0), use_bias=False)
        >>> weights = (jnp.array([[1.0, -2.0], [3.0, 0.0]]), jnp.array([[2.0, 1.0]]))
        >>> net = eqx.tree_at(lambda n: [x.weight for x in n.layers], net, weights)
        >>> float(path_norm(net, p=1))
        9.0

    Reference:
        Neyshabur, Tomioka, Srebro, "Norm-based capacity control in neural networks" (2015).
        Gonon, Brisebarre, Riccietti, Gribonval, "A path-norm toolkit for modern networks" (2024).
    """
    if isinstance(p, np.integer | np.floating):
        p = p.item()
    # An array would be traced, and the power decides which program there is.
    if not isinstance(p, int | float):
        refuse("p", "be a Python number", f"is a {type(p).__name__}", "Pass for example `p=2`.")
    if not 1 <= p < math.inf:
        raise ValueError(
            f"Argument `p` must be at least 1 and finite, but is {p}. Pass the power of "
            "the path-norm, such as `p=2`."
        )
    return _path_norm(network, p, input_shape)


@eqx.filter_jit
def _path_norm(network: PyTree, p: float | int, input_shape: Any) -> Float[Array, ""]:
    call, example = network_call(network), example_of(network, input_shape)
    reader = Reader(p, call.sum_dtype, edgewise=False)
    total = path_sum(reader, call, example, call.leaves, shares_of(call.leaves, p, reader.dtype))
    require_support(network, reader)
    # The root has no derivative at zero: the norm of a network without a path is flat there.
    # Asked so that nan stays nan.
    zero = total == 0
    inside = jnp.where(zero, 1, total)
    return jnp.where(zero, 0, jnp.sqrt(inside) if p == 2 else inside ** (1 / p))


@eqx.filter_jit
def path_scaling(
    network: PyTree, *, input_shape: Any = None, second_order: bool = False
) -> PyTree[Array]:
    r"""The scaling $\kappa$ of every parameter: its gradient is divided by it in Path-SGD.

    $$\kappa_e = \frac{\partial \phi_2^2}{\partial (w_e^2)}
    = \sum_{\text{paths through } e} \; \prod_{e' \ne e} w_{e'}^2$$

    by one forward and one backward pass on one example. With `second_order=True`, a weight $w$
    that a path may use more than once has

    $$\kappa = \tfrac12 \frac{\partial^2 \phi_2^2}{\partial w^2} = \kappa_1 + \kappa_2,
    \qquad \kappa_2 = 2 w^2 \frac{\partial^2 \phi_2^2}{\partial (w^2)^2},$$

    $\kappa_2$ from the pairs of uses on one path. It costs one more pass for each entry of each
    parameter that is shared in this way, so it is for looking rather than for training.

    Args:
        network: an Equinox module called on one example. Dropout is off.
        input_shape: the shape of one example, where it cannot be inferred.
        second_order: whether to add $\kappa_2$.

    Returns:
        $\kappa$, a tree in the shape of the network's inexact arrays; float32 at the least. A
        parameter that is no edge (a factor inside one, a statistic) has zero.

    Raises:
        ValueError: if the network has no path-norm.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from implicit_flow.networks import MLP, path_scaling
        >>> net = MLP((2, 2, 1), key=jax.random.key(0), use_bias=False)
        >>> weights = (jnp.array([[1.0, -2.0], [3.0, 0.0]]), jnp.array([[2.0, 1.0]]))
        >>> net = eqx.tree_at(lambda n: [x.weight for x in n.layers], net, weights)
        >>> path_scaling(net).layers[0].weight.tolist()
        [[4.0, 4.0], [1.0, 1.0]]

    Reference:
        Neyshabur, Salakhutdinov, Srebro, "Path-SGD" (2015). Neyshabur, Wu, Salakhutdinov, Srebro,
        "Path-normalized optimization of recurrent neural networks with ReLU activations" (2016).
    """
    return _scaling(network, input_shape, second_order=second_order)


@eqx.filter_jit
def compact_scaling(network: PyTree, *, input_shape: Any = None) -> list[Compact]:
    """The scaling of every parameter, where that is an outer product as its two factors.

    Args:
        network: as for `path_scaling`.
        input_shape: the shape of one example, where it cannot be inferred.

    Returns:
        The leaves of the scaling, in the order of the network's inexact arrays.
    """
    arrays, rest = eqx.partition(network, eqx.is_array)

    def leaves(arrays: PyTree) -> list[Array]:
        scaling = _scaling(eqx.combine(arrays, rest), input_shape, second_order=False)
        return jtu.tree_leaves(scaling)

    return compact(leaves, arrays)


def _scaling(network: PyTree, input_shape: Any, *, second_order: bool) -> PyTree[Array]:
    call, example = network_call(network), example_of(network, input_shape)
    shares = shares_of(call.leaves, 2, call.sum_dtype)
    kappa, reader = _slopes(call, example, shares, squares=not second_order)
    require_support(network, reader)
    if second_order:

        def total(shares: list[Array]) -> Array:
            plain = Reader(2, call.sum_dtype, edgewise=True)
            return path_sum(plain, call, example, call.leaves, shares)

        repeated = [reader.meetings[name] > 1 for name in call.names]
        kappa = [
            first + 2 * share * _second_derivative(total, shares, index) if again else first
            for index, (first, share, again) in enumerate(zip(kappa, shares, repeated, strict=True))
        ]
    return _like_network(network, call, kappa)


def _slopes(
    call: NetworkCall, example: jax.ShapeDtypeStruct, shares: list[Array], *, squares: bool
) -> tuple[list[Array], Reader]:
    """The first derivatives with respect to the shares, and the reader that found them."""
    zeros: list[list[Array]] = []
    while True:
        reader = Reader(2, call.sum_dtype, edgewise=True, squares=squares)

        def total(shares: list[Array], zeros: Any, reader: Reader = reader) -> Any:
            reader.late = LateSums(zeros)
            return path_sum(reader, call, example, call.leaves, shares), reader.late.vectors

        value, pull, vectors = jax.vjp(total, shares, zeros, has_aux=True)
        if zeros or not any(reader.late.sites):
            break
        # Loops that apply parameters are read again, with their sums taken late.
        zeros = reader.late.zeros(reader.dtype)
    # The backward pass starts from a one that waits for the forward pass: then every parameter is
    # read before anything is computed that may take its place, and XLA keeps no copy of it.
    kappa, slopes = pull(jnp.where(jnp.isnan(value), value, 1))
    for sites, applied, found in zip(reader.late.sites, vectors, slopes, strict=bool(zeros)):
        for site, vector, slope in zip(sites, applied, found, strict=True):
            kappa[call.names.index(site.name)] += site.sum(slope, vector)
    return kappa, reader


def _second_derivative(total: Any, shares: list[Array], index: int) -> Array:
    """The diagonal of the Hessian for one parameter, an entry at a time."""
    share = shares[index]

    def slope_of(entries: Array) -> Array:
        moved = [*shares[:index], entries.reshape(share.shape), *shares[index + 1 :]]
        return jax.grad(total)(moved)[index].reshape(-1)

    flat = share.reshape(-1)
    _, push = jax.linearize(slope_of, flat)

    def entry(position: Array) -> Array:
        direction = jnp.zeros_like(flat).at[position].set(1)
        return push(direction)[position]

    return jax.lax.map(entry, jnp.arange(flat.size), batch_size=64).reshape(share.shape)


def _like_network(network: PyTree, call: NetworkCall, kappa: list[Array]) -> PyTree[Array]:
    """The scaling, with zeros for the inexact arrays that are no parameters."""
    filled = jtu.tree_unflatten(jtu.tree_structure(call.weights), kappa)
    arrays = eqx.filter(network, eqx.is_inexact_array)
    zeros = jtu.tree_map(lambda leaf: jnp.zeros(leaf.shape, call.sum_dtype), arrays)
    return eqx.combine(filled, zeros)
