"""The vector field of a problem, for the solvers of congruence flows."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._types import Residual
from .losses import AbstractLoss
from .measurements import AbstractMeasurement
from .problems import Problem
from .solvers import CongruenceTerm


def congruence_term(
    problem: Problem,
    rows: Float[Array, "n d"] | None = None,
    together: Bool[Array, "n n"] | None = None,
) -> CongruenceTerm:
    """The flow of a problem, as the callables that `solvers` asks for.

    Args:
        problem: any.
        rows: see `CongruenceTerm`.
        together: see `CongruenceTerm`.

    Returns:
        The term. Derivatives reach the measurement, the targets and the loss through it.
    """
    measurement = problem.measurement
    return CongruenceTerm(
        predict=eqx.Partial(_predict, measurement),
        residual=eqx.Partial(_residual, problem.loss, problem.targets),
        curvature=eqx.Partial(_curvature, problem.loss, problem.targets),
        adjoint=eqx.Partial(_adjoint, measurement),
        adjoint_times=eqx.Partial(_adjoint_times, measurement),
        gram=eqx.Partial(_gram, measurement),
        secant=_secant(problem.loss, problem.targets),
        scale=jnp.linalg.norm(problem.targets),
        rows=rows,
        together=together,
    )


def _secant(loss: AbstractLoss, targets: Residual) -> Residual:
    size = jax.lax.stop_gradient(jnp.abs(targets))
    force = jax.lax.stop_gradient(jnp.abs(loss.residual(jnp.zeros_like(targets), targets)))
    return jnp.where(size > 0, force / jnp.where(size > 0, size, 1), 0)


def _predict(measurement: AbstractMeasurement, U: Array) -> Residual:
    return measurement.apply_product(U, U)


def _residual(loss: AbstractLoss, targets: Residual, prediction: Residual) -> Residual:
    return loss.residual(prediction, targets)


def _curvature(loss: AbstractLoss, targets: Residual, prediction: Residual) -> Residual:
    return loss.curvature(prediction, targets)


def _adjoint(measurement: AbstractMeasurement, v: Residual) -> Array:
    return measurement.adjoint(v)


def _adjoint_times(measurement: AbstractMeasurement, v: Residual, V: Array) -> Array:
    return measurement.adjoint_times(v, V)


def _gram(measurement: AbstractMeasurement, W: Array, V: Array) -> Array:
    return measurement.gram(W, V)
