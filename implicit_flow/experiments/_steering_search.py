"""Searching a steering by gradient descent through the simulator."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float
from scipy.integrate import solve_ivp

from .._compiled import compiled
from .._random import normal
from .._side_by_side import side_by_side
from .._simulate import simulate
from ..flows import SteeredFlow
from ..measurements import DenseMeasurement
from ..problems import Problem


class FourierSteering(eqx.Module):
    r"""$r(t) = c_0 + \sum_k c_k\cos 2\pi kt + c_k'\sin 2\pi kt$ on [0, 1].

    Attributes:
        coefficients: shape (2 K + 1, m): constant, cosines, sines.
    """

    coefficients: Float[Array, "p m"]

    def __call__(self, t: Float[Array, ""]) -> Float[Array, " m"]:
        """The steering at a time."""
        count = (self.coefficients.shape[0] - 1) // 2
        phases = 2 * jnp.pi * jnp.arange(1, count + 1, dtype=t.dtype) * t
        waves = jnp.concatenate([jnp.ones((1,), t.dtype), jnp.cos(phases), jnp.sin(phases)])
        return jnp.dot(waves, self.coefficients)


class Case(NamedTuple):
    """Measurement matrices (2, n, n) and a positive definite target (n, n)."""

    stack: np.ndarray
    target: np.ndarray


class Found(NamedTuple):
    """A steering, what it reaches at t = 1, and the number of steps and starts it took."""

    coefficients: np.ndarray
    discrepancy: float
    steps: int
    starts: int


# Asked for while searching. It leaves an error of X of 1e-8 or less; 1e-3 left 3e-7 for one of four
# seeds, too near to what is sought.
_SEARCH = 1e-4
# Of the squared discrepancy: a distance of 1e-7 is below what is asked for.
_GOAL = 1e-14
# Size of the random first steerings. Ones that turn X a lot find their way: for n = 4 and 5, three
# pairs each, 3 met all targets in 224 to 466 steps, 0.8 all but one in 186 to 1000.
_START = 3.0
# Up to so many coefficients all derivatives are taken forwards, in one batch: that compiles in two
# thirds of the time of a loop that is run backwards, and takes longer the more there are of them.
_FEW = 20
# Share of the largest eigenvalue at which the smallest of the next target is held, each time.
_STAGE = 1e-2


def search(
    cases: Sequence[Case],
    *,
    frequencies: int,
    max_iterations: int,
    most_starts: int,
    key: Any,
    say: Callable[[str], None],
) -> list[Found]:
    r"""BFGS, with gradients through `simulate`, from random steerings.

    What is minimized is $\log(1 + J)$ with
    $J = \mathrm{tr}\,X_*^{-1}(X - X_*)X^{-1}(X - X_*)$, which sees all eigenvalues alike. Cases
    smaller than the largest are continued by an identity block that nothing moves, so that all of
    them share one compiled program.

    Args:
        cases: what to reach.
        frequencies: of the steering.
        max_iterations: of BFGS, from each start and to each of the targets on the way to a target
            that is nearly singular.
        most_starts: random steerings to try.
        key: of the random steerings.
        say: called with lines of progress, on threads of its own.

    Returns:
        The best steering of each case.
    """
    size = max(case.target.shape[0] for case in cases)

    def one(case_and_key: tuple[Case, Any]) -> Found:
        case, own = case_and_key
        best: Found | None = None
        for number in range(most_starts):
            draw = jax.random.fold_in(own, number)
            coefficients = _START * normal(draw, (2 * frequencies + 1, 2))
            steps, value, met = 0, jnp.inf, False
            for waypoint in _waypoints(case.target):
                stack, target = padded(Case(case.stack, waypoint), size)
                coefficients, value, more = _minimize(stack, target, coefficients, max_iterations)
                steps, met = steps + int(more), float(value) < _GOAL
                if not met:
                    break
            value = float(value) if met else discrepancy_of(case, np.asarray(coefficients))
            if best is None or value < best.discrepancy:
                best = Found(np.asarray(coefficients), value, steps, number + 1)
            if met or not is_generic(case):
                break
        assert best is not None
        say(f"n = {case.target.shape[0]}: J = {best.discrepancy:.1e} in {best.steps} steps")
        return best

    first, *others = zip(cases, jax.random.split(key, len(cases)), strict=True)
    # The first compiles the program of all; the last are the largest, and take longest.
    return [one(first), *side_by_side(one, others[::-1])[::-1]]


def _waypoints(target: np.ndarray) -> list[np.ndarray]:
    """Targets of growing condition number, each in reach of a descent from the one before."""
    values, vectors = np.linalg.eigh(target)
    floor, points = values[-1], []
    while not points or floor > values[0]:
        floor *= _STAGE
        points.append(vectors * np.maximum(values, floor) @ vectors.T)
    return points


def discrepancy_of(case: Case, coefficients: np.ndarray) -> float:
    """J at the end of a steering, by SciPy.

    Args:
        case: what was to be reached.
        coefficients: of the steering.

    Returns:
        What `search` makes small.
    """
    X = follow(case, coefficients, np.array([0.0, 1.0]))[-1]
    D = X - case.target
    return float(np.trace(np.linalg.solve(case.target, D) @ np.linalg.solve(X, D)))


def follow(case: Case, coefficients: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The flow under a steering that was found, by SciPy: it shares no code with the search.

    Args:
        case: what was to be reached.
        coefficients: of the steering.
        times: at which X is kept, from 0 to 1.

    Returns:
        X at the times, shape (k, n, n).
    """
    n, count = case.target.shape[0], len(coefficients) // 2
    frequencies = 2 * np.pi * np.arange(1, count + 1)
    # Of -A*(r), one row for each coefficient: the velocity is asked for some thousand times.
    rows = -coefficients @ case.stack.reshape(2, n * n)

    def velocity(t: float, u: np.ndarray) -> np.ndarray:
        phases = frequencies * t
        force = rows[0] + np.cos(phases) @ rows[1 : count + 1] + np.sin(phases) @ rows[count + 1 :]
        return (force.reshape(n, n) @ u.reshape(n, n)).ravel()

    found = solve_ivp(
        velocity, (0, 1), np.eye(n).ravel(), method="DOP853", t_eval=times, rtol=1e-11, atol=1e-12
    )
    Us = found.y.T.reshape(-1, n, n)
    return Us @ Us.transpose(0, 2, 1)


