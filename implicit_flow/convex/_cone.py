"""The one place that speaks to the convex solver."""

import dataclasses
from typing import Any

import clarabel
import numpy as np
import scipy.sparse as sp

from ._coordinates import AbstractCone, SemidefiniteCone


# Its stubs do not name the classes of its compiled part.
_clarabel: Any = clarabel


@dataclasses.dataclass(frozen=True)
class ConeAnswer:
    """What the solver returned. Nothing in it has been verified.

    Attributes:
        point: X in the coordinates of the cone.
        dual: nu; where the targets are infeasible a direction in which the dual is unbounded.
        status: the solver's own word.
    """

    point: np.ndarray
    dual: np.ndarray
    status: str

    @property
    def claims_infeasible(self) -> bool:
        """Whether the solver says that no X fits."""
        return self.status in {"DualInfeasible", "AlmostDualInfeasible"}


def least_trace(cone: AbstractCone, targets: np.ndarray) -> ConeAnswer:
    r"""Minimize tr X over $X \ge 0$, $A(X) = y$, through the dual: m unknowns and one cone.

    Rows are brought to norm 1 and targets to size 1 before the solver sees them.

    Args:
        cone: measurement matrices in coordinates.
        targets: y, shape (m,).

    Returns:
        The answer, in the units of the problem.
    """
    size = np.where(cone.norms > 0, cone.norms, 1)
    rows = sp.csc_array(sp.diags_array(1 / size) @ cone.rows)
    y = targets / size
    unit = float(np.linalg.norm(y)) or 1.0
    x, z, status = _run(-y / unit, sp.csc_array(rows.T), cone.one, [_block(cone)])
    # In the direction of an infeasible problem the point has no meaning, and may be nan.
    point = unit * np.nan_to_num(z)
    return ConeAnswer(point, np.nan_to_num(x) / size, status)


def most_interior(cone: AbstractCone, targets: np.ndarray, trace: float) -> ConeAnswer:
    r"""Maximize $\lambda_{\min}(X)$ over $A(X) = y$, $\mathrm{tr}X \le$ `trace`.

    Args:
        cone: measurement matrices in coordinates.
        targets: y, shape (m,).
        trace: above the least trace.

    Returns:
        The answer; its dual is that of this other problem.
    """
    size = np.where(cone.norms > 0, cone.norms, 1)
    rows = sp.csc_array(sp.diags_array(1 / size) @ cone.rows)
    y = targets / size / trace
    one = cone.one
    # X = Z + t I with Z >= 0; t is the multiplier of the first row, Z that of the last block.
    matrix = sp.csc_array(
        sp.vstack(
            [
                sp.csc_array(np.append(rows @ one, float(cone.dim))[None, :]),
                sp.csc_array(np.append(np.zeros(len(y)), -1.0)[None, :]),
                sp.hstack([-rows.T, -sp.csc_array(one[:, None])]),
            ]
        )
    )
    right = np.concatenate([[1.0, 0.0], np.zeros(len(one))])
    cones = [_clarabel.ZeroConeT(1), _clarabel.NonnegativeConeT(1), _block(cone)]
    x, z, status = _run(np.append(y, 1.0), matrix, right, cones)
    point = trace * np.nan_to_num(z[2:] - z[0] * one)
    return ConeAnswer(point, np.nan_to_num(x[:-1]) / size, status)


def least_l1(matrix: np.ndarray, targets: np.ndarray) -> ConeAnswer:
    """Minimize the sum of |x| over all x with B x = y.

    Args:
        matrix: B, shape (m, n).
        targets: y, shape (m,).

    Returns:
        The answer; its point is x itself.
    """
    n = matrix.shape[1]
    size = np.linalg.norm(matrix, axis=1)
    size = np.where(size > 0, size, 1)
    rows, y = matrix / size[:, None], targets / size
    unit = float(np.linalg.norm(y)) or 1.0
    both = sp.csc_array(np.concatenate([rows, -rows], axis=1).T)
    cones = [_clarabel.NonnegativeConeT(2 * n)]
    x, z, status = _run(-y / unit, both, np.ones(2 * n), cones)
    z = unit * np.nan_to_num(z)
    return ConeAnswer(z[:n] - z[n:], np.nan_to_num(x) / size, status)


def _block(cone: AbstractCone):
    if isinstance(cone, SemidefiniteCone):
        return _clarabel.PSDTriangleConeT(cone.dim)
    return _clarabel.NonnegativeConeT(cone.dim)


def _run(
    cost: np.ndarray, matrix: sp.csc_array, right: np.ndarray, cones: list
) -> tuple[np.ndarray, np.ndarray, str]:
    settings = _clarabel.DefaultSettings()
    settings.verbose = False
    # Far below what it needs to reach: it stops when it makes no more progress, and is checked.
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
    settings.tol_infeas_abs = settings.tol_infeas_rel = 1e-10
    empty = sp.csc_matrix((len(cost), len(cost)))
    solver = _clarabel.DefaultSolver(
        empty, np.asarray(cost, float), sp.csc_matrix(matrix), right, cones, settings
    )
    solution = solver.solve()
    return np.asarray(solution.x), np.asarray(solution.z), str(solution.status)
