"""Derivatives of graded propagation over a sequence of substeps, forward and in reverse."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..linalg import GradedFactor, GradedTangent, Substeps, multiply, multiply_tangent
from ._step_derivative import SUBSTEP_CAPACITY


def propagate_tangent(
    state: GradedFactor,
    tangent: GradedTangent,
    parts: Substeps,
    generators: Float[Array, "6 n n"],
    enabled: Bool[Array, ""],
) -> tuple[GradedFactor, GradedTangent]:
    """The tangent after a sequence of substeps.

    Args:
        state: the factor before.
        tangent: its tangent.
        parts: the substeps.
        generators: logarithmic derivative of each factor.
        enabled: where false, nothing is done.

    Returns:
        The factor after, and its tangent.
    """
    total = jnp.where(enabled, parts.total, 0)

    def body(carry):
        index, state, tangent = carry
        which = parts.which(index)
        after, triangular = multiply(state, parts.factors[which], parts.together)
        tangent = multiply_tangent(
            tangent,
            generators[which],
            parts.factors[which],
            triangular,
            state.log_scale,
            after,
        )
        return index + 1, after, tangent

    first = (jnp.zeros_like(total), state, tangent)
    _, state, tangent = jax.lax.while_loop(lambda carry: carry[0] < total, body, first)
    return state, tangent


class _Trail(eqx.Module):
    """The factor before every substep, and the triangular factor of the substep."""

    states: GradedFactor
    triangular: Float[Array, "c p p"]


def propagate_cotangent(
    state: GradedFactor,
    cotangent: GradedTangent,
    parts: Substeps,
    enabled: Bool[Array, ""],
) -> tuple[GradedTangent, Float[Array, "6 n n"]]:
    """The transpose of `propagate_tangent`.

    Args:
        state: the factor before the substeps.
        cotangent: cotangent of the tangent after them.
        parts: the substeps.
        enabled: where false, the cotangents are zero.

    Returns:
        The cotangents of the tangent before, and of the generators.
    """
    total = jnp.where(enabled, jnp.minimum(parts.total, SUBSTEP_CAPACITY), 0)
    p = state.log_scale.shape[0]
    trail = _Trail(
        jax.tree.map(lambda x: jnp.zeros((SUBSTEP_CAPACITY, *x.shape), x.dtype), state),
        jnp.zeros((SUBSTEP_CAPACITY, p, p), state.basis.dtype),
    )

    def forward(carry):
        index, state, trail = carry
        after, triangular = multiply(state, parts.factors[parts.which(index)], parts.together)
        trail = _Trail(
            jax.tree.map(lambda buffer, x: buffer.at[index].set(x), trail.states, state),
            trail.triangular.at[index].set(triangular),
        )
        return index + 1, after, trail

    zero = jnp.zeros_like(total)
    _, after, trail = jax.lax.while_loop(
        lambda carry: carry[0] < total, forward, (zero, state, trail)
    )

    def backward(carry):
        index, after, cotangent, generators = carry
        index = index - 1
        which = parts.which(index)
        before = jax.tree.map(lambda buffer: buffer[index], trail.states)

        def substep(tangent, generator):
            return multiply_tangent(
                tangent,
                generator,
                parts.factors[which],
                trail.triangular[index],
                before.log_scale,
                after,
            )

        transposed = jax.linear_transpose(substep, cotangent, generators[which])
        cotangent, generator = transposed(cotangent)
        return index, before, cotangent, generators.at[which].add(generator)

    generators = jnp.zeros_like(parts.factors)
    carry = (total, after, cotangent, generators)
    _, _, cotangent, generators = jax.lax.while_loop(lambda c: c[0] > 0, backward, carry)
    scale = jnp.where(enabled, 1.0, 0.0)
    return jax.tree.map(lambda x: x * scale, cotangent), generators