def padded(case: Case, size: int) -> tuple[Array, Array]:
    """The case as a block of a larger one, beside an identity that nothing moves.

    Args:
        case: of size n.
        size: at least n.

    Returns:
        The matrices (2, size, size) and the target (size, size).
    """
    n = case.target.shape[0]
    stack = np.zeros((2, size, size))
    stack[:, :n, :n] = case.stack
    target = np.eye(size)
    target[:n, :n] = case.target
    return jnp.asarray(stack), jnp.asarray(target)


def is_generic(case: Case) -> bool:
    """Whether the pair does not commute."""
    A, B = case.stack
    return bool(np.linalg.norm(A @ B - B @ A) > 1e-9)


@compiled
def _minimize(stack: Array, target: Array, start: Array, max_iterations: int) -> Any:
    problem = Problem(DenseMeasurement(stack), jnp.zeros(2))
    few = start.size <= _FEW

    def discrepancy(coefficients: Array, _: Any) -> Array:
        sol = simulate(
            problem,
            SteeredFlow(FourierSteering(coefficients)),
            alpha=1.0,
            t1=1.0,
            rtol=_SEARCH,
            max_steps=1024,
            adjoint=diffrax.ForwardMode() if few else None,
            throw=False,
        )
        D = sol.X - target
        return jnp.log1p(jnp.trace(jnp.linalg.solve(target, D) @ jnp.linalg.solve(sol.X, D)))

    end = optx.minimise(
        discrepancy,
        optx.BFGS(rtol=1e-8, atol=_GOAL / 100),
        start,
        options={"autodiff_mode": "fwd" if few else "bwd"},
        max_steps=max_iterations,
        throw=False,
    )
    return end.value, jnp.expm1(end.state.f_info.f), end.stats["num_steps"]
