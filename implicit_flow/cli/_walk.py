"""The main job: walk the ladder, certify its end, and follow the flow in time."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._limit import Limit, limit
from .._results import RESULTS, is_answer, name_of
from .._simulate import simulate
from .._solution import Solution
from ..convex import dual_bound
from ..plotting._ladder import error, log10_eigenvalues, nuclear_norm_error
from ..problems import Problem
from ._alphas import show_alpha


class Rung(NamedTuple):
    """One line of the table.

    Attributes:
        log10_alpha: the scale of the start, to base 10.
        residual_norm: relative misfit of the targets.
        nuclear_norm: of X.
        nuclear_norm_error: a bound on its error.
        error: the error estimate of X, in the Frobenius norm.
        own_lower_bound: on the minimum, proved by the dual that this flow accumulated.
        gap: of the nuclear norm over the best lower bound, relative.
        rank: the number of eigenvalues above 1e-6 of the largest.
        num_steps: of the solver.
        seconds: on the clock; the first rung's include compilation.
        error_estimate: relative, of X at this alpha.
        converged: whether the flow came to rest with the error asked for.
        result: name of the outcome.
        message: of the outcome, empty if all went well.
        log10_eigenvalues: increasing, shape (n,).
    """

    log10_alpha: float
    residual_norm: float
    nuclear_norm: float
    nuclear_norm_error: float
    error: float
    own_lower_bound: float
    gap: float
    rank: int
    num_steps: int
    seconds: float
    error_estimate: float
    converged: bool
    result: str
    message: str
    log10_eigenvalues: Float[np.ndarray, " n"]


class Answer(NamedTuple):
    """What the main job found.

    Attributes:
        limit: the limit, its certificate and its verdict.
        rungs: one for each alpha.
        lower_bound: the best known on the minimum nuclear norm.
        paths: the flow in time, at the largest and the smallest alpha.
        failed: the messages of the rungs that are failures.
        seconds: in all.
    """

    limit: Limit
    rungs: tuple[Rung, ...]
    lower_bound: float
    paths: tuple[Solution, ...]
    failed: tuple[str, ...]
    seconds: float


def walk(
    problem: Problem,
    log10_alphas: list[float],
    *,
    rtol: float | None,
    tolerance: float | None,
    say: Callable[[str], None],
) -> Answer:
    """Walk the ladder, certify its end, and follow the flow in time.

    Args:
        problem: what to fit.
        log10_alphas: the ladder, decreasing.
        rtol: relative error asked for at each rung, or None for the default.
        tolerance: relative misfit up to which targets count as met, or None for the default.
        say: called with a line of progress.

    Returns:
        The answer. Rungs that failed are in it.

    Raises:
        ValueError: an argument that cannot be.
    """
    begin = time.perf_counter()
    clock = [begin]
    seconds: list[float] = []

    def progress(sol: Solution) -> None:
        clock.append(time.perf_counter())
        seconds.append(clock[-1] - clock[-2])
        say(
            f"alpha = {show_alpha(float(sol.log10_alpha))}: "
            f"nuclear norm {float(sol.nuclear_norm):.7g}, residual {float(sol.residual_norm):.1e}, "
            f"{_steps(sol)} steps, {seconds[-1]:.1f} s"
            + ("" if _is_fine(sol) else f" [{name_of(sol.result)}]")
        )

    found = limit(
        problem,
        log10_alphas=log10_alphas,
        rtol=rtol,
        tolerance=tolerance,
        progress=progress,
        throw=False,
    )
    own = [_own_bound(problem, sol) for sol in found.solutions]
    best = max(own + [_number(found.certificate.dual_bound)])
    rungs = tuple(
        _rung(sol, bound, best, spent)
        for sol, bound, spent in zip(found.solutions, own, seconds, strict=True)
    )
    return Answer(
        found,
        rungs,
        best,
        _paths(problem, found, rtol, say),
        tuple(
            f"alpha = {show_alpha(rung.log10_alpha)}: {rung.message}"
            for rung, sol in zip(rungs, found.solutions, strict=True)
            if not _is_fine(sol)
        ),
        time.perf_counter() - begin,
    )


def _rung(sol: Solution, own_bound: float, best: float, seconds: float) -> Rung:
    norm = float(sol.nuclear_norm)
    return Rung(
        log10_alpha=float(sol.log10_alpha),
        residual_norm=float(sol.residual_norm),
        nuclear_norm=norm,
        nuclear_norm_error=nuclear_norm_error(sol),
        error=error(sol),
        own_lower_bound=own_bound,
        gap=(norm - best) / abs(best) if math.isfinite(best) and best != 0 else math.inf,
        rank=int(sol.rank()),
        num_steps=_steps(sol),
        seconds=seconds,
        error_estimate=float(sol.error_estimate),
        converged=bool(is_answer(sol.result)),
        result=name_of(sol.result),
        message=RESULTS[sol.result],
        log10_eigenvalues=log10_eigenvalues(sol),
    )


def _own_bound(problem: Problem, sol: Solution) -> float:
    """What the dual that the flow itself accumulated proves."""
    return _number(dual_bound(problem, sol.dual))


def _number(value: object) -> float:
    number = float(np.asarray(value))
    return -math.inf if math.isnan(number) else number


def _steps(sol: Solution) -> int:
    return int(sol.stats["num_steps"])


def _is_fine(sol: Solution) -> bool:
    """An answer, or a norm that diverges: about that there is a verdict."""
    return bool(is_answer(sol.result)) or bool(sol.result == RESULTS.norm_diverges)


# So many numbers of the path are kept in memory at most (8 bytes each).
_LARGEST_PATH = 20_000_000
_FEWEST_TIMES = 20
# Of X on the way: as thin as a line of the picture. To keep the tolerance of the end takes five
# times as long.
_PATH_RTOL = 1e-3


def _paths(
    problem: Problem, found: Limit, rtol: float | None, say: Callable[[str], None]
) -> tuple[Solution, ...]:
    """The flow in time at both ends of the ladder, where they came to rest."""
    count = min(240, _LARGEST_PATH // problem.dim**2)
    if count < _FEWEST_TIMES:
        say(f"n = {problem.dim} is too large to keep the path in time: its picture is left out")
        return ()
    paths = []
    for sol in (found.solutions[0], found.solutions[-1])[: len(found.solutions)]:
        end = float(sol.time)
        if not (_is_fine(sol) and 0 < end < math.inf):
            continue
        say(f"alpha = {show_alpha(float(sol.log10_alpha))}: following the flow in time")
        path = simulate(
            problem,
            log10_alpha=sol.log10_alpha,
            rtol=max(_PATH_RTOL, rtol or 0.0),
            saveat=jnp.asarray(_times(end, count), sol.X.dtype),
            throw=False,
        )
        if _is_fine(path):
            paths.append(path)
    return tuple(paths)


def _times(end: float, count: int) -> Float[np.ndarray, " k"]:
    """Half at equal distances, half at equal ratios: flows have fast parts and long tails."""
    even = np.linspace(0.0, end, count - count // 2)
    return np.sort(np.concatenate([even, np.geomspace(1e-4 * end, 0.999 * end, count // 2)]))
