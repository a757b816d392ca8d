"""What every method of recovery returns."""

import equinox as eqx
from jaxtyping import Array, Int

from .. import _checks
from .._types import Matrix, Scalar
from ..problems import Problem


class Recovered(eqx.Module):
    """A matrix that a method of recovery came to.

    Attributes:
        X: shape (n, n), symmetric.
        misfit: ||A(X) - y|| / ||y||.
        num_steps: how many steps were taken.
    """

    X: Matrix
    misfit: Scalar
    num_steps: Int[Array, ""]


def check(problem: Problem, rank: int) -> None:
    """Refuses what no method can work with.

    Args:
        problem: a problem.
        rank: of the matrix to look for.

    Raises:
        ValueError: not a problem, or a rank that is no integer from 1 to n.
    """
    _checks.instance(problem, "problem", Problem, "Make one with `Problem(measurement, targets)`.")
    _checks.at_least(rank, "rank", 1)
    if rank > problem.dim:
        _checks.refuse("rank", f"be at most dim = {problem.dim}", f"is {rank}")
