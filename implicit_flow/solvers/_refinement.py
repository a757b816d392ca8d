"""Runs at decreasing tolerance, until their difference meets the tolerance that was asked for."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._errors_along import largest_along
from ._goal import Goal
from ._path import Inputs
from ._radau import ResidualRadau
from ._run import first_state, run
from ._run_state import RunState
from ._start import Start, start
from ._uncoupled import Uncoupled


# Ratio of successive step tolerances.
_REDUCTION = 0.1
# Size of the perturbation of the data, in units of rounding: above what the data and the arithmetic
# of a step carry, so that its two signs are on the two sides of the truth, and far below `rtol`.
_LEAST_ROUNDINGS, _MOST_ROUNDINGS = 2.0, 500.0
_ROUNDINGS_PER_ROOT = 0.0075
# The frame has no more than rounding, lest the identity be taken for something else.
_FRAME_ROUNDINGS = 2.0
# Two runs may agree by chance: of 216 measured ones the finer was off by up to 17 times the
# distance of the first pair, or 6 times that of a later one, where the distances tell together. The
# tail is long, and no factor covers it; these leave two (docs/decisions/error_estimates.md).
_FIRST_PAIR = 16.0
# And the closer the first pair, the likelier by chance: at least this much of the geometric mean of
# its distance and `rtol`. Where that leaves too little of `rtol`, a third run decides.
_CHANCE, _MOST_BY_CHANCE = 8.0, 0.99
_LATER_PAIR = 4.0
_PAIR_BEFORE = 1.0
# Share of `rtol` that the difference may take; the rest is for what else the estimate adds.
_DIFFERENCE_SHARE = 0.8


class Refined(eqx.Module):
    """The finest run, and what its error is known to be.

    `sensitivity` bounds the part of the error that is due to rounding of the data; `perturbation`
    is the relative change of the data with which the run was made, of the order of rounding;
    `along` is the distance to the run before, at the save times. `chance` is the least
    that the error is estimated at, as two runs may agree by chance.
    """

    state: RunState
    tolerance: Float[Array, ""]
    perturbation: Float[Array, ""]
    difference: Float[Array, ""]
    chance: Float[Array, ""]
    sensitivity: Float[Array, ""]
    along: Float[Array, " k"]
    total_steps: Int[Array, ""]
    num_runs: Int[Array, ""]


class _Progress(eqx.Module):
    finest: Refined
    gap: Float[Array, ""]
    tolerance: Float[Array, ""]
    settled: Bool[Array, ""]
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


def perturb_data(term: PyTree, frame: Array, size: Float[Array, ""]) -> tuple[PyTree, Array]:
    """The data of a flow, changed by rounding.

    Args:
        term: the flow.
        frame: U at scale one.
        size: relative size of the change, of either sign.

    Returns:
        Both, changed.
    """
    rounding = _FRAME_ROUNDINGS * jnp.finfo(frame.dtype).eps
    return perturb(term, size), perturb(frame, jnp.clip(size, -rounding, rounding))


def refine(
    inputs: Inputs,
    solver: ResidualRadau,
    begin: Start,
    goal: Goal,
    rtol: Float[Array, ""],
    uncoupled: Uncoupled | None = None,
) -> Refined:
    """Integrate until two runs of different tolerance agree to `rtol`.

    Every run has its data changed by a few units of rounding, with alternating sign: runs that
    agree have shown that neither the step tolerance nor the conditioning does harm. Where they do
    not, the last run is repeated with the other sign, and what that changes is the conditioning.
    Where rounding couples what may not be coupled at all, every change couples it, and two of them
    may agree: the last run is repeated without.

    Where X is saved on the way, runs go on until the path agrees as well, or cannot be made to.

    Args:
        inputs: the data.
        solver: the options.
        begin: the start of the unperturbed flow.
        goal: what to reach.
        rtol: relative accuracy of X.
        uncoupled: the data without what rounding alone couples, if that is known.

    Returns:
        The finest run.
    """
    dtype = begin.force.dtype
    eps = jnp.finfo(dtype).eps
    roundings = _ROUNDINGS_PER_ROOT * jnp.sqrt(rtol / eps)
    size = (eps * jnp.clip(roundings, _LEAST_ROUNDINGS, _MOST_ROUNDINGS)).astype(dtype)

    no = jnp.zeros((), bool)
    suspect = no if uncoupled is None else uncoupled.differs

    def prepared(tolerance, perturbation, apart):
        term, frame = perturb_data(inputs.term, inputs.frame, perturbation)
        if uncoupled is not None:
            term, frame = uncoupled.data_or((term, frame), use=apart)
        at = start(term, frame, inputs.log_alpha)
        return term, solver, at, at_tolerance(goal, tolerance, rtol), inputs.save_ts

    def path_of(state: RunState, apart: Bool[Array, ""]) -> Float[Array, "k n p"]:
        """Factors of X at the save times."""
        factors = jax.vmap(inputs.term.whole)(state.saved.graded.factor)
        if uncoupled is None:
            return factors
        return jnp.where(apart, uncoupled.basis @ factors, factors)

    def body(progress: _Progress) -> _Progress:
        old, checking = progress.finest, progress.checking
        first = old.num_runs == 0
        tolerance = jnp.where(checking, old.tolerance, progress.tolerance)
        perturbation = jnp.where(first, size, -old.perturbation)
        apart = checking & suspect
        state = run(*prepared(tolerance, perturbation, apart), ~progress.finished)
        end = inputs.term.whole(state.factor)
        if uncoupled is not None:
            end = jnp.where(apart, uncoupled.basis @ end, end)
        gap = distance(end, inputs.term.whole(old.state.factor))
        usable = state.ended & old.state.ended & jnp.isfinite(gap)
        gap = jnp.where(first | ~usable, jnp.inf, gap)
        along = jax.vmap(distance)(path_of(state, apart), path_of(old.state, no))
        along = jnp.where(first | ~jnp.isfinite(along), jnp.inf, along)

        later = jnp.maximum(_LATER_PAIR * gap, _PAIR_BEFORE * progress.gap)
        second = ~jnp.isfinite(progress.gap)
        difference = jnp.where(second, _FIRST_PAIR * gap, later)
        chance = _CHANCE * jnp.sqrt(jnp.where(second & jnp.isfinite(gap), gap, 0.0) * rtol)
        exhausted = old.num_runs >= solver.refinements
        believed = exhausted | (chance <= _MOST_BY_CHANCE * rtol)
        settled = ~first & (difference <= _DIFFERENCE_SHARE * rtol) & believed
        met = settled & (exhausted | (largest_along(along) <= rtol))
        # A finer run for the path alone spoils no end that was met without it, but tells of it.
        long = state.counts.accepted > solver.recorded_steps
        spoilt = progress.settled & ~checking & (~settled | long)
        failed = ~first & state.failed & ~spoilt
        # A finer run along a norm that grows forever ends in the limit of its steps.
        diverges = ~first & old.state.diverges & ~spoilt
        lost = spoilt | (diverges & ~state.ended)
        met = met | spoilt
        new = Refined(
            state=state,
            tolerance=tolerance,
            perturbation=perturbation,
            difference=difference,
            chance=jnp.minimum(chance, _MOST_BY_CHANCE * rtol),
            sensitivity=gap,
            along=along,
            total_steps=old.total_steps,
            num_runs=old.num_runs,
        )
        # Runs that differ by what rounding couples, and by its sign, say so together.
        told = jnp.where(spoilt & ~usable, 0.0, gap)
        seen = jnp.where(suspect | spoilt, jnp.maximum(told, old.sensitivity), gap)
        worse = jnp.where(checking, jnp.maximum(along, old.along), old.along)
        checked = eqx.tree_at(lambda r: (r.sensitivity, r.along), old, (seen, worse))
        finest = jax.tree.map(lambda a, b: jnp.where(checking | lost, a, b), checked, new)
        finest = eqx.tree_at(
            lambda r: (r.total_steps, r.num_runs),
            finest,
            (
                old.total_steps + state.counts.accepted + state.counts.rejected,
                old.num_runs + 1,
            ),
        )
        return _Progress(
            finest=finest,
            gap=gap,
            tolerance=progress.tolerance * _REDUCTION,
            settled=settled,
            checking=((exhausted & ~met) | (suspect & met)) & ~failed & ~diverges & ~checking,
            finished=checking | (met & ~suspect) | failed | diverges,
        )

    infinite = jnp.asarray(jnp.inf, dtype)
    # Of the first state and not of the last one, which would trace the steps once more.
    blank = jax.eval_shape(lambda: first_state(*prepared(rtol, size, no), None))
    zero = jnp.zeros((), jnp.int32)
    nothing = Refined(
        state=jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), blank),
        tolerance=infinite,
        perturbation=size,
        difference=infinite,
        chance=jnp.zeros((), dtype),
        sensitivity=infinite,
        along=jnp.full(inputs.save_ts.shape, jnp.inf, dtype),
        total_steps=zero,
        num_runs=zero,
    )
    progress = _Progress(nothing, infinite, first_tolerance(rtol), no, no, no)
    progress = jax.lax.while_loop(lambda p: ~p.finished, body, progress)
    return progress.finest


def at_tolerance(goal: Goal, tolerance: Float[Array, ""], rtol: Float[Array, ""]) -> Goal:
    """What a run of some step tolerance is to reach.

    Caps on the step shrink with the tolerance: where they, and not the tolerance, decide, two runs
    would otherwise take the same steps, and agree whatever their error.

    Args:
        goal: of all runs.
        tolerance: of the steps of this one.
        rtol: relative accuracy of X that was asked for.

    Returns:
        The goal of this run.
    """
    shortening = (tolerance / first_tolerance(rtol)) ** 0.25
    return eqx.tree_at(lambda g: (g.tolerance, g.shortening), goal, (tolerance, shortening))


def first_tolerance(rtol: Float[Array, ""]) -> Float[Array, ""]:
    """The step tolerance of the coarsest run.

    Args:
        rtol: relative accuracy of X that was asked for.

    Returns:
        The tolerance.
    """
    return jnp.clip(10 * jnp.sqrt(rtol), 1e-7, 1e-2)
