"""Large matrices that are outer products, kept as their two factors."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array, Float


class Outer(eqx.Module):
    """The matrix with entries `rows[i] * columns[j]`.

    Attributes:
        rows: one factor.
        columns: the other.
    """

    rows: Float[Array, " rows"]
    columns: Float[Array, " columns"]

    def matrix(self) -> Float[Array, "rows columns"]:
        """The matrix itself.

        Returns:
            All entries.
        """
        return self.rows[:, None] * self.columns[None, :]


Compact: TypeAlias = Array | Outer


def compact(function: Callable[..., Sequence[Array]], *arguments: Any) -> list[Compact]:
    """Evaluates a function, and leaves the products open that its program ends in.

    Args:
        function: of arrays, that returns arrays.
        arguments: its arguments.

    Returns:
        Its results: an `Outer` where the last thing that the program does for a result is to
        spread two vectors over a matrix and to multiply them; the array elsewhere.
    """
    program = jax.make_jaxpr(function)(*arguments)
    made_by = {id(out): eqn for eqn in program.jaxpr.eqns for out in eqn.outvars}
    results = [_factors(variable, made_by) for variable in program.jaxpr.outvars]
    wanted = [variable for result in results for variable in result]
    opened = ClosedJaxpr(program.jaxpr.replace(outvars=wanted), program.consts)
    # A result that is a constant is no array of JAX yet.
    values = map(jnp.asarray, jaxpr_as_fun(opened)(*jax.tree.leaves(arguments)))
    parts = [[next(values) for _ in result] for result in results]
    return [Outer(*part) if len(part) == 2 else part[0] for part in parts]


def is_compact(node: Any) -> bool:
    """Whether a node of a tree stands for one matrix."""
    return isinstance(node, Outer)


def dense(value: Compact) -> Array:
    """The array that is kept whole or as an `Outer`."""
    return value.matrix() if isinstance(value, Outer) else value


def _factors(variable: Any, made_by: dict[int, Any]) -> list[Any]:
    """The variables of the two factors, rows first; or the variable itself."""
    product = made_by.get(id(variable))
    if product is None or product.primitive.name != "mul" or variable.aval.ndim != 2:
        return [variable]
    spread = [made_by.get(id(operand)) for operand in product.invars]
    by_axis = {
        eqn.params["broadcast_dimensions"]: eqn.invars[0]
        for eqn in spread
        if eqn is not None and eqn.primitive.name == "broadcast_in_dim"
    }
    return [by_axis[(0,)], by_axis[(1,)]] if by_axis.keys() == {(0,), (1,)} else [variable]
