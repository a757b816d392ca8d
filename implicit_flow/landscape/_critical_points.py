"""Critical points of an objective: found from many starts, told apart, and classified."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float

from .. import _checks
from .._compiled import compiled
from ..linalg import each
from ._base import AbstractObjective
from ._hessian import hessian


KINDS = ("strict saddle", "global minimum", "spurious minimum", "minimum", "degenerate")


class CriticalPoints(eqx.Module):
    """Distinct critical points, by increasing value.

    Attributes:
        points: shape (k, ...), one representative of each orbit.
        values: of the objective, shape (k,).
        gradient_norms: how critical they are, shape (k,).
        min_eigenvalues: the smallest eigenvalue of the Hessian across the directions of the
            symmetries, shape (k,).
        max_eigenvalues: the largest one, shape (k,).
        counts: how many starts led there, shape (k,).
        kinds: "strict saddle": negative curvature; "minimum": positive curvature across the
            symmetries; "degenerate": neither is certain, second derivatives do not decide. With a
            known `minimum`, "global minimum": of that value, whatever the curvature; and "spurious
            minimum": a minimum above it.
        num_starts: of the search.
        num_lost: from how many it did not arrive at a critical point.
    """

    points: Float[np.ndarray, "k ..."]
    values: Float[np.ndarray, " k"]
    gradient_norms: Float[np.ndarray, " k"]
    min_eigenvalues: Float[np.ndarray, " k"]
    max_eigenvalues: Float[np.ndarray, " k"]
    counts: np.ndarray
    kinds: tuple[str, ...] = eqx.field(static=True)
    num_starts: int = eqx.field(static=True)
    num_lost: int = eqx.field(static=True)

    def of_kind(self, kind: str) -> np.ndarray:
        """Which of the points are of a kind.

        Args:
            kind: one of those above.

        Returns:
            Indices, shape (j,).
        """
        return np.flatnonzero(np.array([own == kind for own in self.kinds], bool))


def find_critical_points(
    objective: AbstractObjective,
    starts: Float[Array, "s ..."],
    *,
    minimum: float | None = None,
    tolerance: float = 1e-9,
    num_steps: int = 400,
) -> CriticalPoints:
    r"""Solves $\nabla f = 0$ from every start, and classifies what it arrives at.

    The Levenberg-Marquardt method on $\|\nabla f\|^2$ is drawn to critical points of every kind,
    saddles included. It finds those that it is drawn to: nothing shows that there are no others.

    Critical is where the gradient is below `tolerance` times its mean norm at the starts; the
    sign of a curvature counts beyond `sqrt(tolerance)` times the mean of the largest curvature at
    the starts. Values are equal within `sqrt(tolerance)` of the mean value at the starts, or of
    the value itself. Points are the same where their images under `objective.image` and their kinds
    are.

    A host function; the search itself is compiled once for all objectives of one structure.

    Args:
        objective: the objective.
        starts: where to begin, shape (s, ...); of several sizes, as critical points may lie
            anywhere. The search is in JAX's default type, be that of the objective a lesser one.
        minimum: the least value, if known; it tells global minima from others.
        tolerance: see above.
        num_steps: the largest number of steps from each start.

    Returns:
        The distinct points.

    Raises:
        ValueError: starts of another shape, a tolerance that is not positive, or a minimum that is
            not finite.

    Example:
        >>> import jax, jax.numpy as jnp, implicit_flow as imf
        >>> f = imf.landscape.PrincipalComponents(jnp.diag(jnp.array([3.0, 2.0, 1.0])), rank=1)
        >>> starts = jax.random.normal(jax.random.key(0), (40, 3, 1))
        >>> found = imf.landscape.find_critical_points(f, starts, minimum=1.25)
        >>> found.values.round(6).tolist()
        [1.25, 2.5, 3.25, 3.5]
        >>> found.kinds
        ('global minimum', 'strict saddle', 'strict saddle', 'strict saddle')
    """
    _checks.instance(objective, "objective", AbstractObjective)
    starts = _checks.array(starts, "starts", objective.dtype)
    _checks.shape(starts, "starts", ("s", *objective.shape))
    _checks.nonempty(starts, "starts", ("s",))
    _checks.positive(tolerance, "tolerance")
    if minimum is not None:
        _checks.finite(minimum, "minimum")
    _checks.at_least(num_steps, "num_steps", 1)
    # The damping of the method has JAX's default type, and takes no lesser one beside it.
    starts = starts.astype(np.promote_types(starts.dtype, jnp.result_type(float)))
    with jax.numpy_dtype_promotion("standard"):
        found = jax.device_get(_search(objective, starts, tolerance, num_steps))
    loose = np.sqrt(tolerance)
    critical = found["gradient_norms"] <= tolerance * np.mean(found["steepness"])
    level = loose * np.maximum(np.mean(np.abs(found["heights"])), np.abs(found["values"]))
    order = [k for k in np.argsort(found["values"], kind="stable") if critical[k]]
    bend = loose * np.mean(found["curvatures"])
    every = [
        _kind(low, value, slack, bend, minimum)
        for low, value, slack in zip(found["min_eigenvalues"], found["values"], level, strict=True)
    ]
    kept, counts = _distinct(found, order, level, every)
    chosen = {name: found[name][kept] for name in found}
    kinds = tuple(every[index] for index in kept)
    return CriticalPoints(
        points=chosen["points"],
        values=chosen["values"],
        gradient_norms=chosen["gradient_norms"],
        min_eigenvalues=chosen["min_eigenvalues"],
        max_eigenvalues=chosen["max_eigenvalues"],
        counts=np.array(counts, int),
        kinds=kinds,
        num_starts=len(starts),
        num_lost=int(np.sum(~critical)),
    )


def _kind(low: float, value: float, slack: float, bend: float, minimum: float | None) -> str:
    if low < -bend:
        return "strict saddle"
    if minimum is not None and value <= minimum + slack:
        return "global minimum"
    if low <= bend:
        return "degenerate"
    return "minimum" if minimum is None else "spurious minimum"


def _distinct(found: Any, order: list, level: np.ndarray, kinds: list[str]) -> tuple[list, list]:
    """Indices of one point for each image, and how many there are of each."""
    kept: list[int] = []
    counts: list[int] = []
    images = found["images"].reshape(len(level), -1)
    # At a degenerate point an iterate stops farther away than its gradient shows.
    near = 1e-3 * np.mean(found["sizes"])
    for index in order:
        for place, other in enumerate(kept):
            # Layers of zeros have one image, and not all of them the same curvature.
            same = kinds[index] == kinds[other]
            same &= abs(found["values"][index] - found["values"][other]) <= 10 * level[index]
            if same and np.linalg.norm(images[index] - images[other]) <= near:
                counts[place] += 1
                break
        else:
            kept.append(index)
            counts.append(1)
    return kept, counts


@compiled
def _search(
    objective: AbstractObjective, starts: Float[Array, "s ..."], tolerance: float, num_steps: int
) -> dict[str, Any]:
    # Traced once for all that ask for them.
    gradient, value = jax.jit(jax.grad(objective)), jax.jit(lambda at: objective(at))
    second = jax.jit(partial(hessian, objective))
    # Far below what is asked for: the method stops where it makes no more progress.
    solver = optx.LevenbergMarquardt(rtol=1e-3 * tolerance, atol=1e-3 * tolerance)

    def one(start: Array) -> dict[str, Any]:
        solution = optx.least_squares(
            lambda point, _: gradient(point), solver, start, max_steps=num_steps, throw=False
        )
        point = jnp.where(jnp.all(jnp.isfinite(solution.value)), solution.value, start)
        low, high = across_symmetries(second(point), objective.orbit(point), point)
        return {
            "points": point,
            "images": objective.image(point),
            "values": value(point),
            "gradient_norms": jnp.linalg.norm(gradient(point)),
            "min_eigenvalues": low,
            "max_eigenvalues": high,
            "steepness": jnp.linalg.norm(gradient(start)),
            "heights": value(start),
            "sizes": jnp.linalg.norm(objective.image(start)),
            "curvatures": jnp.linalg.norm(second(start), ord=2),
        }

    return each(one, starts)


def across_symmetries(
    matrix: Float[Array, "k k"], orbit: Float[Array, "s k"], point: Float[Array, "..."]
) -> tuple[Array, Array]:
    """The extreme eigenvalues of the Hessian on the complement of the orbit."""
    square = jnp.dot(orbit.T, orbit, precision=jax.lax.Precision.HIGHEST)
    sizes, vectors = jnp.linalg.eigh(square)
    moving = sizes > 1e-10 * jnp.sum(point**2)
    values = jnp.linalg.eigvalsh(matrix)
    largest = jnp.max(jnp.abs(values))
    # Orbit directions are put above all others, so that the smallest eigenvalue is across them.
    along = jnp.dot(vectors * moving.astype(matrix.dtype)[None, :], vectors.T)
    lifted = matrix + 3 * largest * along
    low = jnp.linalg.eigvalsh(lifted)[0]
    return jnp.where(jnp.all(moving), jnp.zeros_like(low), low), values[-1]
