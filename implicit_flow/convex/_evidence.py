"""What can be proved about a point: the facts behind a certificate."""

import dataclasses

import numpy as np

from ._bounds import lower_bound, reach, scale, scaled, sharpen
from ._cone import ConeAnswer, least_trace, most_interior
from ._coordinates import AbstractCone, OrthantCone
from ._feasible import NOTHING, Fitter, UpperBound


# A solver's vector can prove tr X >= 1e8 times the scale of the problem where the minimum is merely
# large (the square root of rounding); what reaches further is a proof up to rounding.
PROOF = 1e10
DIVERGES = 1e4


@dataclasses.dataclass(frozen=True, eq=False)
class Point:
    """The X in hand, and what follows from it alone.

    Attributes:
        X: symmetric, shape (n, n), float64.
        z: the part of it that is measured, in coordinates.
        image: A(X).
        trace: tr X.
        feasibility: ||A(X) - y|| / ||y||.
        negative: the sum of its negative eigenvalues, in absolute value.
    """

    X: np.ndarray
    z: np.ndarray
    image: np.ndarray
    trace: float
    feasibility: float
    negative: float

    @property
    def size(self) -> float:
        """The largest of the trace and the Frobenius norm; 1 for X = 0."""
        return max(abs(self.trace), float(np.linalg.norm(self.X))) or 1.0


def point(cone: AbstractCone, X: np.ndarray, targets: np.ndarray) -> Point:
    """Measure an X.

    Args:
        cone: measurement matrices in coordinates.
        X: shape (n, n); its symmetric part counts.
        targets: y, shape (m,).

    Returns:
        The point.
    """
    X = (X + X.T) / 2
    z = cone.vector(X)
    image = cone.apply(z)
    size = float(np.linalg.norm(targets)) or 1.0
    values = np.linalg.eigvalsh(X)
    negative = float(-np.sum(np.minimum(values, 0)))
    feasibility = float(np.linalg.norm(image - targets)) / size
    return Point(X, z, image, float(np.trace(X)), feasibility, negative)


@dataclasses.dataclass(frozen=True, eq=False)
class Duals:
    """Candidates for a dual solution, and the best of them for two sets of targets.

    Attributes:
        bound: on the minimum for the targets y.
        own_bound: on the minimum for the targets A(X) that the point meets exactly.
        nu: attains the first.
        own_nu: attains the second.
    """

    bound: float
    own_bound: float
    nu: np.ndarray
    own_nu: np.ndarray


def best_duals(
    cone: AbstractCone, point: Point, targets: np.ndarray, candidates: list[np.ndarray]
) -> Duals:
    """The best bounds that the candidates give.

    Args:
        cone: measurement matrices in coordinates.
        point: the X in hand.
        targets: y, shape (m,).
        candidates: vectors of shape (m,), of either sign.

    Returns:
        The bounds and the vectors, scaled to be feasible.
    """
    zero = np.zeros_like(targets)
    both = [nu for candidate in candidates for nu in (candidate, -candidate)] + [zero]
    there = [lower_bound(cone, targets, nu) for nu in both]
    here = [lower_bound(cone, point.image, nu) for nu in both]
    # Targets that nearly nothing fits lead one vector astray, not the other.
    first, second = int(np.argmax(there)), int(np.argmax(here))
    return Duals(there[first], here[second], scaled(cone, both[first]), scaled(cone, both[second]))


def own_candidates(
    cone: AbstractCone, point: Point, targets: np.ndarray, given: np.ndarray | None
) -> list[np.ndarray]:
    r"""Duals that need no solver: the one given, the residual, and fits of $A^*(\nu)X = X$.

    Args:
        cone: measurement matrices in coordinates.
        point: the X in hand.
        targets: y, shape (m,).
        given: the dual that came with the point, if any.

    Returns:
        Vectors of shape (m,).
    """
    found = [point.image - targets]
    if given is not None:
        found.append(given)
    if point.trace > 0:
        found.append(cone.fit_identity(point.X, np.zeros_like(targets)))
        if given is not None:
            found.append(cone.fit_identity(point.X, scaled(cone, given)))
    return found


