"""Explicit runs at decreasing tolerance, until they agree to the tolerance that was asked for."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._chebyshev import RungeKuttaChebyshev
from ._congruence_term import CongruenceTerm
from ._explicit_run import run_explicitly
from ._explicit_state import ExplicitState
from ._goal import Goal
from ._low_rank import low_rank_distance
from ._refinement import perturb


_REDUCTION = 0.1
# Step tolerance of the coarsest run over `rtol`: errors along the path mostly do not survive to
# its end. Measured, 3 x 3 to 1000 x 1000: two runs then differ by a hundredth to a tenth of rtol.
_FIRST_TOLERANCE = 10.0
# The coarsest run has this perturbation of its data, and a seed of this size in U, in rounding.
_ROUNDINGS = 2.0
_SEED = 30.0


class ExplicitInputs(eqx.Module):
    """What is integrated: a flow from sqrt(alpha) times a frame, to a time, with times to save."""

    term: CongruenceTerm
    frame: Float[Array, "n d"]
    log_alpha: Float[Array, ""]
    t1: Float[Array, ""]
    save_ts: Float[Array, " k"]

    @property
    def start(self) -> Float[Array, "n d"]:
        """U at time 0."""
        return jnp.exp(0.5 * self.log_alpha) * self.frame


class ExplicitRefined(eqx.Module):
    """The finest run, how far the one before was from it, and what all of them took.

    `sensitivity` is what rounding of the data changes, and `along` the distance to the run before
    at the save times.
    """

    state: ExplicitState
    coarser: tuple[Float[Array, "n d"], Float[Array, "k n d"]]
    tolerance: Float[Array, ""]
    difference: Float[Array, ""]
    sensitivity: Float[Array, ""]
    along: Float[Array, " k"]
    total_steps: Int[Array, ""]
    total_evaluations: Int[Array, ""]
    num_runs: Int[Array, ""]
    checking: Bool[Array, ""]
    finished: Bool[Array, ""]


def natural_size(term: CongruenceTerm, start: Float[Array, "n d"]) -> Float[Array, ""]:
    """Trace X at which A(X) is comparable to the targets, or of the start where there are none.

    Args:
        term: the flow.
        start: U at time 0.

    Returns:
        The trace.
    """
    tiny = jnp.finfo(start.dtype).tiny
    top = jnp.maximum(jnp.max(jnp.abs(start)), tiny)
    unit = start / top
    per_target = term.scale * jnp.sum(unit**2)
    per_target = per_target / jnp.maximum(jnp.linalg.norm(term.predict(unit)), tiny)
    size = jnp.sum(start**2)
    return jnp.where(term.scale > 0, jnp.maximum(per_target, size), size)


def refine_explicitly(
    inputs: ExplicitInputs, solver: RungeKuttaChebyshev, goal: Goal, rtol: Float[Array, ""]
) -> ExplicitRefined:
    """Integrate until two runs of different tolerance agree to `rtol`.

    The first run is the coarsest; its data are perturbed by a few units of rounding, and rounding
    in the size of the end is added to its start, which is what directions of U that sink below it
    suffer. If the second agrees with it, none of the three matters. Otherwise the tolerance is
    reduced until successive runs agree, and the perturbation is then tried by itself.

    Args:
        inputs: the data.
        solver: the options.
        goal: what to reach.
        rtol: relative accuracy of X.

    Returns:
        The finest run.
    """
    dtype = inputs.frame.dtype
    eps = jnp.finfo(dtype).eps
    start = inputs.start
    seed = _SEED * eps * jnp.sqrt(natural_size(inputs.term, start) / start.size)
    signs = perturb(jnp.ones_like(start), jnp.ones((), dtype)) - 1

    def attempt(tolerance, perturbed, enabled) -> ExplicitState:
        size = jnp.where(perturbed, _ROUNDINGS * eps, 0.0).astype(dtype)
        term, at = perturb((inputs.term, start), size)
        at = at + jnp.where(perturbed, seed, 0.0) * signs
        # Where the times to stop at, and not the tolerance, decide the steps, two runs would take
        # the same ones, and agree whatever their error: half as long for a tenth of the tolerance.
        halvings = jnp.round(jnp.log10(tolerance / _first_tolerance(rtol)))
        finer = eqx.tree_at(
            lambda g: (g.tolerance, g.shortening), goal, (tolerance, jnp.exp2(halvings))
        )
        return run_explicitly(term, solver, at, finer, inputs.save_ts, enabled)

    def body(progress: ExplicitRefined) -> ExplicitRefined:
        first, second = progress.num_runs == 0, progress.num_runs == 1
        checking = progress.checking
        # A check repeats the tolerance of the run before the finest.
        reduced = jnp.where(first, 1.0, jnp.where(checking, 1 / _REDUCTION, _REDUCTION))
        tolerance = progress.tolerance * reduced
        state = attempt(tolerance, first | checking, ~progress.finished)
        last = (progress.state.factor, progress.state.kept.motion.factor)
        old = jax.tree.map(lambda a, b: jnp.where(checking, a, b), progress.coarser, last)
        gap = low_rank_distance(state.factor, old[0])
        gap = jnp.where(state.ended & jnp.isfinite(gap), gap, jnp.inf)
        # Two runs to X = 0 agree, whatever the ratio of what is left of them.
        gap = jnp.where(state.vanished & progress.state.vanished, 0.0, gap)
        difference = jnp.where(first, jnp.inf, jnp.where(checking, progress.difference, gap))
        sensitivity = jnp.where(checking | second, gap, progress.sensitivity)
        apart = jax.vmap(low_rank_distance)(state.kept.motion.factor, old[1])
        apart = jnp.where(first | ~jnp.isfinite(apart), jnp.inf, apart)
        apart = jnp.where(checking, jnp.maximum(progress.along, apart), apart)
        met = ~first & (difference <= 0.9 * rtol)
        exhausted = progress.num_runs >= solver.refinements
        over = met | exhausted
        kept = jax.tree.map(lambda a, b: jnp.where(checking, a, b), progress.state, state)
        return ExplicitRefined(
            state=kept,
            coarser=old,
            tolerance=jnp.where(checking, progress.tolerance, tolerance),
            difference=difference,
            sensitivity=sensitivity,
            along=apart,
            total_steps=progress.total_steps + state.counts.accepted + state.counts.rejected,
            total_evaluations=progress.total_evaluations + state.counts.evaluations,
            num_runs=progress.num_runs + 1,
            checking=~checking & ~first & ~second & over,
            finished=checking | (second & over) | (~first & state.failed),
        )

    blank = jax.eval_shape(lambda: attempt(rtol, jnp.asarray(True), jnp.asarray(True)))
    state = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), blank)
    none, infinite = jnp.zeros((), jnp.int32), jnp.asarray(jnp.inf, dtype)
    no = jnp.zeros((), bool)
    progress = ExplicitRefined(
        state,
        (state.factor, state.kept.motion.factor),
        _first_tolerance(rtol),
        infinite,
        infinite,
        jnp.full(inputs.save_ts.shape, jnp.inf, dtype),
        none,
        none,
        none,
        no,
        no,
    )
    return jax.lax.while_loop(lambda p: ~p.finished, body, progress)


def _first_tolerance(rtol: Float[Array, ""]) -> Float[Array, ""]:
    """The step tolerance of the coarsest run."""
    return jnp.clip(_FIRST_TOLERANCE * rtol, 1e-10, 1e-2)
