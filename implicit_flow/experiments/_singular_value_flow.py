"""The singular values of a balanced deep product, by an equation of their own, in SciPy."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Array, Float
from scipy.integrate import solve_ivp

from .._compiled import compiled, quick_options
from ..problems import Problem


def singular_values(
    problem: Problem, depth: int, alpha: float, times: Float[np.ndarray, " k"]
) -> Float[np.ndarray, "k n"]:
    r"""Singular values of the product that starts at $\alpha I$.

    $X = Q\,\mathrm{diag}(\sigma)\,Q^\top$ with $\dot\sigma_k = -N\sigma_k^{2-2/N}\,q_k^\top Gq_k$,
    $G = A^*(r)$, and $\dot Q = QK$, $K_{ij} = -g_{ij}\sum_l \sigma_i^{2(N-l)/N}
    \sigma_j^{2(l-1)/N}/(\sigma_j - \sigma_i)$. At the start all $\sigma$ are equal; Q begins with
    the eigenvectors of G there, and $\sigma$ after a time so short that G has not moved.

    Args:
        problem: with the squared loss.
        depth: N, at least 2.
        alpha: scale of X0.
        times: increasing, from 0 or later.

    Returns:
        Singular values at the times, descending.
    """
    targets, n = np.asarray(problem.targets, float), problem.dim
    rows = np.asarray(problem.measurement.as_stack(), float).reshape(-1, n * n)

    def force(X: np.ndarray) -> np.ndarray:
        return ((targets - rows @ X.ravel()) @ rows).reshape(n, n)

    rates, vectors = np.linalg.eigh(force(alpha * np.eye(n)))
    # Equal singular values would divide by zero: part them by one relative part in 10^5.
    early = 1e-5 * alpha ** (2 / depth - 1) / (depth * np.max(np.abs(rates)))
    power = 2 - 2 / depth
    start = alpha * (1 + depth * alpha ** (1 - 2 / depth) * rates * early)

    def field(t: float, state: np.ndarray) -> np.ndarray:
        logs, Q = state[:n], state[n:].reshape(n, n)
        sizes = np.exp(logs)
        g = Q.T @ force((Q * sizes) @ Q.T) @ Q
        powers = sizes[:, None] ** (2 / depth * np.arange(depth))
        moved = g * (powers @ powers[:, ::-1].T)
        gaps = sizes[None, :] - sizes[:, None]
        np.fill_diagonal(gaps, 1.0)
        K = moved / gaps
        np.fill_diagonal(K, 0.0)
        return np.concatenate([depth * sizes ** (power - 1) * np.diagonal(g), (Q @ K).ravel()])

    found = solve_ivp(
        field,
        (early, times[-1]),
        np.concatenate([np.log(start), vectors.ravel()]),
        method="LSODA",
        t_eval=np.maximum(times, early),
        rtol=1e-9,
        atol=1e-11,
    )
    return -np.sort(-np.exp(found.y[:n].T), axis=1)


def balancedness(
    velocity: Callable[[Array], Array], starts: Sequence[Float[np.ndarray, "N n n"]], t: float
) -> list[tuple[float, float, float]]:
    r"""How much $W_{j+1}^\top W_{j+1} - W_jW_j^\top$ moves, relative to the factors at the end.

    Args:
        velocity: of the factors (N, n, n), traceable.
        starts: factors at time 0, of one shape.
        t: the final time.

    Returns:
        For each start the change along the flow (SciPy), the size at the start, and the change
        along gradient descent with 2000 steps.
    """
    of = jax.jit(velocity, compiler_options=quick_options())
    descend = compiled(
        lambda W: jax.lax.fori_loop(0, 2000, lambda _, W: W + t / 2000 * velocity(W), W)
    )

    def balance(W: np.ndarray) -> np.ndarray:
        return np.swapaxes(W[1:], 1, 2) @ W[1:] - W[:-1] @ np.swapaxes(W[:-1], 1, 2)

    def one(start: np.ndarray) -> tuple[float, float, float]:
        found = solve_ivp(
            lambda _, w: np.asarray(of(w.reshape(start.shape))).ravel(),
            (0, t),
            start.ravel(),
            method="DOP853",
            rtol=1e-10,
            atol=1e-12,
        )
        end, before = found.y[:, -1].reshape(start.shape), balance(start)
        changes = (balance(end) - before, before, balance(np.asarray(descend(start))) - before)
        moved, first, drifted = (np.linalg.norm(change) for change in changes)
        size = np.linalg.norm(end) ** 2
        return float(moved / size), float(first / size), float(drifted / size)

    return [one(start) for start in starts]
