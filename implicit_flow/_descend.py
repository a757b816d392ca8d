"""`descend`: the discrete algorithm."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike

from . import _checks
from ._alpha import log_scale
from ._compiled import compiled
from ._results import RESULTS, select
from ._simulate import notes, repr_of
from ._solution import Solution
from ._types import Residual, Scalar
from .flows import AbstractFlow, generator, predict
from .parametrizations import AbstractParametrization
from .problems import Problem


def descend(
    problem: Problem,
    flow: AbstractFlow,
    optimizer: optax.GradientTransformation,
    *,
    alpha: ArrayLike | None = None,
    log10_alpha: ArrayLike | None = None,
    init: Any = None,
    num_steps: int,
    saveat: ArrayLike | Sequence[int] | None = None,
    throw: bool = True,
) -> Solution:
    r"""Run an Optax optimizer on the parameter of a flow, as one compiled loop.

    The optimizer is handed minus the field of the flow, so that plain gradient descent with step h
    is the explicit Euler method with step h. For the factor flow that is half of the gradient of
    $\tfrac12\|A(UU^\top) - y\|^2$.

    Args:
        problem: what to fit.
        flow: gives the parameter and its start; `MatrixFlow` and `SteeredFlow` have none.
        optimizer: any Optax gradient transformation.
        alpha: the scale of X0; exactly one of `alpha` and `log10_alpha`, neither for
            `EuclideanFlow`, which here is gradient descent on X from 0.
        log10_alpha: its logarithm to base 10. A start that underflows is refused.
        init: the parameter at scale one; see `simulate`.
        num_steps: how many steps to take, at least 1.
        saveat: increasing step numbers in 0..num_steps at which to keep X, residual and dual,
            shape (k,), integers.
        throw: raise where X is no longer finite; otherwise it is in `.result`.

    Returns:
        The solution. Its times are running sums of learning rates: those of
        `optax.inject_hyperparams` where the optimizer has them, else the effective ones, that is
        the length of the update along the negative gradient over the length of the gradient, which
        for plain gradient descent is the learning rate. `.dual` sums minus the residual over these
        times. `.error_estimate` is nan: the algorithm is followed exactly, up to rounding.

    Raises:
        ValueError: an argument that cannot be; the message says which and what to do.
        RuntimeError: (Equinox's) if `throw` and the iteration diverged.

    Example:
        >>> import jax.numpy as jnp, optax, implicit_flow as imf
        >>> A = imf.measurements.DenseMeasurement(jnp.array([[[2.0, 0.0], [0.0, 1.0]]]))
        >>> problem = imf.Problem(A, jnp.array([1.0]))
        >>> flow = imf.flows.FactorFlow()
        >>> sol = imf.descend(problem, flow, optax.sgd(0.01), alpha=0.1, num_steps=2000)
        >>> bool(jnp.abs(sol.nuclear_norm - 0.6) < 1e-3)
        True
    """
    _checks.instance(problem, "problem", Problem, "Make one with `Problem(measurement, targets)`.")
    _checks.instance(flow, "flow", AbstractFlow)
    parametrization = flow.parametrization
    if parametrization is None:
        _checks.refuse(
            "flow",
            "have a parameter to descend on",
            f"is {type(flow).__name__}",
            "Use FactorFlow: its X moves as that of MatrixFlow as the step goes to zero.",
        )
    if not hasattr(optimizer, "init") or not hasattr(optimizer, "update"):
        _checks.refuse(
            "optimizer",
            "be an Optax gradient transformation",
            f"is {type(optimizer).__name__}",
            "For instance `optax.sgd(1e-2)`.",
        )
    flow.check(problem, t1=None)
    _checks.at_least(num_steps, "num_steps", 1)
    steps = _save_steps(saveat, num_steps)
    dtype = problem.measurement.dtype
    log_alpha, valid = jnp.zeros((), dtype), jnp.array(True)
    if flow.needs_alpha:
        log_alpha, valid = log_scale(alpha, log10_alpha, dtype)
    elif alpha is not None or log10_alpha is not None:
        _checks.refuse(
            "alpha", f"be left out for {type(flow).__name__}, which starts at 0", "is given"
        )
    theta = parametrization.init(problem.dim, log_alpha, init, dtype)
    if flow.needs_alpha and parametrization.underflows(theta):
        _checks.refuse(
            "log10_alpha",
            f"leave the start representable in {jnp.dtype(dtype).name}",
            "makes it underflow to zero",
            "Discrete steps cannot go below the range of floats; `simulate` can.",
        )

    theta, time, dual, kept = _iterate(problem, flow, optimizer, theta, num_steps, steps)
    X, r = _observe(problem, flow, theta)
    finite = jnp.all(jnp.isfinite(X)) & jnp.all(jnp.isfinite(r))
    result = select(finite, RESULTS.successful, RESULTS.nonfinite)
    result = select(valid, result, RESULTS.invalid_input)
    vector = flow.is_vector
    matrix = jnp.diag(X) if vector else X
    saved: Any = kept if saveat is not None else (None, None, None, None)
    Xs = jax.vmap(jnp.diag)(saved[0]) if vector and saved[0] is not None else saved[0]
    sol = Solution(
        X=matrix,
        residual=r,
        residual_norm=problem.misfit((matrix + matrix.T) / 2),
        dual=dual,
        x=X if vector else None,
        time=time,
        log10_alpha=log_alpha / np.asarray(np.log(10.0), dtype)
        if flow.needs_alpha
        else jnp.full_like(log_alpha, jnp.nan),
        ts=saved[3],
        Xs=Xs,
        residuals=saved[1],
        duals=saved[2],
        log_eigenvalues=None,
        error_estimate=jnp.full_like(time, jnp.nan),
        error_estimates=None if saved[3] is None else jnp.full_like(saved[3], jnp.nan),
        result=result,
        stats={name: jnp.asarray(num_steps) for name in ("num_steps", "num_accepted_steps")},
        flow=repr_of(flow),
        solver="Optax",
        notes=notes(flow, problem, init),
        semidefinite=flow.is_semidefinite,
        block=getattr(problem.measurement, "block", None),
    )
    return sol.raise_if_failed() if throw else sol


@compiled
def _iterate(
    problem: Problem,
    flow: AbstractFlow,
    optimizer: optax.GradientTransformation,
    theta: Any,
    num_steps: int,
    saved_steps: Array,
) -> tuple[Any, Scalar, Residual, Any]:
    """The loop: (parameter, sum of rates, dual, what was kept at the steps to save)."""

    def step(carry: Any, _: None) -> tuple[Any, None]:
        theta, state, time, dual, count, kept = carry
        X, r = _observe(problem, flow, theta)
        kept = _keep(kept, saved_steps, count, (X, r, dual, time))
        field = _parametrization(flow).velocity(theta, generator(problem, r, vector=flow.is_vector))
        gradient = jax.tree.map(jnp.negative, field)
        # Optax mixes types inside (counters, schedules): a caller's strictness is not for it.
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradient, state, theta)
        rate = _rate(state, updates, gradient).astype(time.dtype)
        theta = optax.apply_updates(theta, updates)
        return (theta, state, time + rate, dual - rate * r, count + 1, kept), None

    X0, r0 = _observe(problem, flow, theta)
    zero = jnp.zeros((), r0.dtype)
    kept = jax.tree.map(
        lambda leaf: jnp.zeros((*saved_steps.shape, *leaf.shape), leaf.dtype), (X0, r0, r0, zero)
    )
    start = (theta, optimizer.init(theta), zero, jnp.zeros_like(r0), jnp.zeros((), int), kept)
    (theta, _, time, dual, count, kept), _ = jax.lax.scan(step, start, None, length=num_steps)
    X, r = _observe(problem, flow, theta)
    return theta, time, dual, _keep(kept, saved_steps, count, (X, r, dual, time))


def _parametrization(flow: AbstractFlow) -> AbstractParametrization:
    assert flow.parametrization is not None  # seen to by `descend`
    return flow.parametrization


def _observe(problem: Problem, flow: AbstractFlow, theta: Any) -> tuple[Array, Residual]:
    X = _parametrization(flow).unknown(theta)
    return X, problem.loss.residual(predict(problem, X), problem.targets)


def _save_steps(saveat: Any, num_steps: int) -> Array:
    if saveat is None:
        return jnp.zeros(0, int)
    steps = np.asarray(saveat)
    if steps.ndim != 1 or steps.size == 0 or not np.issubdtype(steps.dtype, np.integer):
        _checks.refuse("saveat", "hold step numbers, integers of shape (k,)", f"is {saveat!r}")
    if np.any(np.diff(steps) < 0) or steps[0] < 0 or steps[-1] > num_steps:
        _checks.refuse("saveat", f"increase within 0..num_steps = {num_steps}", f"is {steps}")
    return jnp.asarray(steps, int)


def _keep(kept: Any, steps: Array, count: Array, now: Any) -> Any:
    """Write what holds now into the rows of the steps that are saved at this count."""
    here = steps == count
    return jax.tree.map(
        lambda rows, value: jnp.where(here.reshape((-1,) + (1,) * value.ndim), value[None], rows),
        kept,
        now,
    )


def _rate(state: Any, updates: Any, gradient: Any) -> Scalar:
    """The learning rate of a step; see `descend`."""
    for _, injected in optax.tree_utils.tree_get_all_with_path(state, "learning_rate"):
        if isinstance(injected, jax.Array):
            return injected
    along = sum(
        jnp.sum(u * g)
        for u, g in zip(jax.tree.leaves(updates), jax.tree.leaves(gradient), strict=True)
    )
    square = sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient))
    return -along / jnp.where(square > 0, square, 1)
