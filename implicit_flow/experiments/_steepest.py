"""Steepest descent with respect to a norm, as Optax transformations."""

from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


NORMS = ("l1", "l2", "linf")


def steepest_descent(norm: str, learning_rate: Any) -> optax.GradientTransformation:
    r"""Steps along the direction of steepest descent in a norm, of the length of the dual norm.

    $\Delta x = \eta\,\mathrm{argmin}_v\,\langle g, v\rangle + \tfrac12\|v\|^2$: gradient descent
    for l2; the coordinate of largest gradient alone for l1; all signs at one size for linf.

    Args:
        norm: "l1", "l2" or "linf".
        learning_rate: eta, at most 1 / `smoothness(...)` for descent at every step.

    Returns:
        The transformation, for an unknown that is one vector.

    Reference:
        Boyd and Vandenberghe (2004), Convex optimization, section 9.4.
    """

    def direction(g: Float[Array, " n"]) -> Float[Array, " n"]:
        if norm == "l1":
            return jnp.where(jnp.arange(g.shape[0]) == jnp.argmax(jnp.abs(g)), g, 0)
        if norm == "linf":
            return jnp.sum(jnp.abs(g)) * jnp.sign(g)
        return g

    return optax.chain(
        optax.stateless(lambda updates, params: direction(updates)),
        optax.scale_by_learning_rate(learning_rate),
    )


def smoothness(rows: Any, norm: str) -> Any:
    r"""A constant L with $\tfrac12\|Av\|_2^2 \le \tfrac L2\|v\|^2$ in a norm.

    Args:
        rows: A, shape (m, n).
        norm: "l1", "l2" or "linf".

    Returns:
        L, a scalar; the least one for l1 and l2.
    """
    if norm == "l1":
        return jnp.max(jnp.sum(rows**2, axis=0))
    if norm == "linf":
        return jnp.sum(jnp.sum(jnp.abs(rows), axis=1) ** 2)
    return jnp.linalg.norm(rows, 2) ** 2
