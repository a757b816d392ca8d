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


def least_diagonal(
    W: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Minimize over the positive semidefinite X with the block W, X = [[A, W], [W', B]].

    With weights c it is $\frac12\sum_k c_kX_{kk}$, without them $\max_k X_{kk}$. Solved through the
    dual: Y, and the diagonal c where it is not given, with [[diag, -Y], [-Y', diag]] >= 0.

    Args:
        W: shape (p, q), with entries of size 1.
        weights: c, shape (p + q,), or None for the largest entry of the diagonal.

    Returns:
        X, shape (p + q, p + q); Y, shape (p, q); and c, shape (p + q,). Nothing is verified.
    """
    p, q = W.shape
    n = p + q
    rows, columns = (index.ravel() for index in np.indices((p, q)))
    size, entries = n * (n + 1) // 2, p * q
    # s = right - matrix @ x is the triangle of [[diag, -Y], [-Y', diag]].
    block = sp.csc_array(
        (np.full(entries, np.sqrt(2)), (_place(rows, p + columns), np.arange(entries))),
        shape=(size, entries),
    )
    diagonal = _place(np.arange(n), np.arange(n))
    if weights is not None:
        right = np.zeros(size)
        right[diagonal] = weights
        x, z, _ = _run(-2 * W.ravel(), block, right, [_clarabel.PSDTriangleConeT(n)])
        Y, found = x.reshape(p, q), weights
    else:
        free = sp.csc_array((np.full(n, -1.0), (diagonal, np.arange(n))), shape=(size, n))
        total = sp.csc_array(np.append(np.zeros(entries), np.ones(n))[None, :])
        matrix = sp.csc_array(sp.vstack([total, sp.hstack([block, free])]))
        cost = np.append(-2 * W.ravel(), np.zeros(n))
        cones = [_clarabel.ZeroConeT(1), _clarabel.PSDTriangleConeT(n)]
        x, z, _ = _run(cost, matrix, np.append(1.0, np.zeros(size)), cones)
        Y, found, z = x[:entries].reshape(p, q), x[entries:], z[1:]
    return np.nan_to_num(_from_triangle(z, n)), np.nan_to_num(Y), np.nan_to_num(found)


def least_misfit(
    values: np.ndarray, seen: np.ndarray, bound: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Minimize $\frac12\sum (W - y)^2$ over the entries seen, for W of max-norm at most `bound`.

    Solved through the dual: the residual R on those entries and the diagonal c of
    [[diag, R], [R', diag]] >= 0, at the least of $\frac12|R|^2 + \langle R, y\rangle +
    \frac12\mathrm{bound}\sum_k c_k$.

    Args:
        values: y, shape (p, q), with entries of size 1.
        seen: shape (p, q); true at the entries that count, of which there is at least one.
        bound: positive.

    Returns:
        X = [[A, W], [W', B]], shape (p + q, p + q); R, shape (p, q), zero where nothing is seen;
        and c, shape (p + q,). Nothing is verified.
    """
    p, q = values.shape
    n = p + q
    rows, columns = np.nonzero(seen)
    size, entries = n * (n + 1) // 2, len(rows)
    # s = right - matrix @ x is the triangle of [[diag, R], [R', diag]].
    matrix = sp.csc_array(
        (
            np.append(np.full(entries, -np.sqrt(2)), np.full(n, -1.0)),
            (
                np.append(_place(rows, p + columns), _place(np.arange(n), np.arange(n))),
                np.arange(entries + n),
            ),
        ),
        shape=(size, entries + n),
    )
    square = sp.diags_array(np.append(np.ones(entries), np.zeros(n)))
    cost = np.append(values[rows, columns], np.full(n, bound / 2))
    x, z, _ = _run(cost, matrix, np.zeros(size), [_clarabel.PSDTriangleConeT(n)], square)
    R = np.zeros((p, q))
    R[rows, columns] = x[:entries]
    # The multiplier of [[diag, R], [R', diag]] is half of X.
    X = 2 * _from_triangle(z, n)
    return np.nan_to_num(X), np.nan_to_num(R), np.nan_to_num(x[entries:])


def _place(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Where the solver has an entry of a triangle: column by column."""
    return column * (column + 1) // 2 + row


def _from_triangle(z: np.ndarray, n: int) -> np.ndarray:
    """The symmetric matrix of a triangle whose off-diagonal entries come times sqrt(2)."""
    X = np.zeros((n, n))
    upper = np.triu_indices(n)
    X[upper] = z[_place(*upper)] / np.where(upper[0] == upper[1], 1, np.sqrt(2))
    return X + X.T - np.diag(np.diag(X))


def _block(cone: AbstractCone):
    if isinstance(cone, SemidefiniteCone):
        return _clarabel.PSDTriangleConeT(cone.dim)
    return _clarabel.NonnegativeConeT(cone.dim)


def _run(
    cost: np.ndarray,
    matrix: sp.csc_array,
    right: np.ndarray,
    cones: list,
    square: sp.dia_array | None = None,
) -> tuple[np.ndarray, np.ndarray, str]:
    settings = _clarabel.DefaultSettings()
    settings.verbose = False
    # Far below what it needs to reach: it stops when it makes no more progress, and is checked.
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
    settings.tol_infeas_abs = settings.tol_infeas_rel = 1e-10
    # The default, the clique graph, ends some completions in a panic (Clarabel 0.11.1).
    settings.chordal_decomposition_merge_method = "parent_child"
    empty = sp.csc_matrix((len(cost), len(cost)))
    quadratic = empty if square is None else sp.csc_matrix(square)
    solver = _clarabel.DefaultSolver(
        quadratic, np.asarray(cost, float), sp.csc_matrix(matrix), right, cones, settings
    )
    solution = solver.solve()
    return np.asarray(solution.x), np.asarray(solution.z), str(solution.status)
