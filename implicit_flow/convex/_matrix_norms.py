"""Norms of a rectangular matrix by their semidefinite programs, with bounds on either side."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

from .. import _checks
from ._bounds import inner_below
from ._cone import least_diagonal
from ._coordinates import EPS


class MatrixNorm(eqx.Module):
    r"""The norm of a matrix W, with a factorization that attains it and a dual that proves it.

    Attributes:
        value: at least the norm, rounding included: what the factors show.
        lower_bound: at most the norm, rounding included: what the dual shows.
        gap: (value - lower_bound) / lower_bound; 0 for W = 0.
        U: left factor, shape (p, d).
        V: right factor, shape (q, d); W = U V' up to rounding, which `value` allows for.
        dual: Y, shape (p, q), of dual norm 1: $\langle W, Y\rangle$ is the lower bound.
        row_weights: shape (p,). For the max-norm the weights that sum to 1 at which the weighted
            trace norm of W is the max-norm; otherwise those that were given.
        column_weights: the same for columns, shape (q,).
    """

    value: float
    lower_bound: float
    gap: float
    U: Float[np.ndarray, "p d"]
    V: Float[np.ndarray, "q d"]
    dual: Float[np.ndarray, "p q"]
    row_weights: Float[np.ndarray, " p"]
    column_weights: Float[np.ndarray, " q"]


def trace_norm(W: Any) -> MatrixNorm:
    r"""The trace norm $\|W\|_{tr}$, the sum of singular values, by its semidefinite program.

    It is the minimum of $\frac12(\mathrm{tr}A + \mathrm{tr}B)$ over
    $\begin{pmatrix}A & W\\ W' & B\end{pmatrix} \ge 0$, which is
    $\min_{W = UV'} \|U\|_F\|V\|_F$. Its dual is $\max\langle W, Y\rangle$ over
    $\|Y\|_{op} \le 1$. A host function, in float64; meant for p + q up to about 60.

    Args:
        W: any real matrix, shape (p, q).

    Returns:
        The norm, with its factors and its dual.

    Raises:
        ValueError: not a finite real matrix, or empty.

    Example:
        >>> import numpy as np, implicit_flow as imf
        >>> round(imf.convex.trace_norm(np.diag([3.0, -2.0])).value, 6)
        5.0

    Reference:
        Fazel, Hindi and Boyd (2001), A rank minimization heuristic with application to minimum
        order system approximation.
    """
    W = _matrix(W)
    return _weighted(W, np.ones(W.shape[0]), np.ones(W.shape[1]))


def weighted_trace_norm(W: Any, p: Any, q: Any) -> MatrixNorm:
    r"""The weighted trace norm $\|\mathrm{diag}(\sqrt p)\,W\,\mathrm{diag}(\sqrt q)\|_{tr}$.

    It is $\min_{W = UV'} \sqrt{\sum_i p_i|U_i|^2}\sqrt{\sum_j q_j|V_j|^2}$ over rows $U_i, V_j$,
    and the minimum of $\frac12(\sum_i p_iA_{ii} + \sum_j q_jB_{jj})$ over the matrices of
    `trace_norm`. With weights that sum to 1 it is at most the `max_norm`. A host function.

    Args:
        W: any real matrix, shape (p, q).
        p: positive weights of the rows, shape (p,); often their frequencies among the entries.
        q: positive weights of the columns, shape (q,).

    Returns:
        The norm, with its factors and its dual.

    Raises:
        ValueError: not a finite real matrix, or weights that do not fit it.

    Example:
        >>> import numpy as np, implicit_flow as imf
        >>> norm = imf.convex.weighted_trace_norm(np.eye(2), [0.5, 0.5], [0.5, 0.5])
        >>> round(norm.value, 6)
        1.0

    Reference:
        Salakhutdinov and Srebro (2010), Collaborative filtering in a non-uniform world: learning
        with the weighted trace norm.
    """
    W = _matrix(W)
    return _weighted(W, _weights(p, "p", W.shape[0]), _weights(q, "q", W.shape[1]))


def max_norm(W: Any) -> MatrixNorm:
    r"""The max-norm $\gamma_2(W) = \min_{W = UV'} \max_i|U_i|\,\max_j|V_j|$, over rows.

    It is the minimum of t over the matrices of `trace_norm` with $A_{ii} \le t$ and
    $B_{jj} \le t$, and the largest `weighted_trace_norm` over weights that sum to 1. A host
    function, in float64; meant for p + q up to about 60.

    Args:
        W: any real matrix, shape (p, q).

    Returns:
        The norm, with its factors and its dual.

    Raises:
        ValueError: not a finite real matrix, or empty.

    Example:
        >>> import numpy as np, implicit_flow as imf
        >>> round(imf.convex.max_norm([[1.0, 1.0], [1.0, -1.0]]).value, 6)
        1.414214

    Reference:
        Srebro and Shraibman (2005), Rank, trace-norm and max-norm.
    """
    W = _matrix(W)
    size = float(np.max(np.abs(W)))
    if size == 0:
        return _zero(W, np.full(W.shape[0], 1 / W.shape[0]), np.full(W.shape[1], 1 / W.shape[1]))
    point, Y, diagonal = least_diagonal(W / size, None)
    rows, columns = diagonal[: W.shape[0]], diagonal[W.shape[0] :]
    # Any positive weights and any Y give a bound; a weight that the solver left at 0 may not.
    rows = np.maximum(rows, 1e-12 * np.max(rows))
    columns = np.maximum(columns, 1e-12 * np.max(columns))
    rows, columns = rows / np.sum(rows), columns / np.sum(columns)
    # The solver's Y is poor where a weight is nearly 0; the weights have a best Y of their own.
    left, right = np.sqrt(rows)[:, None], np.sqrt(columns)
    polar = np.linalg.svd(left * W * right, full_matrices=False)
    candidates = (Y, left * (polar[0] @ polar[2]) * right)
    Y, bound = max((_dual(W, one, rows, columns) for one in candidates), key=lambda pair: pair[1])
    U, V = _factors(point, W.shape[0], np.sqrt(size))
    left, right = (float(np.max(np.linalg.norm(factor, axis=1))) for factor in (U, V))
    U, V = U * np.sqrt(right / left), V * np.sqrt(left / right)
    # E = W - UV' has max-norm at most its largest row: E = E I.
    missing = float(np.max(np.linalg.norm(_missing(W, U, V), axis=1)))
    value = (left * right + missing) * (1 + 8 * (U.shape[1] + 4) * EPS)
    return _norm(value, bound, U, V, Y, rows, columns)


def _weighted(
    W: Float[np.ndarray, "p q"], p: Float[np.ndarray, " p"], q: Float[np.ndarray, " q"]
) -> MatrixNorm:
    left, right = np.sqrt(p), np.sqrt(q)
    scaled = left[:, None] * W * right
    size = float(np.max(np.abs(scaled)))
    if size == 0:
        return _zero(W, p, q)
    point, Y, _ = least_diagonal(scaled / size, np.ones(sum(W.shape)))
    Y, bound = _dual(W, left[:, None] * Y * right, p, q)
    U, V = _factors(point, W.shape[0], np.sqrt(size))
    U, V = U / left[:, None], V / right[:, None]
    # E = W - UV' has a weighted trace norm of at most sqrt(rank) times that of Frobenius.
    missing = np.linalg.norm(left[:, None] * _missing(W, U, V) * right) * np.sqrt(min(W.shape))
    product = np.linalg.norm(left[:, None] * U) * np.linalg.norm(right[:, None] * V)
    value = float(product + missing) * (1 + 8 * (sum(W.shape) + 4) * EPS)
    return _norm(value, bound, U, V, Y, p, q)


def _dual(
    W: Float[np.ndarray, "p q"],
    Y: Float[np.ndarray, "p q"],
    rows: Float[np.ndarray, " p"],
    columns: Float[np.ndarray, " q"],
) -> tuple[Float[np.ndarray, "p q"], float]:
    r"""Scale Y until $|\mathrm{diag}(a)^{-1/2}Y\mathrm{diag}(b)^{-1/2}|_{op} \le 1$; the bound.

    Then $\langle W, Y\rangle \le \frac12(\sum a_iA_{ii} + \sum b_jB_{jj})$ wherever the block
    matrix of A, B and W is positive semidefinite, by the one of diag(a), diag(b) and -Y.
    """
    inside = Y / np.sqrt(rows)[:, None] / np.sqrt(columns)
    # The rounding of a singular value, and of the entries themselves.
    top = float(np.linalg.norm(inside, 2) + 4 * (sum(W.shape) + 4) * EPS * np.linalg.norm(inside))
    Y = Y / top * (1 - 4 * EPS)
    return Y, max(0.0, inner_below(W.ravel(), Y.ravel()))


def _factors(
    point: Float[np.ndarray, "n n"], num_rows: int, root: float
) -> tuple[Float[np.ndarray, "p d"], Float[np.ndarray, "q d"]]:
    """U and V with [U; V][U; V]' the nearest positive semidefinite matrix, times root^2."""
    values, vectors = np.linalg.eigh((point + point.T) / 2)
    L = root * vectors * np.sqrt(np.maximum(values, 0))
    return L[:num_rows], L[num_rows:]


def _missing(
    W: Float[np.ndarray, "p q"], U: Float[np.ndarray, "p d"], V: Float[np.ndarray, "q d"]
) -> Float[np.ndarray, "p q"]:
    """|W - UV'|, entry by entry, with what rounding may hide."""
    return np.abs(W - U @ V.T) + (U.shape[1] + 4) * EPS * (np.abs(U) @ np.abs(V).T + np.abs(W))


def _norm(
    value: float,
    bound: float,
    U: Float[np.ndarray, "p d"],
    V: Float[np.ndarray, "q d"],
    Y: Float[np.ndarray, "p q"],
    rows: Float[np.ndarray, " p"],
    columns: Float[np.ndarray, " q"],
) -> MatrixNorm:
    gap = (value - bound) / bound if bound > 0 else float("inf")
    return MatrixNorm(value, bound, gap, U, V, Y, rows, columns)


def _zero(
    W: Float[np.ndarray, "p q"], rows: Float[np.ndarray, " p"], columns: Float[np.ndarray, " q"]
) -> MatrixNorm:
    p, q = W.shape
    return MatrixNorm(0.0, 0.0, 0.0, np.zeros((p, 1)), np.zeros((q, 1)), W, rows, columns)


def _matrix(W: Any) -> Float[np.ndarray, "p q"]:
    found = _checks.numeric(W, "W")
    if _checks.concrete(found) is None:
        cure = "This is a host function: call it outside of jit, vmap and grad."
        _checks.refuse("W", "be a concrete array", "is being traced", cure)
    if np.iscomplexobj(found):
        _checks.refuse("W", "be real", f"has dtype {found.dtype}")
    _checks.shape(found, "W", ("p", "q"))
    _checks.nonempty(found, "W", ("p", "q"))
    _checks.finite(found, "W")
    return np.asarray(found, float)


def _weights(given: Any, name: str, size: int) -> Float[np.ndarray, " s"]:
    found = np.asarray(_checks.numeric(given, name), float)
    _checks.shape(found, name, (size,))
    _checks.finite(found, name)
    _checks.positive(found, name, "Leave out rows and columns that have no weight.")
    return found
