"""Flows that pass from saddle to saddle, set against their paths: factors, deeper, diagonal."""

import itertools
from collections.abc import Sequence
from typing import Any

import diffrax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._compiled import compiled
from .._simulate import simulate
from ..flows import DeepFlow, SignedHadamardFlow
from ..landscape import GreedyLowRank, greedy_low_rank, successive_saddles
from ..measurements import DiagonalMeasurement
from ..problems import Problem
from ._jump_times import around, crossing


# An eigenvalue, or an entry, counts as grown at this share of the largest at the end.
LEVEL = 1e-4
# Deeper products cannot start as small: the time that they take is a power of 1/alpha.
DEEP_LEVEL = 1e-2
# The published diagonal network: data (3, 3), and the solution.
_DATA = ((1.0, 0.5, -0.3), (0.2, 1.0, 0.8), (-0.4, 0.3, 1.0))
_SOLUTION = (1.0, -0.5, 0.8)

# Of factor flows: jump times are compared to a part in a thousand, distances to less.
_RTOL = 1e-4


def factor_flows(
    problem: Problem,
    path: GreedyLowRank,
    log10_alphas: Sequence[float | int],
    num_times: int,
    solver: Any,
) -> dict[str, Any]:
    """Follows factor flows from smaller and smaller starts, past the last jump of a path.

    Args:
        problem: with the squared loss.
        path: of depth 2.
        log10_alphas: of the starts.
        num_times: at which X is kept, for each jump.
        solver: for `simulate`.

    Returns:
        Variables over alpha and the jump: its time and the law of the first, the distances from
        the saddles and from the last one at the end, the error estimate, and whether the time was
        reached; the largest eigenvalues over time along the smallest start.
    """

    @compiled
    def follow(log10_alpha: Any, times: Any) -> Any:
        sol = simulate(
            problem,
            log10_alpha=log10_alpha,
            t1=times[-1],
            solver=solver,
            rtol=_RTOL,
            saveat=times,
            adjoint=diffrax.ForwardMode(),
            throw=False,
        )
        return sol.Xs, sol.error_estimate, sol.time

    grid, ranks = around(path.jump_times, num_times), len(path.points) - 1
    size = float(np.linalg.norm(path.points[-1], 2))
    jumps, near, ends, escapes, shown = [], [], [], [], np.zeros((len(grid), ranks + 1))
    for value in log10_alphas:
        scale = -value * np.log(10)
        Xs, error, time = follow(jnp.asarray(float(value)), jnp.asarray(grid * scale))
        Xs = np.asarray(Xs)
        values = np.linalg.eigvalsh(Xs)[:, ::-1]
        jumps.append([crossing(grid * scale, values[:, k], LEVEL * size) for k in range(ranks)])
        escapes.append((np.log(LEVEL * size) + scale) / (2 * path.growth_rates[0]))
        near.append([closest(Xs, point) for point in path.points[1:]])
        end = is_reached(time, grid[-1] * scale)
        ends.append((far(Xs[-1], path.points[-1]), float(error), float(end)))
        shown = values[:, : ranks + 1]
    return {
        "jump_time": (("log10_alpha", "jump"), np.array(jumps)),
        "predicted_first_jump": ("log10_alpha", np.array(escapes)),
        "distance_of_saddle": (("log10_alpha", "jump"), np.array(near)),
        "distance_of_end": ("log10_alpha", np.array(ends)[:, 0]),
        "error_estimate": ("log10_alpha", np.array(ends)[:, 1]),
        "reached": ("log10_alpha", np.array(ends)[:, 2] > 0),
        "eigenvalues": (("scaled_time", "eigenvalue"), shown),
        "scaled_time": ("scaled_time", grid),
    }


