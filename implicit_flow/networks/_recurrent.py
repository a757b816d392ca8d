"""A plain ReLU network in time, and an LSTM to compare it with."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from .. import _checks
from ._hidden_units import HiddenUnits, UnitEdges
from ._initialization import balanced, linear_skeleton


Sequence = Float[Array, "length inputs"] | Int[Array, " length"]


def _check_sizes(num_inputs: int, width: int, num_outputs: int) -> None:
    sizes = {"num_inputs": num_inputs, "width": width, "num_outputs": num_outputs}
    for name, size in sizes.items():
        _checks.at_least(size, name, 1)


class RNN(eqx.Module):
    r"""A plain recurrent network, $h_t = \max(W x_t + V h_{t-1} + b, 0)$, from $h_0 = 0$.

    It is called on a sequence of vectors, or of integers that stand for unit vectors.

    Attributes:
        input_weight: W.
        recurrent_weight: V.
        bias: b, or None.
        head: the linear layer from the hidden units to the outputs.
        last_only: whether there is an output at the last step only.

    Example:
        >>> import jax
        >>> from implicit_flow.networks import RNN, path_norm
        >>> net = RNN(3, 8, 2, key=jax.random.key(0))
        >>> net(jax.numpy.ones((5, 3))).shape
        (5, 2)
        >>> bool(path_norm(net, input_shape=(5, 3)) > 0)
        True
    """

    input_weight: Float[Array, "hidden inputs"]
    recurrent_weight: Float[Array, "hidden hidden"]
    bias: Float[Array, " hidden"] | None
    head: eqx.nn.Linear
    last_only: bool = eqx.field(static=True)

    def __init__(
        self,
        num_inputs: int,
        width: int,
        num_outputs: int,
        *,
        key: Key[Array, ""],
        use_bias: bool = True,
        last_only: bool = False,
        identity: bool = False,
        dtype: Any = None,
    ):
        """Draws a balanced network: weights of variance 1 / fan-in, biases zero.

        Args:
            num_inputs: the number of inputs at each step.
            width: the number of hidden units.
            num_outputs: the number of outputs.
            key: a random key.
            use_bias: whether there are biases, b and that of the head.
            last_only: whether to give an output at the last step only.
            identity: whether V starts as the identity, which carries a signal over long times.
            dtype: the dtype of the parameters; JAX's default if None.
        """
        _check_sizes(num_inputs, width, num_outputs)
        dtype = jnp.zeros(()).dtype if dtype is None else dtype
        head = linear_skeleton(width, num_outputs, use_bias=use_bias, dtype=dtype)
        shapes = ((width, num_inputs), (width, width))
        weights = tuple(jax.ShapeDtypeStruct(shape, dtype) for shape in shapes)
        (self.input_weight, recurrent), self.head = balanced((weights, head), key)
        self.recurrent_weight = jnp.eye(width, dtype=dtype) if identity else recurrent
        self.bias = jnp.zeros(width, dtype) if use_bias else None
        self.last_only = last_only

    def __call__(
        self, sequence: Sequence, *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "*_"]:
        del key

        def advance(hidden: Array, x: Array) -> Any:
            drive = self.input_weight @ x if x.ndim else self.input_weight[:, x]
            hidden = drive + self.recurrent_weight @ hidden
            hidden = jax.nn.relu(hidden if self.bias is None else hidden + self.bias)
            return hidden, None if self.last_only else hidden

        last, hidden = jax.lax.scan(advance, jnp.zeros_like(self.input_weight[:, 0]), sequence)
        return self.head(last) if self.last_only else jax.vmap(self.head)(hidden)

    def hidden_units(self) -> tuple[HiddenUnits, ...]:
        """The hidden units: a unit's recurrent edges come in and go out.

        Returns:
            A single entry.
        """
        incoming = (
            UnitEdges(lambda network: network.input_weight, axis=0),
            UnitEdges(lambda network: network.recurrent_weight, axis=0),
        )
        if self.bias is not None:
            incoming += (UnitEdges(lambda network: network.bias, axis=0),)
        outgoing = (
            UnitEdges(lambda network: network.recurrent_weight, axis=1),
            UnitEdges(lambda network: network.head.weight, axis=1),
        )
        return (HiddenUnits(self.input_weight.shape[0], incoming, outgoing),)


class LSTM(eqx.Module):
    """A long short-term memory network, for comparison: its gates leave it without a path-norm.

    Attributes:
        cell: the recurrent cell.
        head: the linear layer from the hidden units to the outputs.
        num_inputs: the number of inputs at each step.
        last_only: whether there is an output at the last step only.

    Example:
        >>> import jax
        >>> from implicit_flow.networks import LSTM, support_report
        >>> net = LSTM(3, 8, 2, key=jax.random.key(0))
        >>> support_report(net, input_shape=(5, 3)).supported
        False
    """

    cell: eqx.nn.LSTMCell
    head: eqx.nn.Linear
    num_inputs: int = eqx.field(static=True)
    last_only: bool = eqx.field(static=True)

    def __init__(
        self,
        num_inputs: int,
        width: int,
        num_outputs: int,
        *,
        key: Key[Array, ""],
        last_only: bool = False,
        dtype: Any = None,
    ):
        """Draws a network with forget gates that start open.

        Args:
            num_inputs: the number of inputs at each step.
            width: the number of hidden units.
            num_outputs: the number of outputs.
            key: a random key.
            last_only: whether to give an output at the last step only.
            dtype: the dtype of the parameters; JAX's default if None.
        """
        _check_sizes(num_inputs, width, num_outputs)
        keys = jax.random.split(key, 2)
        cell = eqx.nn.LSTMCell(num_inputs, width, key=keys[0], dtype=dtype)
        assert cell.bias is not None
        # The gates are stored in the order input, forget, cell, output.
        opened = cell.bias.at[width : 2 * width].set(1)
        self.cell = eqx.tree_at(lambda cell: cell.bias, cell, opened)
        self.head = eqx.nn.Linear(width, num_outputs, key=keys[1], dtype=dtype)
        self.num_inputs = num_inputs
        self.last_only = last_only

    def __call__(
        self, sequence: Sequence, *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "*_"]:
        del key
        dtype = self.cell.weight_hh.dtype

        def advance(state: tuple[Array, Array], x: Array) -> Any:
            x = x if x.ndim else jax.nn.one_hot(x, self.num_inputs, dtype=dtype)
            state = self.cell(x, state)
            return state, None if self.last_only else state[0]

        zero = jnp.zeros(self.cell.hidden_size, dtype)
        (last, _), hidden = jax.lax.scan(advance, (zero, zero), sequence)
        return self.head(last) if self.last_only else jax.vmap(self.head)(hidden)
