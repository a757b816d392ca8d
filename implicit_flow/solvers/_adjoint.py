"""The transpose of an integration's derivative, step by step from the end."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ..linalg import GradedTangent, factor_tangent, zero_tangent
from ._branch import propagate_cotangent
from ._derivative import (
    History,
    finish,
    first_carried,
    save_maps,
    save_share,
    start_tangent,
    step_maps,
)
from ._path import Inputs, Path
from ._record import read
from ._tableau import WEIGHTS


class _Backward(eqx.Module):
    index: Int[Array, ""]
    state: GradedTangent
    dual: Float[Array, " m"]
    term: PyTree


def _add(first: PyTree, second: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: a + b, first, second)


def pull_back(history: History, cotangents: Path) -> Inputs:
    """The transpose of `push_forward`.

    Args:
        history: the recorded integration.
        cotangents: of its path.

    Returns:
        The cotangents of its inputs.
    """
    dynamic = eqx.filter(history.inputs.term, eqx.is_inexact_array)
    zeros = jax.tree.map(jnp.zeros_like, eqx.filter(history.inputs, eqx.is_inexact_array))
    example = first_carried(history, zeros)
    finishing = jax.linear_transpose(
        lambda tangents, carried: finish(history, tangents, carried), zeros, example
    )
    direct, carried = finishing(cotangents)

    def step(carry: _Backward) -> _Backward:
        index = carry.index - 1
        entry = read(history.record, history.end.graded, history.served, index)
        maps = step_maps(history, entry)
        always = jnp.ones((), bool)
        state, generators = propagate_cotangent(
            entry.graded, carry.state, maps.powers.parts, always
        )
        _, pull = jax.vjp(maps.generators, entry.residuals, dynamic)
        residuals, term = pull(generators)
        term = _add(carry.term, term)
        weights = entry.step * jnp.asarray(WEIGHTS, entry.step.dtype)
        residuals = residuals - weights[:, None] * carry.dual[None, :]
        last = jnp.where(index + 1 == history.record.count, carried.force, 0.0)
        residuals = residuals.at[2].add(last)

        def save(inner):
            index, state, residuals, term, dual = inner
            cotangent = jax.tree.map(lambda b: b[index], carried.saved)
            powers, partial = save_maps(history, entry, index)
            before, generators = propagate_cotangent(entry.graded, cotangent, powers.parts, always)
            _, pull = jax.vjp(partial, entry.residuals, dynamic)
            more, direct = pull(generators)
            share = save_share(history, entry, index)
            more = more - share[:, None] * carried.duals[index][None, :]
            return (
                index + 1,
                _add(state, before),
                residuals + more,
                _add(term, direct),
                dual + carried.duals[index],
            )

        dual = carry.dual
        if history.inputs.save_ts.shape[0] > 0:
            _, state, residuals, term, dual = jax.lax.while_loop(
                lambda c: c[0] < entry.saved_after,
                save,
                (entry.saved, state, residuals, term, dual),
            )

        factor = jnp.where(entry.linear, 0.0, entry.graded.factor)
        _, pull_stages = jax.vjp(maps.defect, entry.residuals, factor, dynamic)
        weight = maps.solver.solve_transposed(lambda w: pull_stages(w)[0], residuals)
        _, moved, direct = pull_stages(-weight)
        moved = jnp.where(entry.linear, 0.0, moved)
        turned = jax.linear_transpose(
            lambda t: factor_tangent(entry.graded, t), zero_tangent(entry.graded)
        )
        return _Backward(
            index=index,
            state=_add(state, turned(moved)[0]),
            dual=dual,
            term=_add(term, direct),
        )

    first = _Backward(
        index=history.record.count,
        state=carried.state,
        dual=carried.dual,
        term=eqx.filter(direct.term, eqx.is_inexact_array),
    )
    last = jax.lax.while_loop(lambda c: c.index > 0, step, first)
    starting = jax.linear_transpose(lambda tangents: start_tangent(history, tangents), zeros)
    (begin,) = starting(last.state)
    total = _add(direct, begin)
    return eqx.tree_at(lambda i: i.term, total, last.term)