def deep_products(
    problem: Problem,
    path: GreedyLowRank,
    depths: Sequence[int],
    log10_alphas: Sequence[float | int],
    num_times: int,
) -> dict[str, Any]:
    r"""Follows products of N > 2 factors up to a multiple of the time of their second escape.

    While $\sigma$ is small $\dot\sigma = N\mu_1\sigma^{2-2/N}$, so that it passes a level L at
    $(\alpha^{-p} - L^{-p})/((N-2)\mu_1)$, $p = 1 - 2/N$.

    Args:
        problem: with the squared loss.
        path: of depth 2, which has the rates and the size of X.
        depths: N, each above 2.
        log10_alphas: of the starts.
        num_times: at which X is kept, on the way to each of two escapes.

    Returns:
        Variables over depth and alpha: the first escape and its law, the distances from the
        saddles of that depth, how far X is from symmetric, and whether the time was reached.
    """
    size, mu = float(np.linalg.norm(path.points[-1], 2)), path.growth_rates
    ranks = len(path.points) - 1
    times, predicted, near, skew, reached = [], [], [], [], []
    for depth in depths:
        reference = greedy_low_rank(problem, depth=depth, max_rank=ranks)
        power = 1 - 2 / depth

        # Of few stages: nothing is stiff on the way, and it compiles in half the time of `Dopri8`.
        @compiled
        def follow(log10_alpha: Any, times: Any, depth: int = depth) -> Any:
            sol = simulate(
                problem,
                DeepFlow(depth),
                log10_alpha=log10_alpha,
                t1=times[-1],
                solver=diffrax.Tsit5(),
                rtol=1e-4,
                # Where the second rate is small the time is long.
                max_steps=65_536,
                saveat=times,
                adjoint=diffrax.ForwardMode(),
                throw=False,
            )
            return sol.Xs, sol.time

        for value in log10_alphas:
            unit = 10 ** (-power * value) / (depth - 2)
            # The second escape starts from a larger seed, and so comes before unit / mu_2.
            early = np.linspace(0, 1.2 * unit / mu[0], num_times)
            late = np.geomspace(1.21 * unit / mu[0], 3 * unit / mu[1], num_times)
            grid = np.concatenate([early, late])
            Xs, time = follow(jnp.asarray(float(value)), jnp.asarray(grid))
            Xs = np.asarray(Xs)
            top = np.linalg.eigvalsh((Xs + Xs.transpose(0, 2, 1)) / 2)[:, -1]
            times.append(crossing(grid, top, DEEP_LEVEL * size, power=power))
            predicted.append((unit - (DEEP_LEVEL * size) ** -power / (depth - 2)) / mu[0])
            near.append([closest(Xs, point) for point in reference.points[1:]])
            skew.append(np.max(np.linalg.norm(Xs - Xs.transpose(0, 2, 1), axis=(1, 2))) / size)
            reached.append(is_reached(time, grid[-1]))
    shape, axes = (len(depths), -1), ("depth", "deep_log10_alpha")
    return {
        "deep_escape_time": (axes, np.reshape(times, shape)),
        "deep_predicted": (axes, np.reshape(predicted, shape)),
        "deep_distance_of_saddle": ((*axes, "jump"), np.reshape(near, (*shape, ranks))),
        "deep_asymmetry": (axes, np.reshape(skew, shape)),
        "deep_reached": (axes, np.reshape(reached, shape)),
    }


def diagonal_networks(log10_alphas: Sequence[float | int], num_times: int) -> dict[str, Any]:
    """Follows the published diagonal network, whose four jumps are known exactly.

    Args:
        log10_alphas: of the starts.
        num_times: at which x is kept, for each jump.

    Returns:
        Variables over alpha and the jump: its time, the distance from the saddle that it leads to,
        whether the time was reached, and the exact path.
    """
    data = np.array(_DATA) / np.sqrt(len(_DATA))
    problem = Problem(DiagonalMeasurement(data), data @ np.array(_SOLUTION))
    path = successive_saddles(problem)

    # An explicit solver: rounding cannot seed a coordinate here, and it compiles in half the time.
    @compiled
    def follow(log10_alpha: Any, times: Any) -> Any:
        sol = simulate(
            problem,
            SignedHadamardFlow(depth=2),
            log10_alpha=log10_alpha,
            t1=times[-1],
            solver=diffrax.Tsit5(),
            rtol=1e-3,
            saveat=times,
            adjoint=diffrax.ForwardMode(),
            throw=False,
        )
        return jnp.diagonal(jnp.asarray(sol.Xs), axis1=1, axis2=2), sol.time

    grid, jumps, near, reached = around(path.jump_times, num_times), [], [], []
    # What each jump brings to life: a coordinate that has a sign, and did not have it before.
    newcomers = []
    for before, after in itertools.pairwise(path.points):
        coordinate = int(np.flatnonzero((after != 0) & (np.sign(after) != np.sign(before)))[0])
        newcomers.append((coordinate, np.sign(after[coordinate])))
    for value in log10_alphas:
        scale = -value * np.log(10)
        xs, time = follow(jnp.asarray(float(value)), jnp.asarray(grid * scale))
        xs = np.asarray(xs)
        grown = [np.maximum(sign * xs[:, i], 0) for i, sign in newcomers]
        jumps.append([crossing(grid * scale, sizes, LEVEL) for sizes in grown])
        near.append([closest(xs, point) for point in path.points[1:]])
        reached.append(is_reached(time, grid[-1] * scale))
    return {
        "network_jump_time": (("log10_alpha", "network_jump"), np.array(jumps)),
        "network_tau": ("network_jump", path.jump_times),
        "network_distance": (("log10_alpha", "network_jump"), np.array(near)),
        "network_saddle": (("network_jump", "coordinate"), path.points[1:]),
        "network_reached": ("log10_alpha", np.array(reached)),
    }


def is_reached(time: Any, wanted: float) -> bool:
    """Whether an integration came to the time that was asked for, but for rounding.

    Args:
        time: at which it ended.
        wanted: what was asked for.

    Returns:
        True if so.
    """
    return bool(time >= wanted * (1 - 1e-9))


def far(X: Float[np.ndarray, "..."], point: Float[np.ndarray, "..."]) -> float:
    """The distance from a point, relative to its size.

    Args:
        X: of any shape.
        point: of that shape.

    Returns:
        The distance.
    """
    return float(np.linalg.norm(X - point) / np.linalg.norm(point))


def closest(Xs: Float[np.ndarray, "k ..."], point: Float[np.ndarray, "..."]) -> float:
    """The least relative distance from a point along a path.

    Args:
        Xs: the path, time first.
        point: of the shape of the others.

    Returns:
        The distance.
    """
    return min(far(X, point) for X in Xs)
