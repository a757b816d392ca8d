"""Minimize E f(w, z) from samples of z: one interface, and four problems of different kinds.

Each has a finite population of z from which samples are drawn with replacement, so that the risk
of every w is an exact sum and the least risk is known.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..flows.potentials import Entropy


class StochasticProblem(NamedTuple):
    """E f(w, z) over a population, with what theory needs to know about it.

    Attributes:
        value: f, of w and one z.
        population: every z, along the first axis.
        start: the dual of the first w.
        primal: w of its dual.
        project: back onto the domain, after a step in w; only where `primal` is the identity.
        best: a w of least risk; the best that was found where f is not convex.
        is_convex: whether f is convex in w, so that the bound is a theorem.
        distance: the divergence of `best` from the start is half the square of this.
        slope: root of the mean square of the dual norm of the gradient, from above.
        minimizer: samples -> w of least empirical risk.
        regularized: samples -> w of least empirical risk plus an explicit penalty, or None.
    """

    value: Callable[[Any, Any], Any]
    population: Any
    start: Any
    primal: Callable[[Any], Any]
    project: Callable[[Any], Any]
    best: np.ndarray
    is_convex: bool
    distance: float
    slope: float
    minimizer: Callable[[Any], np.ndarray]
    regularized: Callable[[Any], np.ndarray] | None

    def risk(self, w: Any) -> Any:
        """E f(w, z), exactly."""
        return jnp.mean(jax.vmap(lambda z: self.value(w, z))(self.population))

    def bound(self, count: Any) -> Any:
        """The excess risk that one pass over `count` samples has at most, in expectation."""
        return self.distance * self.slope / np.sqrt(count)

    def step(self, count: Any) -> Any:
        """The constant step with which the bound is proved."""
        return self.distance / (self.slope * np.sqrt(count))


def one_pass(problem: StochasticProblem, samples: Any, horizon: Any, step: Any) -> Any:
    """One step for each of the first `horizon` samples, and the average of all w stepped from.

    Args:
        problem: to minimize.
        samples: z along the first axis; those beyond the horizon are not looked at.
        horizon: how many to use, a traced integer.
        step: its length.

    Returns:
        The average of the w.
    """

    def advance(carry: Any, item: Any) -> tuple[Any, None]:
        dual, total = carry
        z, number = item
        w = problem.primal(dual)
        used = number < horizon
        gradient = jax.grad(problem.value)(w, z)
        moved = problem.project(dual - step * gradient)
        return (jnp.where(used, moved, dual), total + jnp.where(used, w, 0)), None

    numbers = jnp.arange(len(samples))
    start = (problem.start, jnp.zeros_like(problem.start))
    (_, total), _ = jax.lax.scan(advance, start, (samples, numbers))
    return total / horizon


def supervised(rng: np.random.Generator, dim: int, size: int) -> StochasticProblem:
    """Logistic regression on Gaussian inputs with decaying variances; z = label times input."""
    scales = 1 / np.arange(1, dim + 1)
    inputs = rng.normal(size=(size, dim)) * scales / np.linalg.norm(scales)
    truth = rng.normal(size=dim)
    labels = np.where(rng.random(size) < 1 / (1 + np.exp(-4 * inputs @ truth)), 1.0, -1.0)
    population = labels[:, None] * inputs

    def fit(z: np.ndarray, penalty: float) -> np.ndarray:
        def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
            margin = z @ w
            slope = -1 / (1 + np.exp(np.clip(margin, -700, 700)))
            value = np.mean(np.logaddexp(0, -margin)) + penalty / 2 * w @ w
            return float(value), z.T @ slope / len(z) + penalty * w

        return _minimize(loss, np.zeros(dim))

    best = fit(population, 0.0)
    distance = float(np.linalg.norm(best))
    slope = float(np.sqrt(np.mean(np.sum(population**2, axis=1))))
    return StochasticProblem(
        value=lambda w, z: jnp.logaddexp(0.0, -jnp.dot(w, z)),
        population=jnp.asarray(population),
        start=jnp.zeros(dim),
        primal=lambda dual: dual,
        project=lambda w: w,
        best=best,
        is_convex=True,
        distance=distance,
        slope=slope,
        minimizer=lambda z: fit(z, 0.0),
        regularized=lambda z: fit(z, slope / (distance * np.sqrt(len(z)))),
    )


def density(rng: np.random.Generator, cells: int, size: int) -> StochasticProblem:
    """A distribution over cells by its logits: f is the negative log-likelihood of one sample."""
    weights = 1 / np.arange(1, cells + 1)
    # Every cell occurs, so that the best logits are finite.
    drawn = rng.choice(cells, size - cells, p=weights / np.sum(weights))
    population = np.concatenate([np.arange(cells), drawn])
    shares = np.bincount(population, minlength=cells) / size
    best = np.log(shares) - np.mean(np.log(shares))
    distance, slope = float(np.linalg.norm(best)), float(np.sqrt(2.0))

    def fit(z: np.ndarray, penalty: float) -> np.ndarray:
        seen = np.bincount(np.asarray(z), minlength=cells) / len(z)

        def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
            top = np.max(w)
            total = np.sum(np.exp(w - top))
            value = top + np.log(total) - seen @ w + penalty / 2 * w @ w
            return float(value), np.exp(w - top) / total - seen + penalty * w

        return _minimize(loss, np.zeros(cells))

    def frequencies(z: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(np.bincount(np.asarray(z), minlength=cells) / len(z))

    return StochasticProblem(
        value=lambda w, z: jax.nn.logsumexp(w) - w[z],
        population=jnp.asarray(population),
        start=jnp.zeros(cells),
        primal=lambda dual: dual,
        project=lambda w: w,
        best=best,
        is_convex=True,
        distance=distance,
        slope=slope,
        minimizer=frequencies,
        regularized=lambda z: fit(z, slope / (distance * np.sqrt(len(z)))),
    )


def routes(rng: np.random.Generator, side: int, size: int, *, entropic: bool) -> StochasticProblem:
    """A random mixture of the monotone routes through a grid; z holds the cost of every route.

    Edges have random costs in [0, 1], and a route costs the mean over its edges. Steps are those
    of the entropy on the simplex, or of the Euclidean norm with projections onto it.
    """
    paths = _monotone_routes(side)
    means = rng.random(paths.shape[1])
    edges = np.where(rng.random((size, paths.shape[1])) < means, rng.random((size, 1)), 0.0)
    population = edges @ (paths / (2 * side)).T
    count = len(paths)
    average = np.mean(population, axis=0)
    best = np.eye(count)[np.argmin(average)]
    if entropic:
        potential = Entropy()
        distance = float(np.sqrt(2 * np.log(count)))
        slope = float(np.sqrt(np.mean(np.max(population, axis=1) ** 2)))
        start = jnp.zeros(count)
        primal = lambda dual: potential.primal(dual - jax.nn.logsumexp(dual))
        project = lambda dual: dual
    else:
        distance = float(np.sqrt(1 - 1 / count))
        slope = float(np.sqrt(np.mean(np.sum(population**2, axis=1))))
        start = jnp.full(count, 1 / count)
        primal = lambda dual: dual
        project = optax.projections.projection_simplex

    def regularized(z: np.ndarray) -> np.ndarray:
        logits = -np.mean(z, axis=0) * np.sqrt(len(z)) * np.sqrt(2 * np.log(count)) / slope
        weights = np.exp(logits - np.max(logits))
        return weights / np.sum(weights)

    return StochasticProblem(
        value=lambda w, z: jnp.dot(w, z),
        population=jnp.asarray(population),
        start=start,
        primal=primal,
        project=project,
        best=best,
        is_convex=True,
        distance=distance,
        slope=slope,
        minimizer=lambda z: np.eye(count)[np.argmin(np.mean(z, axis=0))],
        regularized=regularized if entropic else None,
    )


def clusters(rng: np.random.Generator, centers: int, size: int) -> StochasticProblem:
    """k-means in the plane: w are the centers, f the squared distance to the nearest one.

    f is not convex: the bound is no theorem here, and a start decides between local minima. The
    start is one fixed sample for each center, for all methods alike.
    """
    places = rng.normal(size=(centers, 2))
    population = places[rng.integers(centers, size=size)] + 0.15 * rng.normal(size=(size, 2))
    begin = population[rng.choice(size, centers, replace=False)]

    def lloyd(z: np.ndarray, w: np.ndarray) -> np.ndarray:
        for _ in range(100):
            nearest = np.argmin(np.sum((z[:, None] - w[None]) ** 2, axis=2), axis=1)
            moved = np.array(
                [
                    z[nearest == k].mean(axis=0) if np.any(nearest == k) else w[k]
                    for k in range(centers)
                ]
            )
            if np.array_equal(moved, w):
                break
            w = moved
        return w

    def cost(w: np.ndarray) -> float:
        return float(np.mean(np.min(np.sum((population[:, None] - w[None]) ** 2, axis=2), axis=1)))

    tries = [begin, *(population[rng.choice(size, centers, replace=False)] for _ in range(20))]
    best = min((lloyd(population, w) for w in tries), key=cost)
    spread = population - np.mean(population, axis=0)
    return StochasticProblem(
        value=lambda w, z: jnp.min(jnp.sum((w - z[None, :]) ** 2, axis=1)),
        population=jnp.asarray(population),
        start=jnp.asarray(begin),
        primal=lambda dual: dual,
        project=lambda w: w,
        best=best,
        is_convex=False,
        distance=float(np.linalg.norm(best - begin)),
        slope=2 * float(np.sqrt(np.mean(np.sum(spread**2, axis=1)))),
        minimizer=lambda z: lloyd(np.asarray(z), begin),
        regularized=None,
    )


def _minimize(loss: Callable[[np.ndarray], Any], start: np.ndarray) -> np.ndarray:
    from scipy.optimize import minimize

    options = {"maxiter": 2000, "gtol": 1e-9, "ftol": 1e-15}
    return minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x


def _monotone_routes(side: int) -> np.ndarray:
    """Edges used by every route to the right and up through a grid, shape (routes, edges)."""
    from itertools import combinations

    found = []
    for rights in combinations(range(2 * side), side):
        used, place = np.zeros((2, side + 1, side + 1)), [0, 0]
        for move in range(2 * side):
            axis = 0 if move in rights else 1
            used[axis, place[0], place[1]] = 1
            place[axis] += 1
        found.append(used.ravel())
    return np.array(found)
