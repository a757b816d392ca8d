"""What a study can measure at the end of a flow; traceable, unlike `certify`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from .. import convex, sweeps


class Measure(NamedTuple):
    """A number or an array that a problem and its solution give."""

    of: Callable[[Any, Any], Any]
    output: sweeps.Output


def _truth_error(problem: Any, solution: Any) -> Any:
    truth = problem.ground_truth
    return jnp.linalg.norm(solution.X - truth) / jnp.linalg.norm(truth)


# Eigenvalues of X below these shares of the largest are taken for remains of the start.
_RANKS_AT = (1e-2, 1e-4, 1e-7)


def _gap(problem: Any, solution: Any) -> Any:
    r"""The best of a few bounds, each of which holds by itself.

    The dual that the flow has accumulated is a rough one. At a minimum some nu has
    $A^*(\nu)X = X$ and $A^*(\nu) \le I$: the nearest to the flow's own, with X cut to its rank, is
    often exact.
    """
    A, X = problem.measurement, solution.X
    nu = solution.dual
    top = jnp.linalg.eigvalsh(A.adjoint(nu))[-1]
    start = jnp.where(top > 0, nu / jnp.where(top > 0, top, 1), jnp.zeros_like(nu))
    stack = A.as_stack()
    values, vectors = jnp.linalg.eigh(X)
    largest = jnp.maximum(values[-1], jnp.finfo(X.dtype).tiny)
    gaps = [_gap_by(problem, X, nu)]
    for share in _RANKS_AT:
        kept = jnp.where(values > share * largest, values / largest, 0)
        cut = (vectors * kept[None, :]) @ vectors.T
        rows = jnp.einsum("kij,jl->kil", stack, cut).reshape(stack.shape[0], -1)
        missing = cut - A.adjoint(start) @ cut
        step = jnp.linalg.lstsq(rows.T, missing.reshape(-1))[0]
        gaps.append(_gap_by(problem, X, start + step))
    # A fit that is no number proves nothing; the others stand.
    return jnp.nanmin(jnp.stack(gaps))


def _gap_by(problem: Any, X: Any, nu: Any) -> Any:
    """The gap that nu proves, for the targets and for those that X meets exactly: the larger."""
    bound = convex.dual_bound(problem, nu)
    top = jnp.linalg.eigvalsh(problem.measurement.adjoint(nu))[-1]
    misfit = jnp.dot(nu, problem.measurement.apply(X) - problem.targets)
    slack = jnp.abs(misfit) / jnp.where(top > 0, top, 1)
    number = jnp.finfo(X.dtype)
    gap = (jnp.trace(X) - bound + slack) / jnp.maximum(bound, number.tiny)
    return jnp.maximum(gap, number.eps)


MEASURES = {
    "residual_norm": Measure(
        lambda problem, solution: solution.residual_norm,
        sweeps.Output(description="||A(X) - y|| / ||y||"),
    ),
    "nuclear_norm": Measure(
        lambda problem, solution: solution.nuclear_norm,
        sweeps.Output(description="sum of the singular values of X"),
    ),
    "gap": Measure(
        _gap,
        # Without any lower bound the gap is infinite, and that is the answer.
        sweeps.Output(description="gap to the minimum, at most, relative", may_be_nonfinite=True),
    ),
    "truth_error": Measure(
        _truth_error, sweeps.Output(description="distance from the planted X, relative, Frobenius")
    ),
    "error_estimate": Measure(
        lambda problem, solution: solution.error_estimate,
        sweeps.Output(
            description="estimated error of X, relative, Frobenius", may_be_nonfinite=True
        ),
    ),
    "rank": Measure(
        lambda problem, solution: solution.rank(), sweeps.Output(description="numerical rank of X")
    ),
    "num_steps": Measure(
        lambda problem, solution: solution.stats["num_steps"],
        sweeps.Output(description="steps of the solver"),
    ),
    "X": Measure(
        lambda problem, solution: solution.X,
        sweeps.Output(description="the end of the flow", dims=("row", "column")),
    ),
}
DEFAULT_MEASURES = ("residual_norm", "nuclear_norm", "gap", "error_estimate", "num_steps")


def measure(problem: Any, solution: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Take the measures asked for.

    Args:
        problem: that was solved.
        solution: of `simulate`.
        names: keys of `MEASURES`.

    Returns:
        The measures by name, and the result code.
    """
    taken = {name: MEASURES[name].of(problem, solution) for name in names}
    return {**taken, "result": solution.result}
