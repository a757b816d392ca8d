"""Planted instances, and every method of recovery run on them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import convex, simulate
from .._compiled import compiled
from .._results import RESULTS
from ..measurements import DenseMeasurement
from ..problems import Problem, gaussian_sensing, matrix_completion
from ..recovery import alternating_minimization, gradient_descent, random_start, spectral_start


CONVEX, FLOW = "convex relaxation", "factor flow"
LOCAL = (
    "spectral start + gradient descent",
    "random start + gradient descent",
    "random start + noisy gradient descent",
    "alternating minimization",
)
METHODS = (CONVEX, *LOCAL, FLOW)
# Relative error in the Frobenius norm below which a matrix counts as recovered.
RECOVERED = 1e-3
# Where the targets are met, and what is left of the slope at the start where a search that did not
# meet them has come to rest.
_MET, _AT_REST = 2e-6, 1e-5
# Of each step; see `landscape.gradient_descent`.
_NOISE = 0.05


class Planted(NamedTuple):
    """Measurements of a planted matrix, of the same shapes whatever their number.

    Attributes:
        stack: shape (N, n, n), N = n (n + 1) / 2; zero beyond the m that there are.
        targets: shape (N,), zero there too.
        truth: the planted matrix.
        num_rows: how many rows are not zero.
    """

    stack: Float[np.ndarray, "N n n"]
    targets: Float[np.ndarray, " N"]
    truth: Float[np.ndarray, "n n"]
    num_rows: int


def sensing(dim: int, rank: int, most: int, *, key: Any) -> Problem:
    """An instance with as many measurements as will be asked for; see `first`.

    Args:
        dim: n.
        rank: of the planted matrix.
        most: m, the largest.
        key: of the instance.

    Returns:
        The problem.
    """
    return _draw(gaussian_sensing, dim, rank, most, key)


def completion(dim: int, rank: int, *, key: Any) -> Problem:
    """All entries in a random order, as matrices, so that programs are shared with sensing.

    Args:
        dim: n.
        rank: of the planted matrix.
        key: of the instance.

    Returns:
        The problem.
    """
    return _draw(matrix_completion, dim, rank, dim * (dim + 1) // 2, key)


@compiled
def _draw(generate: Callable[..., Problem], dim: int, rank: int, count: int, key: Any) -> Problem:
    problem = generate(dim, rank, count, key=key)
    stack = DenseMeasurement(problem.measurement.as_stack())
    return Problem(stack, problem.targets, ground_truth=problem.ground_truth)


def first(problem: Problem, count: int) -> Planted:
    """The first measurements of an instance.

    More than N = n (n + 1) / 2 of them are replaced by N that give the same least squares: R of the
    QR decomposition, which keeps ||A(X)|| for every X.

    Args:
        problem: with dense measurements and a ground truth.
        count: m.

    Returns:
        The measurements, padded to N.
    """
    n = problem.dim
    size = n * (n + 1) // 2
    truth = np.asarray(problem.ground_truth)
    rows = np.asarray(problem.measurement.as_stack())[:count].reshape(-1, n * n)
    if count > size:
        upper = np.triu_indices(n)
        twice = np.where(upper[0] == upper[1], 1.0, np.sqrt(2.0))
        packed = rows.reshape(-1, n, n)[:, upper[0], upper[1]] * twice
        triangle = np.linalg.qr(packed, mode="r")
        matrices = np.zeros((size, n, n))
        matrices[:, upper[0], upper[1]] = triangle / twice
        matrices[:, upper[1], upper[0]] = triangle / twice
        rows = matrices.reshape(-1, n * n)
    stack = np.zeros((size, n * n))
    stack[: len(rows)] = rows
    return Planted(stack.reshape(size, n, n), stack @ truth.reshape(-1), truth, len(rows))


@compiled
def _local(
    stack: Array, targets: Array, key: Any, rank: int, num_steps: Array
) -> tuple[Array, Array]:
    problem = Problem(DenseMeasurement(stack), targets)
    spectral, random = spectral_start(problem, rank), random_start(problem, rank, key=key)
    starts = jnp.stack([spectral, random, random])
    noises = jnp.array([0.0, 0.0, _NOISE], targets.dtype)

    def descend(start_and_noise: Any) -> Any:
        start, noise = start_and_noise
        found = gradient_descent(problem, start, num_steps=num_steps, noise=noise, key=key)
        return found.X

    X = jax.lax.map(descend, (starts, noises))
    X = jnp.concatenate([X, alternating_minimization(problem, spectral).X[None]])
    begin = jnp.concatenate([starts, spectral[None]])

    def steepness(X: Array) -> Array:
        # Of (1/4) ||A(UU') - y||^2 at any U with UU' = X.
        force = problem.measurement.adjoint(problem.residual(X))
        return jnp.sqrt(jnp.clip(jnp.sum(force * (force @ X)), 0))

    def is_cut_off(X: Array, U: Array) -> Array:
        going = ~(steepness(X) <= _AT_REST * steepness(U @ U.T))
        return going & ~(problem.misfit(X) <= _MET)

    return X, jax.vmap(is_cut_off)(X, begin)


@compiled
def _flow(stack: Array, targets: Array, log10_alpha: Array) -> tuple[Array, Array]:
    problem = Problem(DenseMeasurement(stack), targets)
    # Most come to rest within 60 steps. Where the norm diverges, or a target is on the boundary of
    # the cone, the flow takes thousands, and recovers nothing either way.
    found = simulate(problem, log10_alpha=log10_alpha, rtol=1e-5, max_steps=150, throw=False)
    return found.X, found.result != RESULTS.successful


def errors(
    planted: Planted,
    rank: int,
    methods: tuple[str, ...],
    *,
    key: Any,
    num_steps: int,
    log10_alpha: float,
) -> tuple[dict[str, float], dict[str, bool]]:
    """Relative errors of every method on one instance.

    Args:
        planted: the instance.
        rank: which the nonconvex methods are told; the convex one and the flow are not.
        methods: which to run.
        key: of random starts and noise.
        num_steps: the largest number of gradient steps.
        log10_alpha: of the flow.

    Returns:
        Method -> ||X - X*|| / ||X*||, infinite where the convex problem has no solution; and method
        -> whether it was cut off, so that nothing is known of where it goes.
    """
    stack, targets = jnp.asarray(planted.stack), jnp.asarray(planted.targets)
    found: dict[str, Any] = {}
    cut = dict.fromkeys(methods, False)
    if set(methods) & set(LOCAL):
        X, unfinished = _local(stack, targets, key, rank, jnp.asarray(num_steps))
        found = dict(zip(LOCAL, np.asarray(X), strict=True))
        cut |= {name: bool(one) for name, one in zip(LOCAL, unfinished, strict=True)}
    if FLOW in methods:
        X, unfinished = _flow(stack, targets, jnp.asarray(float(log10_alpha)))
        found[FLOW], cut[FLOW] = np.asarray(X), bool(unfinished)
    if CONVEX in methods:
        rows = slice(0, planted.num_rows)
        small = Problem(DenseMeasurement(planted.stack[rows]), planted.targets[rows])
        try:
            found[CONVEX] = np.asarray(convex.min_nuclear_norm(small).X)
        except ValueError:
            # The solver failed, or the minimum is not attained: it recovered nothing.
            found[CONVEX], cut[CONVEX] = np.full_like(planted.truth, np.inf), True
    size = np.linalg.norm(planted.truth)
    error = {name: float(np.linalg.norm(found[name] - planted.truth) / size) for name in methods}
    return error, {name: cut[name] for name in methods}
