"""Runs at decreasing tolerance, until their difference meets the tolerance that was asked for."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._path import Inputs
from ._radau import ResidualRadau
from ._run import Goal, RunState, run
from ._start import Start, start


# Ratio of successive step tolerances.
_REDUCTION = 0.1
# Size of the perturbation of the data, in units of rounding.
_ROUNDINGS = 2.0


class Refined(eqx.Module):
    """The finest run, and what its error is known to be."""

    state: RunState
    tolerance: Float[Array, ""]
    difference: Float[Array, ""]
    sensitivity: Float[Array, ""]
    total_steps: Int[Array, ""]
    num_runs: Int[Array, ""]


class _Progress(eqx.Module):
    state: RunState
    coarser: Float[Array, "n d"]
    tolerance: Float[Array, ""]
    difference: Float[Array, ""]
    sensitivity: Float[Array, ""]
    total_steps: Int[Array, ""]
    num_runs: Int[Array, ""]
    used: Float[Array, ""]
    checking: Bool[Array, ""]
    finished: Bool[Array, ""]


def perturb(tree: PyTree, size: Float[Array, ""]) -> PyTree:
    """Multiply every entry of every float array by 1 +- size, in a fixed pattern.

    Args:
        tree: any tree.
        size: relative size of the perturbation.

    Returns:
        The perturbed tree.
    """

    def one(leaf):
        if not eqx.is_inexact_array(leaf):
            return leaf
        index = jnp.arange(leaf.size, dtype=jnp.uint32) * jnp.uint32(2654435761)
        sign = jnp.where(((index >> 13) ^ (index >> 21)) & 1 == 1, 1.0, -1.0).astype(leaf.dtype)
        return leaf * (1 + size.astype(leaf.dtype) * sign.reshape(leaf.shape))

    return jax.tree.map(one, tree)


def distance(new: Float[Array, "n p"], old: Float[Array, "n p"]) -> Float[Array, ""]:
    """|X_new - X_old| relative to |X_new|; 0 where both vanish.

    Args:
        new: a factor of X_new.
        old: a factor of X_old, of any gauge.

    Returns:
        The relative distance.
    """
    first, second = new @ new.T, old @ old.T
    size = jnp.linalg.norm(first)
    gap = jnp.linalg.norm(first - second)
    return jnp.where(size > 0, gap / jnp.where(size > 0, size, 1.0), jnp.where(gap > 0, 1.0, 0.0))


def refine(
    inputs: Inputs,
    solver: ResidualRadau,
    begin: Start,
    goal: Goal,
    rtol: Float[Array, ""],
) -> Refined:
    """Integrate until two runs of different tolerance agree to `rtol`.

    The first run is the coarsest, and its data are perturbed by a few units of rounding: if the
    second agrees with it, both the step tolerance and the conditioning are known to be harmless.
    Otherwise the tolerance is reduced until successive runs agree, and the perturbation is then
    tried by itself.

    Args:
        inputs: the data.
        solver: the options.
        begin: the start of the unperturbed flow.
        goal: what to reach.
        rtol: relative accuracy of X.

    Returns:
        The finest run.
    """
    dtype = begin.force.dtype
    eps = jnp.finfo(dtype).eps

    def attempt(tolerance, perturbed, enabled) -> RunState:
        size = jnp.where(perturbed, _ROUNDINGS * eps, 0.0).astype(dtype)
        term, frame = perturb((inputs.term, inputs.frame), size)
        at = start(term, frame, inputs.log_alpha)
        finer = eqx.tree_at(lambda g: g.tolerance, goal, tolerance)
        return run(term, solver, at, finer, inputs.save_ts, enabled)

    def body(progress: _Progress) -> _Progress:
        first = progress.num_runs == 0
        second = progress.num_runs == 1
        perturbed = first | progress.checking
        # A check repeats the tolerance of the run before the finest.
        tolerance = jnp.where(
            progress.checking, progress.tolerance / _REDUCTION**2, progress.tolerance
        )
        state = attempt(tolerance, perturbed, ~progress.finished)
        against = jnp.where(progress.checking, progress.coarser, progress.state.factor)
        gap = distance(state.factor, against)
        usable = state.ended & jnp.isfinite(gap)
        gap = jnp.where(usable, gap, jnp.inf)

        checking = progress.checking
        difference = jnp.where(first, jnp.inf, jnp.where(checking, progress.difference, gap))
        sensitivity = jnp.where(checking, gap, jnp.where(second, gap, progress.sensitivity))
        met = ~first & (difference <= 0.9 * rtol)
        exhausted = progress.num_runs >= solver.refinements
        wants_check = ~checking & ~first & ~second & (met | exhausted)
        finished = checking | (second & met) | (second & exhausted) | (~first & state.failed)
        keep_old = checking
        new_state = jax.tree.map(lambda a, b: jnp.where(keep_old, a, b), progress.state, state)
        return _Progress(
            state=new_state,
            coarser=jnp.where(checking, progress.coarser, progress.state.factor),
            tolerance=progress.tolerance * _REDUCTION,
            difference=difference,
            sensitivity=sensitivity,
            total_steps=progress.total_steps + state.counts.accepted + state.counts.rejected,
            num_runs=progress.num_runs + 1,
            used=jnp.where(keep_old, progress.used, tolerance),
            checking=wants_check,
            finished=finished,
        )

    blank = jax.eval_shape(lambda: attempt(rtol, jnp.asarray(True), jnp.asarray(True)))
    state = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), blank)
    zero = jnp.zeros((), jnp.int32)
    infinite = jnp.asarray(jnp.inf, dtype)
    progress = _Progress(
        state=state,
        coarser=state.factor,
        tolerance=first_tolerance(rtol),
        difference=infinite,
        sensitivity=infinite,
        total_steps=zero,
        num_runs=zero,
        used=infinite,
        checking=jnp.zeros((), bool),
        finished=jnp.zeros((), bool),
    )
    progress = jax.lax.while_loop(lambda p: ~p.finished, body, progress)
    return Refined(
        progress.state,
        progress.used,
        progress.difference,
        progress.sensitivity,
        progress.total_steps,
        progress.num_runs,
    )


def first_tolerance(rtol: Float[Array, ""]) -> Float[Array, ""]:
    """The step tolerance of the coarsest run.

    Args:
        rtol: relative accuracy of X that was asked for.

    Returns:
        The tolerance.
    """
    return jnp.clip(10 * jnp.sqrt(rtol), 1e-7, 1e-2)
