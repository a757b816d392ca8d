"""The derivative of the limit, from that of the point at which an integration found it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._results import RESULTS
from .._types import Scalar
from ..problems import Problem
from ._base import AbstractFlow, Residual, predict, residual
from ._stationarity import approach, driven


# Up to which K, m x m, is decomposed into its directions, and up to which it is formed at all.
_FEW_MEASUREMENTS, _MANY_MEASUREMENTS = 200, 4000


def targets_met(
    problem: Problem, X: Float[Array, "..."], result: RESULTS, rtol: Scalar
) -> Bool[Array, ""]:
    """Whether a flow ended where its targets are met: those may be missed by little, for good.

    Args:
        problem: that was fitted.
        X: at the end, (n, n) or (n,).
        result: how the integration ended.
        rtol: the relative error of X that was asked for.

    Returns:
        True at a success, and where the end is one in all but its error.
    """
    others = (RESULTS.tolerance_not_met, RESULTS.ill_conditioned, RESULTS.vanished)
    possible = jnp.any(jnp.stack([jnp.asarray(result == other) for other in others]))
    near = jnp.linalg.norm(predict(problem, X) - problem.targets) <= rtol * problem.scale
    return (result == RESULTS.successful) | (possible & near)


def settled(
    flow: AbstractFlow,
    problem: Problem,
    state: Any,
    ended: tuple[Array, Residual, Residual],
    met: Bool[Array, ""],
) -> tuple[Array, Residual, Residual]:
    r"""X, residual and dual at rest, with the derivatives that they have at t = infinity.

    A flow is at rest when X is; its derivatives need not be. They obey the flow linearized about
    X, where targets that are met leave $\delta\dot X = -M\,\delta r$, $\delta r = A\,\delta X -
    \delta y$ and so $-MK^{-1}\delta r$, $K = AMA^*$, of their way, and the dual $-K^{-1}\delta r$.
    A flow that starts at rest has the whole of it before it, and one from a tiny start more than X
    has, in proportion to the logarithm of alpha. Values are as they were.

    Args:
        flow: that was integrated.
        problem: that it fits.
        state: in which it came to rest.
        ended: X, residual and dual there.
        met: whether the targets are met there, see `targets_met`; if not, nothing is changed.

    Returns:
        The same.
    """
    X, r, dual = ended
    misfit = predict(problem, X) - problem.targets
    fixed = jax.lax.stop_gradient((flow, problem, state, met))
    X, dual = _moved((X, dual, misfit), fixed)
    left = residual(problem, X)
    return X, jax.lax.stop_gradient(r) + (left - jax.lax.stop_gradient(left)), dual


@eqx.filter_custom_jvp
def _moved(ended: tuple[Array, Array, Array], fixed: Any) -> tuple[Array, Array]:
    del fixed
    return ended[0], ended[1]


@_moved.def_jvp
def _derivative(primals: Any, tangents: Any) -> Any:
    (X, dual, _), (flow, problem, state, met) = primals
    of_X, of_dual, of_misfit = (
        jnp.zeros_like(primal) if tangent is None else tangent
        for primal, tangent in zip(primals[0], tangents[0], strict=True)
    )
    w = _time_integral(flow, problem, state, of_misfit)
    w = jnp.where(met, w, 0)
    return (X, dual), (of_X + driven(flow, problem, state, w)[1], of_dual - w)


def _time_integral(flow: AbstractFlow, problem: Problem, state: Any, misfit: Residual) -> Residual:
    r"""What is to come of the integral of $\delta r$: $K^{-1}$ of it, but for rounding in K."""
    m = problem.num_measurements
    if m > _MANY_MEASUREMENTS:
        return jnp.zeros_like(misfit)
    K = approach(flow, problem, state)
    epsilon = m * jnp.finfo(misfit.dtype).eps
    if m > _FEW_MEASUREMENTS:
        # Directions within rounding are damped instead of left out, which is cheaper.
        mean = jnp.trace(K) / m
        damping = 10 * epsilon * jnp.where(mean > 0, mean, 1)
        damped = K + damping * jnp.eye(m, dtype=K.dtype)
        return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(damped), misfit)
    values, vectors = jnp.linalg.eigh(K)
    known = values > epsilon * values[-1]
    return vectors @ jnp.where(known, (vectors.T @ misfit) / jnp.where(known, values, 1), 0)
