"""What a stock solver is told of a flow: tolerances, a first step, and where rounding begins."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

from .._types import Scalar
from ..problems import Problem
from ._base import AbstractFlow
from ._traced_once import innermost


def first_step(
    solver: diffrax.AbstractSolver, step_rtol: Any, step_atol: Any, start: Any, slope: Scalar
) -> Scalar:
    """The length of a first step, shorter for smaller tolerances.

    Diffrax's own choice is the same for all: two runs would begin with the same step, and save the
    same points within it, whatever their error.

    Args:
        solver: gives the order.
        step_rtol: relative tolerance of a step.
        step_atol: absolute tolerance of a step, in the unit of the state.
        start: the state at time zero.
        slope: root mean square of its velocity.

    Returns:
        The length.
    """
    power = 1.0 / ((solver.order(diffrax.ODETerm(lambda t, y, args: y)) or 1) + 1)
    tolerance = jnp.maximum(step_atol, step_rtol)
    scales = jax.tree.map(lambda y: (step_atol + step_rtol * jnp.abs(y)) / tolerance, start)
    step = tolerance**power * rms(scales) / jnp.where(slope > 0, slope, 1)
    return jax.lax.stop_gradient(step).astype(slope.dtype)


def slope_and_rounding(flow: AbstractFlow, problem: Problem, start: Any) -> tuple[Scalar, Scalar]:
    """Of the velocity at the start: its size, and that of what rounding makes of it.

    Args:
        flow: to be integrated.
        problem: that it fits.
        start: the state at time zero.

    Returns:
        Root mean squares; the second is that of the change by rounding of the state, 16 times.
    """
    time = jnp.zeros((), problem.measurement.dtype)
    epsilon = float(jnp.finfo(time.dtype).eps)
    velocity_at = lambda state: flow.velocity(state, flow.drive(time, state, problem), problem)
    rounded = jax.tree.map(lambda a, b: a * (1 + epsilon * b), start, _signs(start))
    velocity = velocity_at(start)
    slope = rms(velocity)
    noise = jax.tree.map(jnp.subtract, velocity_at(rounded), velocity)
    return jax.lax.stop_gradient((slope, 16 * (epsilon * slope + rms(noise))))


def _signs(tree: Any) -> Any:
    """1 and -1 in turn, of the shapes of a pytree; -1 and 1 in every second leaf."""
    leaves, structure = jax.tree.flatten(tree)
    signs = [
        np.where((np.arange(leaf.size) + k) % 2, -1, 1).reshape(leaf.shape).astype(leaf.dtype)
        for k, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, signs)


def rms(tree: Any) -> Scalar:
    """Root mean square over all entries of a pytree, with a zero derivative at zero.

    Args:
        tree: any pytree of arrays.

    Returns:
        The mean.
    """
    leaves = [leaf.reshape(-1) for leaf in jax.tree.leaves(tree)]
    square = sum(jnp.sum(leaf**2) for leaf in leaves) / sum(leaf.size for leaf in leaves)
    # nan is no zero.
    nonzero = square != 0
    return jnp.where(nonzero, jnp.sqrt(jnp.where(nonzero, square, 1)), 0)


def with_tolerances(
    solver: diffrax.AbstractSolver, rtol: Any, atol: Any, rounding: Scalar
) -> diffrax.AbstractSolver:
    """Give an implicit solver's root finder the tolerances of the state.

    Args:
        solver: any solver.
        rtol: relative tolerance of a step.
        atol: absolute tolerance of a step.
        rounding: of the velocity, below which no stage converges.

    Returns:
        The solver, or the same one where it is explicit.
    """
    if not isinstance(solver, diffrax.AbstractImplicitSolver):
        return solver
    # Measured on nonnegative least squares (n = 20, alpha = 1e-2 and 1e-100): the default, which
    # accepts a stage after very few iterations, rejects every second step and takes 5 to 8 times
    # as many steps as iterating the stages to a tenth of the step tolerance.
    tenth = jax.tree.map(lambda tolerance: tolerance / 10, (rtol, atol))
    # Stages are slopes, and large ones on a fast clock: below their rounding nothing converges.
    floor = jax.tree.map(lambda tolerance: jnp.maximum(tolerance, rounding), tenth[1])
    finder = optx.Chord(rtol=tenth[0], atol=floor, norm=rms)
    return eqx.tree_at(lambda s: innermost(s).root_finder, solver, finder)
