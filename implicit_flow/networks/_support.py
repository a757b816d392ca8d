"""Whether a network has a path-norm, said before any number is computed."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._network_call import NetworkCall, example_of, layer_of, network_call, refusal, trace
from ._places import Operation, function_of, place_of
from ._reader import Problem, Reader, power_of
from ._values import Choice, Fixed, Signal, Value, Weight


class SupportReport(eqx.Module):
    """Why a network has a path-norm, or has none.

    Attributes:
        errors: one sentence for each reason why there is no path-norm, with the layer's name.
        notes: what was read in a way that is worth knowing.
    """

    errors: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def supported(self) -> bool:
        """Whether the network has a path-norm."""
        return not self.errors

    def __bool__(self) -> bool:
        return self.supported

    def __str__(self) -> str:
        head = "The network has a path-norm." if self.supported else "The network has no path-norm."
        return "\n".join([head, *(f"- {line}" for line in (*self.errors, *self.notes))])


def support_report(network: Any, *, input_shape: Any = None) -> SupportReport:
    """Says whether a network has a path-norm, and why not.

    A path-norm needs a network that is made of linear maps, maxima and positively homogeneous
    activations, so that its output is a sum over paths. The network is traced, not run.

    Args:
        network: an Equinox module called on one example.
        input_shape: the shape of one example, where it cannot be inferred.

    Returns:
        The report; it is true where there is a path-norm, and prints itself.

    Example:
        >>> import equinox as eqx, jax
        >>> from implicit_flow.networks import support_report
        >>> net = eqx.nn.MLP(3, 1, 4, 2, activation=jax.nn.tanh, key=jax.random.key(0))
        >>> report = support_report(net)
        >>> report.supported
        False
        >>> "`tanh` after `.layers[0]` (Linear)" in report.errors[0]
        True
    """
    call = network_call(network)
    example = example_of(network, input_shape)
    leaves = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in call.leaves]
    reason = refusal(call, example)
    if reason is not None:
        failure = f"The call on one example of shape {example.shape} fails: {reason}."
        return SupportReport((failure,), ())
    reader = Reader(2, call.sum_dtype, edgewise=True)
    jax.eval_shape(
        lambda leaves: path_sum(
            reader, call, example, leaves, shares_of(leaves, reader.power, reader.dtype)
        ),
        leaves,
    )
    return report_of(network, reader)


def report_of(network: Any, reader: Reader) -> SupportReport:
    """What a reader found, in words."""
    errors: dict[tuple[str, ...], str] = {}
    for problem in reader.problems:
        function, where = function_of(problem.site), _where(network, problem)
        line = f"`{function or problem.operation}` {where}: {problem.reason}."
        # Of a function of `jax.nn` the first reason is enough; the others are inside it.
        errors.setdefault((function, where) if function else (line,), line)
    notes = [
        f"`{name}` enters through `{operation}`: as a factor of an edge, not as an edge. Where "
        "it is nothing else its scaling is zero, and Path-SGD steps it like SGD."
        for name, operation in reader.derived.items()
    ]
    return SupportReport(tuple(errors.values()), tuple(notes))


def _where(network: Any, problem: Problem) -> str:
    """The layer that an operation stands in, where it is known, and the one before it."""
    path, after = layer_of(network, problem.names)
    place = place_of(network, problem.site)
    if place is None or any(path.startswith(inside) for inside in place[0]):
        return f"after {after}"
    paths, kind = place
    listed = ", ".join(f"`{inside}`" for inside in paths[:3]) + (", ..." if paths[3:] else "")
    which = listed if len(paths) == 1 else f"one of {listed}"
    return f"in {which} ({kind}), after {after}"


def require_support(network: Any, reader: Reader) -> None:
    """Raises where a reader found that there is no path-norm.

    Args:
        network: the network.
        reader: the reader, after it has read the network.

    Raises:
        ValueError: with the first reason.
    """
    if reader.problems:
        report = report_of(network, reader)
        raise ValueError(
            "Argument `network` must be a network of linear maps, maxima and positively "
            f"homogeneous activations, but has {report.errors[0]} "
            "`implicit_flow.networks.support_report` lists all such layers."
        )


def path_sum(
    reader: Reader, call: NetworkCall, example: jax.ShapeDtypeStruct, leaves: Any, shares: Any
) -> Array:
    """The sum over all paths of the product of the shares of their edges.

    Args:
        reader: reads the network's program, and keeps what it finds.
        call: the network.
        example: what the network is called on.
        leaves: the parameters.
        shares: |w|^p of each of them.

    Returns:
        phi_p^p.
    """
    program, arguments = trace(call, example)
    reader.parameters = dict(zip(call.names, shares, strict=True))
    edges: list[Value] = [
        Weight(jnp.asarray(leaf), share, plain=True, names=frozenset({name}))
        for leaf, share, name in zip(leaves, shares, call.names, strict=True)
    ]
    others: list[Value] = [Fixed(leaf) for leaf in jax.tree.leaves(call.others)]
    inputs: Value = Choice(example.shape)
    if jnp.issubdtype(example.dtype, jnp.inexact):
        inputs = Signal(jnp.ones(example.shape, reader.dtype))
    results = reader.call(program, arguments(edges, others, inputs))
    flowing = [reader.settle(result) for result in results if isinstance(result, Signal)]
    sizes = [jnp.sum(result.size) for result in flowing]
    if not sizes:
        reader.refuse(Operation("output"), "its output does not depend on its input", frozenset())
        return jnp.zeros((), reader.dtype)
    return sum(sizes[1:], sizes[0])


def shares_of(leaves: Any, power: float | int, dtype: Any) -> list[Array]:
    """|w|^p of every parameter."""
    return [power_of(leaf.astype(dtype), power) for leaf in leaves]
