"""Instances of every model, and the census of their critical points."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._compiled import compiled
from ..landscape import (
    AbstractObjective,
    Completion,
    CriticalPoints,
    DeepLinear,
    PhaseRetrieval,
    Sensing,
    Synchronization,
    find_critical_points,
    gradient_descent,
)
from ..measurements import DenseMeasurement, RankOneMeasurement
from ..problems import Problem, matrix_completion, phase_retrieval


# Of the factor models: n and r, and the eigenvalues of the planted matrix.
DIM, RANK = 4, 2
SPECTRUM = (2.0, 1.0)


class Census(NamedTuple):
    """What was found on the instances of one model.

    Attributes:
        counts: kind -> number of distinct critical points, over all instances.
        starts: random starts of gradient descent, over all instances.
        trapped: how many of them ended above the minimum.
        unfinished: how many did not come to a gradient of zero.
        unseen: instances of which no global minimum was found.
        flattest: the largest of the negative smallest eigenvalues at strict saddles.
    """

    counts: dict[str, int]
    starts: int
    trapped: int
    unfinished: int
    unseen: int
    flattest: float


def drawn(key: Any, shape: tuple[int, ...], stream: int) -> Float[np.ndarray, "..."]:
    """Standard normal numbers of NumPy, as JAX compiles a program for each shape.

    Args:
        key: of JAX.
        shape: of the array.
        stream: of which one key has several, each independent of the others.

    Returns:
        The numbers.
    """
    words = np.asarray(jax.random.key_data(key)).ravel().tolist()
    return np.random.default_rng([*words, stream]).standard_normal(shape)


def planted(key: Any) -> Float[np.ndarray, "n n"]:
    """A random matrix of rank 2 and eigenvalues `SPECTRUM`.

    Args:
        key: of its eigenvectors.

    Returns:
        The matrix, shape (4, 4).
    """
    basis = np.linalg.qr(drawn(key, (DIM, RANK), 0))[0]
    return basis @ np.diag(SPECTRUM) @ basis.T


def measured(rows: Float[np.ndarray, "m k"], truth: Float[np.ndarray, "n n"]) -> Problem:
    r"""Measurements in coordinates in which the Frobenius norm is Euclidean, with m = N of them.

    Fewer are filled up with zeros, more are replaced by R of their QR decomposition, which keeps
    $\|A(X)\|$: all instances have the same shapes, and share their programs.

    Args:
        rows: shape (m, N), N = n (n + 1) / 2.
        truth: the planted matrix, shape (n, n).

    Returns:
        The problem.
    """
    n = truth.shape[0]
    first, second = np.triu_indices(n)
    size = len(first)
    if len(rows) > size:
        rows = np.asarray(np.linalg.qr(rows, mode="r"))
    stack = np.zeros((size, n, n))
    twice = np.where(first == second, 1.0, np.sqrt(2.0))
    stack[: len(rows), first, second] = rows / twice
    stack[: len(rows), second, first] = rows / twice
    targets = np.einsum("kij,ij->k", stack, truth)
    return Problem(DenseMeasurement(stack), targets, ground_truth=truth)


def gaussian(count: int, truth: Float[np.ndarray, "n n"], key: Any) -> Problem:
    r"""Gaussian measurements divided by $\sqrt m$, so that $E\|A(X)\|^2 = \|X\|_F^2$.

    Args:
        count: m.
        truth: the planted matrix.
        key: of the measurements.

    Returns:
        The problem.
    """
    size = truth.shape[0] * (truth.shape[0] + 1) // 2
    rows = drawn(key, (count, size), 1) / np.sqrt(count)
    return measured(rows, truth)


def everything(truth: Float[np.ndarray, "n n"]) -> Problem:
    """Full observation: principal components.

    Args:
        truth: the matrix.

    Returns:
        The problem.
    """
    return measured(np.eye(truth.shape[0] * (truth.shape[0] + 1) // 2), truth)


def entries(key: Any) -> Problem:
    """Seven of the ten entries on and above the diagonal of a planted matrix.

    Args:
        key: of the instance.

    Returns:
        The problem.
    """
    drawn = matrix_completion(DIM, RANK, 7, key=key)
    stack = np.zeros((DIM * (DIM + 1) // 2, DIM, DIM))
    stack[:7] = np.asarray(drawn.measurement.as_stack())
    truth = planted(key)
    targets = np.einsum("kij,ij->k", stack, truth)
    return Problem(DenseMeasurement(stack), targets, ground_truth=truth)


def _bounded(key: Any) -> Completion:
    problem = entries(key)
    longest = float(np.sqrt(np.max(np.diag(np.asarray(problem.ground_truth)))))
    # Zero at the planted factor, as the theory has it.
    return Completion(problem, RANK, row_bound=1.1 * longest)


def _phases(count: int) -> Callable[[Any], PhaseRetrieval]:
    def make(key: Any) -> PhaseRetrieval:
        drawn: Any = phase_retrieval(3, 36, key=key)
        # The mean over repeated measurements is that over the first: one shape for all counts.
        again = np.arange(36) % count
        vectors = np.asarray(drawn.measurement.vectors)[again]
        return PhaseRetrieval(
            Problem(RankOneMeasurement(vectors), np.asarray(drawn.targets)[again])
        )

    return make


def _signs(sigma: float) -> Callable[[Any], Synchronization]:
    def make(key: Any) -> Synchronization:
        noise = drawn(key, (6, 6), 2)
        noise = np.triu(noise, 1)
        z = np.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])
        return Synchronization(np.outer(z, z) + sigma * (noise + noise.T))

    return make


# Model -> objective of a key, and the least value where it is known.
MODELS: dict[str, tuple[Callable[[Any], AbstractObjective], float | None]] = {
    "principal components": (lambda key: Sensing(everything(planted(key)), RANK), 0.0),
    "sensing, m = 40 nr": (lambda key: Sensing(gaussian(320, planted(key), key), RANK), 0.0),
    "sensing, m = nr": (lambda key: Sensing(gaussian(8, planted(key), key), RANK), 0.0),
    "completion": (lambda key: Sensing(entries(key), RANK), 0.0),
    "completion, regularized": (_bounded, 0.0),
    "phase retrieval, m = 12 n": (_phases(36), 0.0),
    "phase retrieval, m = 2 n": (_phases(6), 0.0),
    "synchronization": (_signs(0.0), -36.0),
    "synchronization, noisy": (_signs(2.0), None),
    "deep linear, N = 2": (lambda key: DeepLinear(np.diag([2.0, 1.0]), 2), 0.0),
    "deep linear, N = 3": (lambda key: DeepLinear(np.diag([2.0, 1.0]), 3), 0.0),
}
# Those for which a theorem excludes spurious minima, whatever the instance.
NO_SPURIOUS = (
    "principal components",
    "synchronization",
    "deep linear, N = 2",
    "deep linear, N = 3",
)


# The gradient at which descent ends, and one with which it has as good as ended: rounding may keep
# it from the first.
_TOLERANCE, AT_REST = 1e-9, 1e-6


@compiled
def descend(
    objective: AbstractObjective, starts: Array, num_steps: Array
) -> tuple[Array, Array, Array]:
    """Gradient descent from many starts.

    Args:
        objective: the objective.
        starts: shape (s, ...).
        num_steps: the largest number of tries.

    Returns:
        The ends, their values and the norms of the gradient there.
    """

    def one(start: Array) -> tuple[Array, Array, Array]:
        options = {"num_steps": num_steps, "gradient_tolerance": _TOLERANCE}
        end = gradient_descent(objective, start, **options)
        return end.point, end.value, end.gradient_norm

    # One after the other: a batch would take all lanes to the slowest.
    return jax.lax.map(one, starts)


def starts_for(objective: AbstractObjective, count: int, key: Any) -> Array:
    """Gaussian starts of three sizes.

    Args:
        objective: whose shape they have.
        count: how many.
        key: of the draw.

    Returns:
        Shape (count, ...).
    """
    draw = drawn(key, (count, *objective.shape), 3)
    sizes = np.array([0.3, 0.7, 1.2])[np.arange(count) % 3]
    return jnp.asarray(draw * sizes.reshape(count, *(1,) * len(objective.shape)), objective.dtype)


@compiled
def _heights(objective: AbstractObjective, points: Array) -> Array:
    return jax.vmap(objective)(points)


def census(
    name: str, instances: int, count: int, num_steps: int, *, key: Any
) -> tuple[Census, list[CriticalPoints]]:
    """Critical points and ends of descent on several instances of one model.

    Args:
        name: of the model.
        instances: how many.
        count: starts on each.
        num_steps: of gradient descent.
        key: of instances and starts.

    Returns:
        The census, and the points of each instance.
    """
    make, least = MODELS[name]
    counts: dict[str, int] = {}
    trapped, unfinished, unseen, flattest, points = 0, 0, 0, -np.inf, []
    for one in range(instances):
        own = jax.random.fold_in(key, one)
        objective = make(own)
        starts = starts_for(objective, count, jax.random.fold_in(own, 1))
        heights = np.asarray(_heights(objective, starts))
        ends, values, slopes = descend(objective, starts, jnp.asarray(num_steps))
        # Where the least value is not known it is the lowest that any start reached.
        minimum = float(np.min(values)) if least is None else least
        # Where descent ended is looked at too: what traps it is then named.
        both = np.concatenate([starts, ends])
        if isinstance(objective, DeepLinear):
            # Critical at any depth; no search needs to find it.
            both[0] = 0.0
        found = find_critical_points(objective, jnp.asarray(both), minimum=minimum)
        level = 1e-4 * float(np.median(np.abs(heights)))
        # What is not a number is neither above the minimum nor at rest.
        trapped += int(np.sum(np.asarray(values) > minimum + level))
        unfinished += int(np.sum(~(np.asarray(slopes) <= AT_REST)))
        unseen += "global minimum" not in found.kinds
        for kind in found.kinds:
            counts[kind] = counts.get(kind, 0) + 1
        saddles = found.min_eigenvalues[found.of_kind("strict saddle")]
        flattest = max([flattest, *map(float, saddles)])
        points.append(found)
    return Census(counts, instances * count, trapped, unfinished, unseen, flattest), points
