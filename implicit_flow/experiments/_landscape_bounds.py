"""Where theorems bound what is found: curvature at saddles, noisy targets, iterations."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._compiled import compiled
from .._random import normal
from .._side_by_side import side_by_side
from ..landscape import PrincipalComponents, Sensing, find_critical_points, gradient_descent
from ..problems import Problem
from ..recovery import isometry
from ._landscape_models import (
    DIM,
    RANK,
    SPECTRUM,
    descend,
    drawn,
    gaussian,
    planted,
    starts_for,
)


def _constant(problem: Problem, key: Any) -> tuple[float, float]:
    """Bounds of delta_2r; 2r = n here."""
    found = isometry(
        problem.measurement, DIM, key=key, scale=jnp.asarray(1.0), num_starts=2, num_steps=100
    )
    return float(found.lower), float(found.upper)


def saddles(
    counts: tuple[int, ...], instances: int, starts: int, *, key: Any
) -> dict[str, np.ndarray]:
    r"""The flattest strict saddle of sensing, over the number of measurements.

    Args:
        counts: m; the objective is (1/4m) ||A(UU') - y||^2.
        instances: of each.
        starts: of the search on each.
        key: of everything.

    Returns:
        Name -> values over m and instance: bounds of delta_2r, the largest smallest eigenvalue at
        saddles in units of sigma_r, and numbers of saddles, of spurious minima, of points that
        second derivatives leave open and of global minima.
    """
    rows = np.empty((len(counts), instances, 7))

    def fill(place: tuple[int, ...]) -> None:
        own = jax.random.fold_in(jax.random.fold_in(key, place[0]), place[1])
        problem = gaussian(counts[place[0]], planted(own), own)
        objective = Sensing(problem, RANK)
        found = find_critical_points(
            objective, starts_for(objective, starts, jax.random.fold_in(own, 1)), minimum=0.0
        )
        strict = found.min_eigenvalues[found.of_kind("strict saddle")]
        flattest = float(np.max(strict)) / SPECTRUM[-1] if len(strict) else np.nan
        kinds = ("spurious minimum", "degenerate", "global minimum")
        others = [len(found.of_kind(kind)) for kind in kinds]
        rows[place] = [*_constant(problem, own), flattest, len(strict), *others]

    side_by_side(fill, np.ndindex(rows.shape[:2]))
    names = ("lower", "upper", "flattest", "saddles", "spurious", "degenerate", "global")
    return {name: rows[..., k] for k, name in enumerate(names)}


def perturbed(
    levels: tuple[float, ...], instances: int, starts: int, num_steps: int, *, key: Any
) -> dict[str, np.ndarray]:
    r"""Ends of descent on noisy targets, and on targets of a matrix of nearly low rank.

    Every U with $f(U) \le f(U_r)$, where $U_r U_r^\top = X_r$ is the best approximation of rank r,
    has $\|UU^\top - X_r\|_F \le 2\|w\| / \sqrt{1 - \delta_{2r}}$, w being what X_r leaves of the
    targets: so has the global minimum, and so have all ends if there is no other.

    Args:
        levels: of noise, per target of a unit matrix, and of the tail of the spectrum.
        instances: of each.
        starts: of descent on each.
        num_steps: of descent.
        key: of everything.

    Returns:
        Name -> values over disturbance, level and instance: the largest distance of an end to X_r,
        the bound, how far the values of the ends lie apart, relative to that of X_r, and the
        largest norm of the gradient at an end.
    """
    rows = np.empty((2, len(levels), instances, 4))

    def fill(place: tuple[int, ...]) -> None:
        kind, at, one = place
        own = jax.random.fold_in(key, one)
        low = planted(own)
        problem = gaussian(600 * DIM * (DIM + 1) // 2, low, own)
        targets = np.asarray(problem.targets)
        if kind == 0:
            # R of the QR decomposition of Gaussian rows sees noise of the same size in all rows.
            w = levels[at] * drawn(own, targets.shape, 4)
        else:
            rest = np.eye(DIM) - low @ np.linalg.pinv(low)
            w = np.asarray(problem.measurement.apply(jnp.asarray(levels[at] * rest)))
        disturbed = Sensing(Problem(problem.measurement, targets + w), RANK)
        begin = starts_for(disturbed, starts, jax.random.fold_in(own, 1))
        points, values, slopes = descend(disturbed, begin, jnp.asarray(num_steps))
        ends = np.einsum("sij,skj->sik", *(np.asarray(points),) * 2)
        apart = float(np.max(np.linalg.norm(ends - low, axis=(1, 2))))
        bound = 2 * float(np.linalg.norm(w)) / np.sqrt(1 - _constant(problem, own)[1])
        spread = float(np.ptp(np.asarray(values))) / (0.25 * float(np.sum(w**2)))
        rows[place] = [apart, bound, spread, float(np.max(np.asarray(slopes)))]

    side_by_side(fill, np.ndindex(rows.shape[:3]))
    names = ("distance", "bound", "spread", "slope")
    return {name: rows[..., k] for k, name in enumerate(names)}


@compiled
def _steps(dim: Array, condition: Array, starts: Array, keys: Array) -> Array:
    largest = starts.shape[1]
    spectrum = jnp.zeros(largest, starts.dtype).at[0].set(1.0).at[RANK - 1].set(1 / condition)
    matrix = jnp.diag(spectrum)
    # Rows beyond n are kept out of the objective, so that all dimensions share one program; the
    # noise, whose norm counts all rows, is as large on those that there are.
    there = (jnp.arange(largest) < dim)[:, None].astype(starts.dtype)
    noise = 0.01 * jnp.sqrt(largest / dim)
    whole = PrincipalComponents(matrix, RANK)

    def objective(U: Array) -> Array:
        return whole(there * U)

    goal = 0.25 * 1e-12 * jnp.sum(matrix**2)

    def one(start_and_key: Any) -> Array:
        start, key = start_and_key
        start = start * there
        start = start * jnp.sqrt(jnp.linalg.norm(matrix) / jnp.linalg.norm(start @ start.T))
        end = gradient_descent(objective, start, num_steps=200_000, goal=goal, noise=noise, key=key)
        return jnp.where(end.value <= goal, end.num_steps, -1)

    return jax.lax.map(one, (starts, keys))


def iterations(
    dims: tuple[int, ...], conditions: tuple[float, ...], count: int, *, key: Any
) -> np.ndarray:
    """Steps of noisy gradient descent from random starts to a relative error of 1e-6.

    Args:
        dims: n; the matrix is diag(1, 1/kappa, 0, ...), fully observed.
        conditions: kappa.
        count: random starts.
        key: of starts and noise.

    Returns:
        Numbers of steps, shape (dims, conditions, starts); nan where 200,000 did not suffice.
    """
    found = np.empty((len(dims), len(conditions), count))
    starts = normal(key, (count, max(dims), RANK))
    keys = jax.random.split(key, count)

    def fill(place: tuple[int, ...]) -> None:
        n, condition = float(dims[place[0]]), float(conditions[place[1]])
        steps = np.asarray(_steps(jnp.asarray(n), jnp.asarray(condition), starts, keys))
        found[place] = np.where(steps < 0, np.nan, steps)

    first, *others = np.ndindex(found.shape[:2])
    fill(first)
    side_by_side(fill, others)
    return found