def in_range(nu: np.ndarray) -> np.ndarray:
    r"""A multiple of nu whose products stay in the range of floats: what overflows proves nothing.

    Args:
        nu: a vector of shape (m,), of any length.

    Returns:
        nu itself where it is neither huge nor tiny; 0 where it is not finite.
    """
    largest = float(np.max(np.abs(nu), initial=0.0))
    if not np.isfinite(largest):
        return np.zeros_like(nu)
    return nu if largest == 0 or 1e-100 < largest < 1e100 else nu / largest


def is_cheap(cone: AbstractCone) -> bool:
    """Whether the convex solver answers in seconds."""
    return isinstance(cone, OrthantCone) or cone.num_rows + cone.size <= 700


@dataclasses.dataclass(frozen=True, eq=False)
class Better:
    """What the convex solver found, as far as it was proved.

    Attributes:
        nu: its dual.
        bound: on the minimum for the targets y, from above.
        own_bound: the same for the targets A(X) of the point in hand.
        trace: of the point that it found, proved or not.
        status: the solver's own word.
    """

    nu: np.ndarray
    bound: UpperBound
    own_bound: UpperBound
    trace: float
    status: str


def ask(cone: AbstractCone, targets: np.ndarray) -> ConeAnswer:
    """The convex solver's answer; for y = 0 the answer that everyone knows."""
    if not np.any(targets):
        zero = np.zeros(cone.size)
        return ConeAnswer(zero, np.zeros_like(targets), "Solved")
    return least_trace(cone, targets)


def better_point(
    cone: AbstractCone, point: Point, targets: np.ndarray, answer: ConeAnswer
) -> Better:
    """Bound the minimum from above, for y and for A(X), by the convex solver's point.

    Args:
        cone: measurement matrices in coordinates.
        point: the X in hand.
        targets: y, shape (m,).
        answer: the solver's, for targets at or near y.

    Returns:
        The bounds.
    """
    trace = cone.trace(answer.point)
    size = max(trace, abs(point.trace), 1e-300)
    if trace > 1e3 * abs(point.trace) and point.trace > 0:
        return Better(answer.dual, NOTHING, NOTHING, trace, answer.status)
    fitter = Fitter(cone)
    interior = most_interior(cone, point.image, 10 * size)
    rounding = np.zeros_like(targets)
    own_rounding = cone.apply_error(point.z) + cone.defect * np.abs(point.image)
    if np.any(targets):
        bound = fitter.prove(answer.point, interior.point, targets, rounding)
    else:
        bound = UpperBound(0.0, 0.0)
    own = fitter.prove(answer.point, interior.point, point.image, own_rounding)
    return Better(answer.dual, bound, own, trace, answer.status)


@dataclasses.dataclass(frozen=True, eq=False)
class Contradiction:
    r"""A vector with $\langle y, \nu\rangle < 0$ and $A^*(\nu) \ge -\varepsilon I$.

    Attributes:
        vector: nu.
        reach: every X >= 0 that fits has a trace of at least this.
        relative: the reach in units of the scale of the problem.
    """

    vector: np.ndarray
    reach: float
    relative: float


def contradiction(
    cone: AbstractCone, targets: np.ndarray, candidates: list[np.ndarray]
) -> Contradiction:
    """The candidate of either sign that reaches furthest, sharpened where it pays.

    Args:
        cone: measurement matrices in coordinates.
        targets: y, shape (m,).
        candidates: vectors of shape (m,).

    Returns:
        The contradiction; its reach is 0 where no candidate says anything.
    """
    both = [nu for candidate in candidates for nu in (candidate, -candidate)]
    reaches = [reach(cone, targets, nu) for nu in both]
    first = int(np.argmax(reaches))
    vector, far = both[first], reaches[first]
    size = scale(cone, targets)
    if size > 0 and 1e2 * size < far < PROOF * size and cone.num_rows * cone.size <= 2e6:
        vector = sharpen(cone, targets, vector)
        far = reach(cone, targets, vector)
    # Without a scale (all measurements are zero) only a proof without bounds is one.
    unscaled = far if far == float("inf") else 0.0
    return Contradiction(vector, far, far / size if size > 0 else unscaled)
