"""The dual variable of a commuting flow at a finite time."""

import math

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._types import Residual, Scalar
from ._manifold import Columns


@jax.jit
def dual_at(
    columns: Columns,
    log_weights: Float[Array, " k"],
    log_alpha: Scalar,
    targets: Residual,
    t: Scalar,
) -> Float[Array, " k"]:
    r"""$\log x$ at time t, from $ds/dt = y - A x(s)$, $x = \alpha w e^{2 A^\top s}$.

    That is m equations, whatever n is, integrated by an L-stable method to about 1e-11 in float64
    (1e-5 in float32).

    Args:
        columns: A, shape (m, k).
        log_weights: $\log w$, shape (k,), -inf for coordinates that start at zero.
        log_alpha: the scale of the start.
        targets: y, shape (m,).
        t: the time, at least 0.

    Returns:
        $\log x(t)$, shape (k,).
    """
    present = log_weights > -jnp.inf
    weights = jnp.where(present, log_weights, jnp.zeros_like(log_weights))
    masked = jnp.where(present[None, :], columns, jnp.zeros_like(columns))
    tolerance = 50 * float(jnp.finfo(columns.dtype).eps) ** 0.8

    def point(s: Residual) -> Float[Array, " k"]:
        return weights + log_alpha + 2 * (s @ masked)

    # A stage that overshoots must not overflow: the solver cannot learn from nan what to do.
    largest = 0.9 * math.log(float(jnp.finfo(columns.dtype).max))

    def velocity(time: ArrayLike, s: Residual, args: None) -> Residual:
        return targets - masked @ jnp.exp(jnp.minimum(point(s), largest))

    # log x moves by 2 |A| ds: an absolute error of s is a relative one of x.
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        diffrax.Kvaerno5(),
        jnp.zeros_like(t),
        jnp.where(t > 0, t, jnp.ones_like(t)),
        None,
        jnp.zeros_like(targets),
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        max_steps=16384,
        throw=False,
    )
    assert solution.ys is not None
    ended = jnp.where(diffrax.is_successful(solution.result), solution.ys[-1], jnp.nan)
    s = jnp.where(t > 0, ended, jnp.zeros_like(ended))
    return jnp.where(present, point(s), -jnp.inf)
