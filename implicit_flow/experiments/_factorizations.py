"""Norms of a matrix by descent over its factorizations, W = U V' kept at every step."""

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from ..convex import max_norm, trace_norm, weighted_trace_norm


class Factors(NamedTuple):
    """What descent over factorizations found.

    Attributes:
        value: the norm that the factors show: no less than the norm of W.
        missing: the largest entry of |W - UV'| relative to that of |W|.
    """

    value: float
    missing: float


class _Family:
    """U = U0 G and V = V0 G^-T for invertible G: every factorization of W of its own rank.

    Further columns of U and V only add to the lengths of rows.
    """

    def __init__(self, W: np.ndarray):
        """Split W by its singular value decomposition."""
        left, values, right = np.linalg.svd(W, full_matrices=False)
        rank = int(np.sum(values > 1e-12 * values[0]))
        root = np.sqrt(values[:rank])
        self.W, self.rank = W, rank
        self.U0, self.V0 = left[:, :rank] * root, right[:rank].T * root

    def factors(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """U, V and G^-T."""
        G = x.reshape(self.rank, self.rank)
        inverse = np.linalg.inv(G).T
        return self.U0 @ G, self.V0 @ inverse, inverse

    def start(self, random: np.random.Generator) -> np.ndarray:
        """A random G."""
        return (np.eye(self.rank) + 0.3 * random.standard_normal((self.rank, self.rank))).ravel()

    def missing(self, U: np.ndarray, V: np.ndarray) -> float:
        """How far UV' is from W."""
        return float(np.max(np.abs(self.W - U @ V.T)) / np.max(np.abs(self.W)))


def least_frobenius(
    W: np.ndarray, p: np.ndarray, q: np.ndarray, random: np.random.Generator
) -> Factors:
    r"""Descends $\frac12(\sum_i p_i|U_i|^2 + \sum_j q_j|V_j|^2)$ over W = U V', by BFGS.

    Args:
        W: shape (n, m), not zero.
        p: weights of the rows, shape (n,).
        q: weights of the columns, shape (m,).
        random: of the start.

    Returns:
        $\sqrt{\sum_i p_i|U_i|^2}\sqrt{\sum_j q_j|V_j|^2}$ at the end.
    """
    family = _Family(W)

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        U, V, inverse = family.factors(x)
        gradient = family.U0.T @ (p[:, None] * U) - inverse @ (V.T @ (q[:, None] * V))
        return float(p @ np.sum(U**2, 1) + q @ np.sum(V**2, 1)) / 2, gradient.ravel()

    options = {"maxiter": 2000, "gtol": 1e-11}
    x = minimize(objective, family.start(random), jac=True, method="BFGS", options=options).x
    U, V, _ = family.factors(x)
    value = np.sqrt(p @ np.sum(U**2, 1)) * np.sqrt(q @ np.sum(V**2, 1))
    return Factors(float(value), family.missing(U, V))


def least_rows(W: np.ndarray, random: np.random.Generator) -> Factors:
    r"""Minimizes $\max_i|U_i|\max_j|V_j|$ over W = U V', by sequential quadratic programming.

    Args:
        W: shape (n, m), not zero.
        random: of the start.

    Returns:
        The product of the longest rows at the end.
    """
    family = _Family(W)

    # t - |U_i|^2 >= 0 and t - |V_j|^2 >= 0 for the unknowns (G, t).
    def slack(x: np.ndarray) -> np.ndarray:
        U, V, _ = family.factors(x[:-1])
        return x[-1] - np.concatenate([np.sum(U**2, 1), np.sum(V**2, 1)])

    def slopes(x: np.ndarray) -> np.ndarray:
        U, V, inverse = family.factors(x[:-1])
        rows = np.einsum("ia,ib->iab", family.U0, U)
        columns = -np.einsum("ja,jb->jab", V @ inverse.T, V)
        each = np.concatenate([rows, columns]).reshape(len(U) + len(V), -1)
        return np.concatenate([-2 * each, np.ones((len(each), 1))], axis=1)

    start = family.start(random)
    level = -float(np.min(slack(np.append(start, 0.0))))
    last: Any = np.append(np.zeros(len(start)), 1.0)
    x = minimize(
        lambda x: (x[-1], last),
        np.append(start, level),
        jac=True,
        method="SLSQP",
        constraints={"type": "ineq", "fun": slack, "jac": slopes},
        options={"maxiter": 500, "ftol": 1e-13},
    ).x
    U, V, _ = family.factors(x[:-1])
    longest = (float(np.max(np.linalg.norm(factor, axis=1))) for factor in (U, V))
    return Factors(float(np.prod(list(longest))), family.missing(U, V))


def matrices_of(dim: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Matrices of one shape; the max-norm of the first three is known: 1, 1 and sqrt 2.

    Args:
        dim: their side.
        random: of the others.

    Returns:
        Name -> matrix.
    """
    root = np.kron(np.array([[1.0, 1.0], [1.0, -1.0]]), np.ones((dim, dim)))[::dim, ::dim]
    repeat = np.arange(dim) % 2
    return {
        "identity": np.eye(dim),
        "ones": np.ones((dim, dim)),
        "1 1 1 -1": root[np.ix_(repeat, repeat)],
        "signs": np.sign(random.standard_normal((dim, dim))),
        "triangle": np.tri(dim),
        "rank 2": random.standard_normal((dim, 2)) @ random.standard_normal((2, dim)),
        "gaussian": random.standard_normal((dim, dim)),
    }


def two_ways(W: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Trace norm, weighted trace norm and max-norm by factors and by semidefinite programs.

    Args:
        W: not zero.
        random: of the weights and of the starts.

    Returns:
        Rows by factors, by cones, gap between the bounds of the cones, and what UV' misses of W.
    """
    p, q = (random.dirichlet(np.full(size, 3.0)) for size in W.shape)
    ones = (np.ones(W.shape[0]), np.ones(W.shape[1]))
    factors = (
        least_frobenius(W, *ones, random),
        least_frobenius(W, p, q, random),
        least_rows(W, random),
    )
    cones = (trace_norm(W), weighted_trace_norm(W, p, q), max_norm(W))
    rows = [(f.value, c.value, c.gap, f.missing) for f, c in zip(factors, cones, strict=True)]
    return np.array(rows).T
