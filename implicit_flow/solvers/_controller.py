"""Local error, and the length of the next step."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..linalg import taylor_expm
from ._congruence_term import CongruenceTerm
from ._radau import ResidualRadau
from ._spectrum import Spectrum
from ._stages import Stages, most_growth
from ._tableau import EMBEDDED_DIFFERENCE, EXPONENT_WEIGHTS, HALVES_WEIGHTS, LEFT_WEIGHT


_SAFETY = 0.9
_LARGEST_FACTOR = 5.0
_SMALLEST_FACTOR = 0.2
_AFTER_FAILURE = 0.35
_SMALLEST_GROWTH = 1.0
# By which two propagations of one polynomial differ however short the step is. Measured, float32.
_ROUNDINGS = 8.0


def local_error(
    term: CongruenceTerm,
    stages: Stages,
    left_residual: Float[Array, " m"],
    step: Float[Array, ""],
) -> Float[Array, ""]:
    """Relative change of U between the method and its embedded formula of order 3.

    The residual at the left end is the collocation value of the step before, not r(U): the latter
    carries the Newton error of stiff directions, and the estimate would no longer depend on the
    step.

    Args:
        term: the flow.
        stages: the solved stages.
        left_residual: collocation value at the left end.
        step: h.

    Returns:
        The estimate.
    """
    difference = jnp.asarray(EMBEDDED_DIFFERENCE, step.dtype) @ stages.residuals
    raw = step * (LEFT_WEIGHT * left_residual + difference)
    matrix = stages.matrix
    filtered = matrix.filter(step, matrix.coordinates(raw[None])[0])
    error = matrix.residuals(filtered[None])[0]
    factor = stages.last_factor
    size = jnp.maximum(jnp.linalg.norm(factor), jnp.finfo(factor.dtype).tiny)
    return jnp.linalg.norm(term.adjoint_times(error, factor)) / size


def propagator_error(
    term: CongruenceTerm,
    residuals: Float[Array, "3 m"],
    factor: Float[Array, "n d"],
    step: Float[Array, ""],
) -> Float[Array, ""]:
    """Relative change of U between two commutator-free propagations of one polynomial.

    Where a direction decays fast within a step, U depends on the residual at the end of the last
    exponential's interval and not at the end of the step, and the order falls. The embedded
    formula is blind to this; another partition of the step is not.

    Args:
        term: the flow.
        residuals: collocation values.
        factor: U at the start of the step.
        step: h.

    Returns:
        The change, about the error of the propagation; less what rounding makes of it, which no
        shorter step would mend.
    """
    weights = np.concatenate([EXPONENT_WEIGHTS, HALVES_WEIGHTS])
    e = taylor_expm(
        jax.vmap(term.adjoint)(-step * (jnp.asarray(weights, step.dtype) @ residuals)), radius=0.8
    )
    intervals = e[1::2] @ e[::2]
    nodes = intervals[2] @ (intervals[1] @ (intervals[0] @ factor))
    halves = intervals[4] @ (intervals[3] @ factor)
    size = jnp.maximum(jnp.linalg.norm(nodes), jnp.finfo(factor.dtype).tiny)
    apart = jnp.linalg.norm(nodes - halves) / size
    return jnp.maximum(apart - _ROUNDINGS * float(jnp.finfo(factor.dtype).eps), 0.0)


def next_step(
    step: Float[Array, ""], error_ratio: Float[Array, ""], converged: Array
) -> Float[Array, ""]:
    """The length that meets the tolerance, from the estimate of order 3.

    Args:
        step: the length just tried.
        error_ratio: its error over the tolerance.
        converged: whether its stages were solved.

    Returns:
        The new length.
    """
    safe = jnp.where(jnp.isfinite(error_ratio), jnp.maximum(error_ratio, 1e-6), 1e6)
    factor = jnp.clip(_SAFETY * safe**-0.25, _SMALLEST_FACTOR, _LARGEST_FACTOR)
    return step * jnp.where(converged, factor, _AFTER_FAILURE)


def growth_cap(term: CongruenceTerm, solver: ResidualRadau, rates: Spectrum) -> Float[Array, ""]:
    """The longest step that keeps growth and decay of one step within range.

    Args:
        term: the flow.
        solver: the options.
        rates: of growth and decay at the start of the step.

    Returns:
        The length.
    """
    tiny = jnp.finfo(rates.lowest.dtype).tiny
    # A direction that is about to reach its targets must not be carried far past them.
    budget = jnp.clip(rates.room, _SMALLEST_GROWTH, solver.growth_per_step)
    budget = jnp.maximum(budget, jnp.minimum(rates.spare, most_growth(term, solver)))
    growth = budget / jnp.maximum(-rates.lowest, tiny)
    decay = solver.decay_per_step / jnp.maximum(rates.highest, tiny)
    return jnp.minimum(growth, decay)


def dissipates(
    term: CongruenceTerm,
    stages: Stages,
    factor: Float[Array, "n d"],
    left_residual: Float[Array, " m"],
    step: Float[Array, ""],
    tolerance: Float[Array, ""],
) -> Array:
    r"""Whether a step obeys the energy law of a gradient flow.

    The flow is $\dot U = -\nabla E$ with $E$ half the loss, so that
    $|U_{n+1} - U_n|^2 \le h (E_n - E_{n+1})$. The stage equations of a long step have other
    solutions besides the one that continues the path; they break this law.

    Args:
        term: the flow.
        stages: the solved stages.
        factor: U at the start of the step.
        left_residual: collocation value at the left end.
        step: h.
        tolerance: of the step.

    Returns:
        Whether it does.
    """
    start = term.predict(factor)
    points = jnp.concatenate([start[None], stages.predictions])
    forces = jax.vmap(term.residual)(points)
    # The loss itself is not known here; its change is the integral of r along the path.
    parts = 0.5 * (forces[1:] + forces[:-1]) * (points[1:] - points[:-1])
    drop = -0.5 * jnp.sum(parts)
    # Where r(U) and the collocation values differ, by the Newton error of stiff directions, the
    # energy is known no better.
    values = jnp.concatenate([left_residual[None], stages.residuals])[jnp.array([0, 3])]
    ends = forces[jnp.array([0, 3])]
    noise = jnp.linalg.norm(values - ends, axis=1)
    noise = jnp.sum(noise * (jnp.linalg.norm(ends, axis=1) + noise))
    slack = tolerance * jnp.sum(jnp.abs(parts)) + noise
    length = jnp.linalg.norm(stages.last_factor - factor)
    allowed = jnp.sqrt(step * jnp.maximum(1.2 * drop + slack, 0.0))
    return length <= allowed + tolerance * jnp.linalg.norm(factor)
