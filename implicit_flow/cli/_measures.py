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
        lambda problem, solution: convex.duality_gap(problem, solution.X, solution.dual),
        # Without any lower bound the gap is infinite, and that is the answer.
        sweeps.Output(
            description="nuclear norm above its certified minimum, relative", may_be_nonfinite=True
        ),
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
