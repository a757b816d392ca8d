"""A problem whose data couple nothing that only rounding couples in the given ones."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._congruence_term import congruence_term
from ._types import PRECISION
from .linalg import components, eigh_within
from .measurements import AbstractMeasurement, DenseMeasurement, RankOneMeasurement
from .problems import Problem
from .solvers import CongruenceTerm, Uncoupled, without_derivatives


# Units of rounding that count as zero: of the data, and of eigenvectors at small gaps.
_ROUNDINGS = 2000.0


def exact_components(measurement: AbstractMeasurement) -> Bool[Array, "n n"]:
    """The components between which every A*(v) is exactly zero; see `linalg.components`.

    Args:
        measurement: any.

    Returns:
        True for rows of one component.
    """
    weights = np.random.default_rng(1).normal(size=measurement.num_measurements)
    matrix = jax.lax.stop_gradient(measurement.adjoint(jnp.asarray(weights, measurement.dtype)))
    return components(matrix != 0)


def uncoupled(
    problem: Problem, frame: Float[Array, "n d"], together: Bool[Array, "n n"]
) -> Uncoupled | None:
    r"""The flow without what is coupled by rounding alone.

    Measurement matrices that commute, or have invariant subspaces in common, lose this when they
    are stored entry by entry. As $\alpha \to 0$ the slightest coupling decides where the flow ends,
    and no further change of the data shows it: all of them couple. In the eigenvectors of one
    random combination of the matrices those subspaces are seen in another one, as components of the
    graph of its entries.

    Args:
        problem: to fit.
        frame: U at scale one.
        together: what `exact_components` gives.

    Returns:
        The flow, or None for measurements that rounding cannot couple, or not known to be stored
        entry by entry.
    """
    problem, frame = without_derivatives((problem, frame))
    measurement = problem.measurement
    if not isinstance(measurement, DenseMeasurement | RankOneMeasurement):
        return None
    if measurement.num_measurements == 1 or problem.dim == 1:
        return None
    dtype = measurement.dtype
    weights = np.random.default_rng(0).normal(size=(2, measurement.num_measurements))
    sizes = _sizes(measurement)
    weights = jnp.asarray(weights, dtype) / jnp.where(sizes > 0, sizes, 1.0)[None]
    first, second = jax.vmap(measurement.adjoint)(weights)
    # LAPACK may loop on what is not finite.
    first = jnp.where(jnp.all(jnp.isfinite(first)), first, jnp.eye(problem.dim, dtype=dtype))
    basis = eigh_within(first, together)[1]
    entries = jnp.abs(_turned(second, basis))
    zero = _ROUNDINGS * jnp.finfo(dtype).eps * jnp.linalg.norm(second)
    within = components(entries > zero)
    # A direction that nothing measures does not move, and only what grows tells rounding apart.
    moves = jnp.any(entries > zero, axis=1)
    apart = ~within & (entries > 0) & moves[:, None] & moves[None, :]
    data = eqx.Partial(_data, problem, frame, basis, within)
    return Uncoupled(basis, jnp.any(apart), data)


def _sizes(measurement: DenseMeasurement | RankOneMeasurement) -> Float[Array, " m"]:
    """The Frobenius norms of the matrices."""
    if isinstance(measurement, DenseMeasurement):
        return jnp.linalg.norm(measurement.stack, axis=(1, 2))
    return jnp.sum(measurement.vectors**2, axis=1)


def _turned(matrix: Float[Array, "n n"], basis: Float[Array, "n n"]) -> Float[Array, "n n"]:
    return jnp.dot(basis.T, jnp.dot(matrix, basis, precision=PRECISION), precision=PRECISION)


def _data(
    problem: Problem, frame: Array, basis: Array, together: Array
) -> tuple[CongruenceTerm, Array]:
    """In a basis, with exact zeros between components."""
    measurement = problem.measurement
    if isinstance(measurement, DenseMeasurement):
        turned = jax.vmap(_turned, in_axes=(0, None))(measurement.stack, basis)
        turned = jnp.where(together[None], (turned + jnp.swapaxes(turned, 1, 2)) / 2, 0.0)
        measurement = eqx.tree_at(lambda a: a.stack, measurement, turned)
    elif isinstance(measurement, RankOneMeasurement):
        turned = jnp.dot(measurement.vectors, basis, precision=PRECISION)
        kept = together[jnp.argmax(jnp.abs(turned), axis=1)]
        measurement = eqx.tree_at(lambda a: a.vectors, measurement, jnp.where(kept, turned, 0.0))
    problem = eqx.tree_at(lambda p: p.measurement, problem, measurement)
    term = congruence_term(problem, together=together)
    start = jnp.dot(basis.T, frame, precision=PRECISION)
    if frame.shape[0] != frame.shape[1]:
        return term, start
    # X0 is what it was, and the identity stays one.
    start = jnp.dot(start, basis, precision=PRECISION)
    zero = _ROUNDINGS * jnp.finfo(frame.dtype).eps * jnp.max(jnp.abs(start))
    return term, jnp.where(~together & (jnp.abs(start) <= zero), 0.0, start)
