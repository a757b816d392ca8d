"""Greedy low-rank learning: the path of a factorization from an infinitesimal start."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

from .. import _checks
from ..losses import Squared
from ..problems import Problem


class GreedyLowRank(NamedTuple):
    r"""The saddles that a factorization visits from an infinitesimal start, rank by rank.

    Attributes:
        points: X at the saddles and at the end, shape (k + 1, n, n); the first is 0.
        growth_rates: $\mu$, the largest eigenvalue of $-A^*(r)$ at each, shape (k + 1,): positive
            at a saddle.
        directions: its eigenvector, shape (k + 1, n): what grows next.
        jump_times: when each saddle is left, in units of log(1/alpha), shape (k,); for depth 2 and
            matrices in general position, else nan.
        ranks: of the points, shape (k + 1,).
        residual: the largest $\|A^*(r)U\| / \|A^*(y)\|\|U\|$ at a point: how critical they are.
    """

    points: Float[np.ndarray, "k1 n n"]
    growth_rates: Float[np.ndarray, " k1"]
    directions: Float[np.ndarray, "k1 n"]
    jump_times: Float[np.ndarray, " k"]
    ranks: Float[np.ndarray, " k1"]
    residual: float


# The seed, relative to the size of X at which the first saddle can be; the directions in which it
# is misplaced shrink like a power of it, and the end is polished by Newton's method.
_SEED = {2: 1e-8}
_SEED_DEEP = 1e-5
# Eigenvalues of X below this share of the largest count as none.
_RANK = 1e-7


def greedy_low_rank(
    problem: Problem, *, depth: int = 2, max_rank: int | None = None, tol: float = 1e-6
) -> GreedyLowRank:
    r"""From 0 the top eigenvector of $-A^*(r)$ grows, the flow of that rank converges; repeat.

    At X = 0 that is the top eigenvector of $A^*(y)$. Each stage starts at the last point with a
    small seed along the top eigenvector, follows the flow of its rank to rest (SciPy) and is
    polished to a point with $A^*(r)U = 0$. The path of depth N is that of the balanced product,
    $\dot X = -\sum_j X^{2(N-j)/N}A^*(r)X^{2(j-1)/N}$.

    Jump times, for depth 2: an eigenvalue of X that is infinitesimal has the size $\alpha^e$; at a
    saddle the e fall at twice the eigenvalues of $-A^*(r)$ on the complement of the range, the
    smallest e at the largest one and so on in order (general position), and the saddle is left
    where the first reaches 0. The first time is $1/(2\mu_1)$.

    Valid when: the loss is the squared one, the top eigenvalues are simple. Matrices that commute
    are not in general position: `successive_saddles` has their times. A host function.

    Args:
        problem: measurement and targets.
        depth: N, at least 2.
        max_rank: where to stop; n if None.
        tol: growth rates below this share of that at 0 count as none.

    Returns:
        The path.

    Raises:
        ValueError: impossible arguments, another loss, or a stage that does not come to rest.

    Example:
        >>> import jax.numpy as jnp, numpy as np, implicit_flow as imf
        >>> rows, cols = jnp.array([0, 0, 1, 1]), jnp.array([0, 1, 0, 1])
        >>> A = imf.measurements.EntryMeasurement(rows, cols, dim=2)
        >>> problem = imf.Problem(A, jnp.array([2.0, 0.0, 0.0, 1.0]))
        >>> path = imf.landscape.greedy_low_rank(problem)
        >>> path.points.round(6).diagonal(axis1=1, axis2=2).tolist()
        [[0.0, 0.0], [2.0, 0.0], [2.0, 1.0]]

    Reference:
        Li, Luo and Lyu (2021), Towards resolving the implicit bias of gradient descent for matrix
        factorization: greedy low-rank learning.
    """
    _checks.instance(problem, "problem", Problem)
    _checks.instance(problem.loss, "problem.loss", Squared)
    _checks.at_least(depth, "depth", 2)
    n = problem.dim
    max_rank = n if max_rank is None else max_rank
    _checks.at_least(max_rank, "max_rank", 1)
    force = _Force(problem)
    U, exponents, time = np.zeros((n, 0)), np.ones(n), 0.0
    points, rates, directions, times, ranks, worst = [], [], [], [], [], 0.0
    first = 0.0
    while True:
        X = U @ U.T
        G = force(X)
        values, vectors = np.linalg.eigh(G)
        first = values[-1] if not points else first
        points.append(X)
        rates.append(values[-1])
        directions.append(vectors[:, -1])
        ranks.append(U.shape[1])
        worst = max(worst, force.imbalance(U))
        if not values[-1] > tol * first or len(ranks) > max_rank or U.shape[1] >= n:
            break
        exponents, wait = _race(exponents, G, U)
        time += wait
        times.append(time if depth == 2 else np.nan)
        grown = _stage(force, U, vectors[:, -1], depth, first)
        # Where an older direction dies out the race is over: it starts anew from size one.
        time = time if grown.shape[1] == U.shape[1] + 1 else np.nan
        U = grown
    return GreedyLowRank(
        np.array(points),
        np.array(rates),
        np.array(directions),
        np.array(times),
        np.array(ranks, float),
        worst,
    )


class _Force:
    """-A*(r) in NumPy, for symmetric X."""

    def __init__(self, problem: Problem):
        stack = np.asarray(problem.measurement.as_stack(), float)
        self.shape = stack.shape[1:]
        self.rows = stack.reshape(len(stack), -1)
        self.targets = np.asarray(problem.targets, float)
        self.scale = float(np.linalg.norm(self(np.zeros(self.shape)), 2))

    def __call__(self, X: np.ndarray) -> np.ndarray:
        return ((self.targets - self.rows @ X.ravel()) @ self.rows).reshape(self.shape)

    def imbalance(self, U: np.ndarray) -> float:
        size = np.linalg.norm(U) * self.scale
        return float(np.linalg.norm(self(U @ U.T) @ U) / size) if size else 0.0


def _race(exponents: np.ndarray, G: np.ndarray, U: np.ndarray) -> tuple[np.ndarray, float]:
    """The exponents that remain once the first has reached 0, and how long that takes."""
    basis = np.linalg.svd(U, full_matrices=True)[0][:, U.shape[1] :]
    rates = np.sort(np.linalg.eigvalsh(basis.T @ G @ basis))[::-1]
    if len(rates) != len(exponents) or not rates[0] > 0:
        return exponents, np.nan
    wait = exponents[0] / (2 * rates[0])
    return np.sort(exponents[1:] - 2 * rates[1:] * wait), float(wait)


def _stage(force: _Force, U: np.ndarray, u: np.ndarray, depth: int, first: float) -> np.ndarray:
    """The point where the flow of one rank more ends, started beside U along u."""
    n, k = U.shape
    # At X = a uu' the force along u vanishes for this a: the size of what is to come.
    fall = u @ (force(np.zeros((n, n))) - force(np.outer(u, u))) @ u
    seed = _SEED.get(depth, _SEED_DEEP) * (u @ force(U @ U.T) @ u) / max(fall, 1e-12 * first)
    # Time in units of the slowest growth that counts; the flow comes to rest within some of them.
    if depth == 2:
        planted = np.sqrt(seed)
        start = np.concatenate([U, planted * u[:, None]], axis=1).ravel()
        field = lambda t, v: (force(_gram(v, n)) @ v.reshape(n, -1)).ravel()
    else:
        planted = seed
        start = (U @ U.T + planted * np.outer(u, u)).ravel()
        field = lambda t, v: _deep_velocity(force, v.reshape(n, n), depth).ravel()
    end, time = start, 100 / first
    for _ in range(30):
        found = solve_ivp(field, (0, time), end, method="LSODA", rtol=1e-9, atol=1e-12)
        moved = np.linalg.norm(found.y[:, -1] - end)
        end = found.y[:, -1]
        if np.linalg.norm(start - end) > 10 * planted and moved < 1e-7 * np.linalg.norm(end):
            break
        time *= 1.6
    else:
        _checks.refuse("problem", "come to rest at every rank", f"at rank {k + 1} it does not")
    factor = end.reshape(n, -1) if depth == 2 else _root(end.reshape(n, n))
    kept = _compressed(factor)
    polished = least_squares(
        lambda v: _imbalances(force, v, n), kept.ravel(), xtol=1e-15, ftol=1e-15, gtol=1e-15
    ).x.reshape(n, -1)
    return _compressed(polished)


def _imbalances(force: _Force, v: np.ndarray, n: int) -> np.ndarray:
    """-A*(r)U, flattened."""
    return (force(_gram(v, n)) @ v.reshape(n, -1)).ravel()


def _gram(v: np.ndarray, n: int) -> np.ndarray:
    U = v.reshape(n, -1)
    return U @ U.T


def _deep_velocity(force: _Force, X: np.ndarray, depth: int) -> np.ndarray:
    values, vectors = np.linalg.eigh((X + X.T) / 2)
    powers = np.maximum(values, 0)[:, None] ** (2 / depth * np.arange(depth))
    G = vectors.T @ force(X) @ vectors
    return vectors @ (G * (powers @ powers[:, ::-1].T)) @ vectors.T


def _root(X: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh((X + X.T) / 2)
    return vectors * np.sqrt(np.maximum(values, 0))


def _compressed(U: np.ndarray) -> np.ndarray:
    """The same UU' with as few columns as its rank."""
    left, sizes, _ = np.linalg.svd(U, full_matrices=False)
    rank = int(np.sum(sizes**2 > _RANK * sizes[0] ** 2))
    return left[:, :rank] * sizes[:rank]
