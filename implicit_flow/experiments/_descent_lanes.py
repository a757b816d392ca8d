"""Many runs of gradient descent with commuting measurements, in one compiled loop."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .. import _checks
from .._compiled import compiled
from .._descend import descend
from ..flows import FactorFlow
from ..problems import Problem


# Steps go on a fifth longer than the flow needs to come to rest.
_LONGER, _MOST_STEPS = 1.2, 2_000_000


class Lane(NamedTuple):
    """One run; `step` is the effective one, h / (1 - momentum)."""

    problem: Problem
    alpha: float
    frame: Any
    step: float
    momentum: float


def descended(lanes: Sequence[Lane], num_steps: int) -> list[tuple[Any, float]]:
    """Gradient descent with heavy-ball momentum.

    Args:
        lanes: with problems of one shape.
        num_steps: of all of them.

    Returns:
        X and the relative misfit, for each lane.
    """

    @compiled
    @jax.vmap
    def run(lane: Lane) -> Any:
        optimizer = optax.sgd(lane.step * (1 - lane.momentum), momentum=lane.momentum)
        sol = descend(
            lane.problem,
            FactorFlow(),
            optimizer,
            alpha=lane.alpha,
            init=lane.frame,
            num_steps=num_steps,
            throw=False,
        )
        return sol.X, sol.residual_norm

    Xs, misfits = run(jax.tree.map(lambda *leaves: jnp.stack(jnp.asarray(leaves)), *lanes))
    return list(zip(Xs, np.asarray(misfits), strict=True))


def steps_for(time: float, step: float) -> int:
    """How many steps take a run to rest.

    Args:
        time: that the flow needs.
        step: effective step size.

    Returns:
        Their number.

    Raises:
        ValueError: where they are too many.
    """
    number = math.ceil(_LONGER * time / step)
    if number > _MOST_STEPS:
        _checks.refuse(
            "step",
            f"reach the limit within {_MOST_STEPS} steps",
            f"needs {number} at {step:g}",
            "This instance converges slowly: use another seed, or fewer halvings.",
        )
    return number
