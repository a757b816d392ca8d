"""What every closed form asks of its problem before it answers."""

from typing import NoReturn

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import linprog

from .. import _checks
from .._types import Residual
from ..losses import Squared
from ..measurements import DiagonalMeasurement
from ..problems import Problem
from ._basis import is_traced
from ._manifold import Columns


def check(problem: Problem, *, in_time: bool) -> None:
    """Refuse what is no problem, and losses for which the closed form does not hold.

    Args:
        problem: measurement, targets, loss.
        in_time: whether a finite time is asked for, which holds for the squared loss alone.

    Raises:
        ValueError: in those cases.
    """
    _checks.instance(problem, "problem", Problem)
    if in_time and not isinstance(problem.loss, Squared):
        _checks.refuse(
            "t",
            "be None unless the loss is `losses.Squared()`",
            f"the loss is {type(problem.loss).__name__}",
            "Only the limit t -> infinity does not depend on the loss.",
        )
    if not problem.loss.has_finite_minimizer:
        _checks.refuse(
            "problem",
            "have a loss with a finite minimizer",
            f"{type(problem.loss).__name__} is least at infinity",
            "There is no limit to state.",
        )


def diagonal(problem: Problem) -> DiagonalMeasurement:
    """The measurement, refused unless it is diagonal.

    Args:
        problem: of a vector.

    Returns:
        The measurement.

    Raises:
        ValueError: a measurement of another kind.
    """
    measurement = problem.measurement
    _checks.instance(
        measurement,
        "problem.measurement",
        DiagonalMeasurement,
        "Vector flows take diagonal measurements.",
    )
    assert isinstance(measurement, DiagonalMeasurement)
    return measurement


def refuse_misfit(columns: Columns, theta: Float[Array, " k"], targets: Residual) -> None:
    """Refuse targets that the point found does not meet, with the reason.

    Args:
        columns: A of the vector problem, shape (m, k), restricted to coordinates that move.
        theta: the logarithm of the point found, shape (k,).
        targets: y.

    Raises:
        ValueError: where the point misses them.
    """
    if is_traced(columns, theta, targets):
        return
    A, y, x = np.asarray(columns, float), np.asarray(targets, float), np.exp(np.asarray(theta))
    A = A * (x.dtype.type(1) * np.isfinite(np.asarray(theta)))[None, :]
    scale = np.linalg.norm(A, axis=1) * float(np.max(x)) + np.abs(y)
    missing = np.abs(A @ x.astype(float) - y)
    eps = float(jnp.finfo(theta.dtype).eps)
    # X = 0 meets y = 0, in the limit of an endless descent.
    if np.all(missing <= eps**0.5 * scale) or not np.any(y):
        return
    refuse_infeasible(A, y, float(missing.max()))


def refuse_infeasible(A: np.ndarray, y: np.ndarray, missing: float = float("inf")) -> NoReturn:
    """Say that no x >= 0 has A x = y, with the proof; or that none was found.

    Args:
        A: the columns of the vector problem, shape (m, k).
        y: the targets.
        missing: by how much the best point misses them.

    Raises:
        ValueError: always.
    """
    vector = _certificate(A, y)
    if vector is None:
        _checks.refuse(
            "problem",
            "have targets that the flow meets in floats",
            f"the dual was solved only to a misfit of {missing:.3g}",
            "Rescale the measurements, or turn on float64.",
        )
    _checks.refuse(
        "problem",
        "have targets that some X >= 0 meets",
        f"nu = {np.array2string(vector, precision=6, threshold=12)} has <y, nu> = "
        f"{y @ vector:.3g} < 0 although A*(nu) >= {min((vector @ A).min(), 0.0):.1g}: "
        "the dual is unbounded",
        "The limit then depends on the loss: integrate the flow with `implicit_flow.simulate`.",
    )


def _certificate(A: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """A vector nu with A' nu >= 0 and <y, nu> < 0 in the unit box, by linear programming."""
    rows = np.linalg.norm(A, axis=1)
    rows = np.where(rows > 0, rows, 1)
    size = np.linalg.norm(y / rows)
    found = linprog(
        y / rows / size, A_ub=-(A / rows[:, None]).T, b_ub=np.zeros(A.shape[1]), bounds=(-1, 1)
    )
    # HiGHS works to 1e-7; a value as small as that proves nothing.
    return found.x / rows if found.status == 0 and found.fun < -1e-6 else None
