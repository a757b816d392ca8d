"""The path of a flow as a function that can be differentiated in both modes."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._adjoint import pull_back
from ._derivative import History, push_forward
from ._goal import Goal
from ._path import Inputs, Path
from ._radau import ResidualRadau
from ._record import empty_record
from ._refinement import Refined, at_tolerance, perturb_data
from ._run import fill_saved, run
from ._run_state import RunState
from ._start import start


def path_of(state: RunState, goal: Goal) -> Path:
    """The path at the end of a run.

    Args:
        state: the end.
        goal: what the run was to reach.

    Returns:
        The path.
    """
    saved = fill_saved(state, goal)
    return Path(state.graded, state.force, state.dual, saved.graded, saved.duals)


@jax.custom_jvp
def _once(tree: PyTree) -> PyTree:
    return tree


@_once.defjvp
def _once_jvp(primals, tangents):
    raise NotImplementedError(
        "Argument `solver` must be a solver with second derivatives, but is ResidualRadau. Its "
        "derivative replays the recorded steps and cannot be differentiated again. Use "
        "`jax.jacfwd` twice through a stock Diffrax solver with `adjoint=diffrax.ForwardMode()`, "
        "or differences of first derivatives."
    )


def _linear_map(history: History, tangents: Inputs, anchor: Float[Array, ""]) -> Path:
    """`push_forward`, in a form whose transpose is `pull_back`.

    JAX knows one linear map with a transpose of the user's own that may also be batched: the
    solution of a linear system. The system here is the identity on pairs (inputs, path), and its
    "solution" sends (x, 0) to (0, J x); its transpose sends (0, y) to (J' y, 0). JAX transposes it
    only where every part of the right-hand side is linear, so that zeros are multiples of a
    tangent that is there.
    """
    zero_inputs = jax.tree.map(jnp.zeros_like, tangents)
    zero_path = jax.tree.map(jnp.zeros_like, history.end)
    right = jax.tree.map(lambda x: x + 0 * anchor.astype(x.dtype), (tangents, zero_path))

    def solve(_, pair):
        return zero_inputs, push_forward(history, pair[0])

    def transpose_solve(_, pair):
        return pull_back(history, pair[1]), zero_path

    _, path = jax.lax.custom_linear_solve(lambda pair: pair, right, solve, transpose_solve)
    return path


@eqx.filter_custom_jvp
def differentiable_path(
    inputs: Inputs, path: Path, solver: ResidualRadau, goal: Goal, refined: Refined
) -> Path:
    """The path, with the derivatives of the run that found it.

    Args:
        inputs: what the path depends on.
        path: the path that was found.
        solver: the options.
        goal: what the run was to reach, but for the tolerance.
        refined: the run.

    Returns:
        `path`.
    """
    del inputs, solver, goal, refined
    return path


@differentiable_path.def_jvp
def _differentiable_path_jvp(primals, tangents):
    inputs, path, solver, goal, refined = primals
    dynamic, static = eqx.partition(inputs, eqx.is_inexact_array)
    dynamic = _once(dynamic)
    inputs = eqx.combine(dynamic, static)

    def given(x, tangent):
        return tangent if tangent is not None or x is None else jnp.zeros_like(x)

    moved = jax.tree.map(given, dynamic, tangents[0], is_leaf=lambda x: x is None)
    history = _replay(inputs, path, solver, goal, refined)
    # A run longer than the record cannot be looked back on.
    complete = history.record.count <= solver.recorded_steps
    present = [t for t in jax.tree.leaves(tangents[0]) if t is not None]
    anchor = jnp.stack([jnp.sum(t) for t in present]).sum()
    result = _linear_map(history, moved, anchor)
    # A factor and not a choice: the transpose of a choice would be 0, and look like an answer.
    known = jnp.where(complete, 1.0, jnp.nan)
    return path, jax.tree.map(lambda x: x * known.astype(x.dtype), result)


def _replay(
    inputs: Inputs, path: Path, solver: ResidualRadau, goal: Goal, refined: Refined
) -> History:
    # The very run: with the data as they were changed for it.
    changed = perturb_data(inputs.term, inputs.frame, refined.perturbation)
    inputs = eqx.tree_at(lambda i: (i.term, i.frame), inputs, changed)
    begin = start(inputs.term, inputs.frame, inputs.log_alpha)
    same = at_tolerance(goal, refined.tolerance, goal.tolerance)
    record = empty_record(begin.graded, begin.force, solver.recorded_steps)
    state = run(inputs.term, solver, begin, same, inputs.save_ts, jnp.ones((), bool), record)
    assert state.record is not None
    return History(
        inputs=inputs,
        begin=begin,
        record=state.record,
        end=path,
        time=state.time,
        served=state.saved.count,
        spread=solver.spread,
    )
