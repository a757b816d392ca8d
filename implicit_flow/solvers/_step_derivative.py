"""The derivative of one recorded step, as linear maps and their transposes."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..linalg import (
    Substeps,
    divided_exponential,
    each,
    eigh_within,
    log_derivatives,
    substeps,
)
from ._congruence_term import CongruenceTerm
from ._newton_matrix import NewtonMatrix
from ._record import Entry
from ._residual_solve import residual_solve
from ._tableau import EXPONENT_WEIGHTS


# Loops of one recorded step turn at most this often: the capacity of the buffers in reverse mode.
SUBSTEP_LIMIT = 60
SUBSTEP_CAPACITY = 6 * SUBSTEP_LIMIT


class Exponentials(eqx.Module):
    """The exponentials of a step, with what their derivatives need."""

    exponents: Float[Array, "6 n n"]
    values: Float[Array, "6 n"]
    vectors: Float[Array, "6 n n"]
    linear: Bool[Array, ""]
    parts: Substeps

    def first_order(self, exponents: Float[Array, "6 n n"]) -> Float[Array, "6 n n"]:
        """e^S to first order about the exponents of the step (Daleckii and Krein)."""
        # The stages of a linear step are not looked at, and might overflow.
        values = jnp.where(self.linear, 0.0, self.values)
        rows = jnp.broadcast_to(values[:, :, None], self.exponents.shape)
        weights = divided_exponential(rows, jnp.swapaxes(rows, 1, 2))
        transposed = jnp.swapaxes(self.vectors, 1, 2)
        inner = transposed @ (exponents - self.exponents) @ self.vectors
        base = (self.vectors * jnp.exp(values)[:, None, :]) @ transposed
        return base + self.vectors @ (weights * inner) @ transposed

    def generators(self, exponents: Float[Array, "6 n n"]) -> Float[Array, "6 n n"]:
        """The linear map from exponents to logarithmic derivatives of the substeps."""
        counts = jnp.where(self.parts.whole, 1, jnp.maximum(self.parts.counts, 1))
        single = log_derivatives(
            self.values, self.vectors, counts.astype(exponents.dtype), exponents
        )
        transposed = jnp.swapaxes(self.vectors, 1, 2)
        growth = jnp.where(self.parts.whole, self.values, 0.0)
        forward = (self.vectors * jnp.exp(growth)[:, None, :]) @ transposed
        backward = (self.vectors * jnp.exp(-growth)[:, None, :]) @ transposed
        total = single[0]
        for index in range(1, 6):
            total = single[index] + forward[index] @ total @ backward[index]
        return single.at[0].set(jnp.where(self.parts.whole, total, single[0]))


def weighted_exponents(
    term: CongruenceTerm,
    residuals: Float[Array, "3 m"],
    step: Float[Array, ""],
    weights: Float[Array, "6 3"],
) -> Float[Array, "6 n n"]:
    """The exponents of a step or a part of it."""
    return jax.vmap(term.adjoint)(-step * (weights @ residuals))


def exponentials(
    term: CongruenceTerm, entry: Entry, weights: Float[Array, "6 3"], spread: float
) -> Exponentials:
    """The exponentials of a recorded step.

    Args:
        term: the flow.
        entry: the step.
        weights: of the exponents.
        spread: see `implicit_flow.linalg.substeps`.

    Returns:
        The exponentials.
    """
    s = weighted_exponents(term, entry.residuals, entry.step, weights)
    values, vectors = each(lambda matrix: eigh_within(matrix, term.together), s)
    parts = substeps(s, spread=spread, limit=SUBSTEP_LIMIT, together=term.together)
    return Exponentials(s, values, vectors, entry.linear, parts)


def full_weights(dtype) -> Float[Array, "6 3"]:
    """The weights of a whole step."""
    return jnp.asarray(EXPONENT_WEIGHTS, dtype)


def stage_defect(
    term: CongruenceTerm,
    residuals: Float[Array, "3 m"],
    factor: Float[Array, "n d"],
    entry: Entry,
    powers: Exponentials,
) -> Float[Array, "3 m"]:
    """The stage equations to first order about a recorded step.

    Args:
        term: the flow.
        residuals: collocation values.
        factor: U at the start.
        entry: the step.
        powers: its exponentials.

    Returns:
        k - r(U).
    """
    weights = full_weights(residuals.dtype)
    e = powers.first_order(weighted_exponents(term, residuals, entry.step, weights))
    first = e[1] @ (e[0] @ factor)
    second = e[3] @ (e[2] @ first)
    third = e[5] @ (e[4] @ second)
    reached = jax.vmap(lambda u: term.residual(term.predict(u)))(jnp.stack([first, second, third]))
    # In a linear step A(X) is zero to rounding, and the exponentials may overflow.
    at_zero = term.residual(term.predict(jnp.zeros_like(factor)))
    constant = jnp.broadcast_to(at_zero, reached.shape)
    return residuals - jnp.where(entry.linear, constant, reached)


class StageSolver(eqx.Module):
    """Solves the linearized stage equations of a step, and their transpose."""

    matrix: NewtonMatrix
    step: Float[Array, ""]
    scale: Float[Array, " m"]

    @classmethod
    def build(cls, term: CongruenceTerm, entry: Entry) -> "StageSolver":
        """The solver of a recorded step.

        Args:
            term: the flow.
            entry: the step.

        Returns:
            The solver.
        """
        factor = jnp.where(entry.linear, 0.0, entry.after.factor)
        matrix = NewtonMatrix.build(term, factor)
        # Scaled by its square root from both sides the operator is well conditioned, however stiff.
        return cls(matrix, entry.step, jnp.sqrt(1 + entry.step * matrix.eigenvalues))

    def solve(self, jacobian: Callable, right: Float[Array, "3 m"]) -> Float[Array, "3 m"]:
        """Solve jacobian(x) = right.

        Args:
            jacobian: derivative of the stage defect by the collocation values.
            right: the right-hand side.

        Returns:
            The solution; nan where it was not found.
        """
        scale = self.scale[None, :]

        def operator(x):
            image = jacobian(self.matrix.residuals(x / scale))
            return self.matrix.coordinates(image) / scale

        def preconditioner(x):
            return scale * self.matrix.solve(self.step, scale * x)

        solution, reached = residual_solve(
            operator, preconditioner, self.matrix.coordinates(right) / scale
        )
        return _checked(self.matrix.residuals(solution / scale), reached)

    def solve_transposed(
        self, transposed: Callable, right: Float[Array, "3 m"]
    ) -> Float[Array, "3 m"]:
        """Solve transposed(w) = right, for the transpose of the Jacobian.

        Args:
            transposed: the transpose.
            right: the right-hand side.

        Returns:
            The solution; nan where it was not found.
        """
        scale = self.scale[None, :]
        coordinates = _transpose(self.matrix.coordinates, right)
        residuals = _transpose(self.matrix.residuals, right)
        inverse = _transpose(lambda x: self.matrix.solve(self.step, x), right)

        def operator(w):
            return residuals(transposed(coordinates(w / scale))) / scale

        def preconditioner(w):
            return scale * inverse(scale * w)

        solution, reached = residual_solve(operator, preconditioner, residuals(right) / scale)
        return _checked(coordinates(solution / scale), reached)


def _checked(solution: Float[Array, "3 m"], reached: Float[Array, ""]) -> Float[Array, "3 m"]:
    # A derivative that was not found must not pass for one.
    loose = jnp.sqrt(jnp.finfo(solution.dtype).eps)
    return jnp.where(reached < loose, solution, jnp.nan)


def _transpose(function: Callable, example: Any) -> Callable:
    transposed = jax.linear_transpose(function, example)
    return lambda x: transposed(x)[0]
