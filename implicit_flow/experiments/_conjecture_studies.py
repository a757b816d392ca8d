"""What the end of the flow depends on: rank and kind of the start, step size, number of samples."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from .._compiled import compiled
from .._descend import descend
from .._limit import limit
from .._simulate import simulate
from .._solution import Solution
from ..convex import min_nuclear_norm
from ..flows import FactorFlow
from ..problems import Problem
from ._conjecture_instances import gaussian, padded


def starts(
    problems: Sequence[Problem], ladder: Sequence[float], rng: np.random.Generator
) -> dict[str, Any]:
    """The limit from random starts of d columns, d = 1 to n, and from the identity.

    The path of X depends on X~ = U~ U~' alone: U~ of d columns is given as n columns that span
    them, so that all are one compiled program.

    Args:
        problems: dense, of one size.
        ladder: logarithms of alpha to base 10.
        rng: of the starts.

    Returns:
        Variables over `start` (1 to n columns, and 0 for the identity) and `problem`; the excess is
        nan where nothing is known of the error of X.
    """
    dim = problems[0].dim
    excess, missed = np.empty((dim + 1, len(problems))), np.empty((dim + 1, len(problems)))
    for k, problem in enumerate(problems):
        least = min_nuclear_norm(problem).value
        for d in range(dim + 1):
            spread = np.linalg.qr(rng.normal(size=(dim, dim)))[0][:d]
            init = np.eye(dim) if d == 0 else rng.normal(size=(dim, d)) / np.sqrt(d) @ spread
            # The last rung alone: nothing is said about the error of the limit here.
            found = limit(problem, init=jnp.asarray(init), log10_alphas=ladder[-1:], throw=False)
            sol = found.solutions[-1]
            known = np.isfinite(float(sol.error_estimate))
            excess[d, k] = float(sol.nuclear_norm) / least - 1 if known else np.nan
            missed[d, k] = float(sol.residual_norm)
    return {
        "excess_by_start": (("num_columns", "problem"), excess),
        "misfit_by_start": (("num_columns", "problem"), missed),
        "num_columns": ("num_columns", np.arange(dim + 1)),
    }


def step_sizes(problem: Problem, log10_alpha: float, num_steps: Sequence[int]) -> dict[str, Any]:
    """Gradient descent from the identity, to the same time with more and more steps.

    Args:
        problem: dense.
        log10_alpha: the scale of the start.
        num_steps: increasing.

    Returns:
        Distances to the flow at this alpha, over `num_steps`.
    """
    flow = limit(problem, init=jnp.eye(problem.dim), log10_alphas=[log10_alpha], throw=False)
    X = np.asarray(flow.X)
    # Steps are stable below 1 / (largest curvature at the end), about 1 / (2 |A|^2 |X|).
    A = np.asarray(problem.measurement.as_stack())
    curvature = 2 * np.linalg.norm(A.reshape(len(A), -1), 2) ** 2 * np.linalg.norm(X, 2)
    time, apart, missed = 0.5 * num_steps[0] / curvature, [], np.nan
    for count in num_steps:
        sol = _descended(problem, jnp.asarray(time / count), jnp.asarray(log10_alpha), count)
        apart.append(float(np.linalg.norm(sol.X - X) / np.linalg.norm(X)))
        missed = float(sol.residual_norm)
    return {
        "distance_by_step": ("step_size", np.array(apart)),
        "step_size": ("step_size", time / np.array(num_steps)),
        "step_misfit": ((), missed),
    }


@compiled
def _descended(problem: Problem, rate: Array, log10_alpha: Array, num_steps: int) -> Solution:
    return descend(
        problem,
        FactorFlow(),
        optax.sgd(rate),
        log10_alpha=log10_alpha,
        num_steps=num_steps,
        throw=False,
    )


def recovery(dim: int, log10_alpha: float, solver: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Error of recovery of a planted X, with enough measurements and with far too few.

    Args:
        dim: n.
        log10_alpha: the scale of the start.
        solver: for `simulate`.
        rng: of the problems.

    Returns:
        Variables over `spectrum` ("rank 2", "decaying") and `measurements` ("3nr", "nr/4").
    """
    rank = 2
    spectra = {
        "rank 2": np.ones(rank),
        # Eigenvalues 1, 1/2, 1/4, ...: two of them hold three quarters of the trace.
        "decaying": 0.5 ** np.arange(min(dim, 20)),
    }
    counts = {"3nr": 3 * dim * rank, "nr/4": max(1, dim * rank // 4)}
    rows = []
    for values in spectra.values():
        row = []
        for count in counts.values():
            problem = gaussian(dim, values, count, rng)
            # Matrices of zeros ask for nothing, and all are one compiled program.
            problem = padded(problem, dim, max(counts.values()))
            sol = _end(problem, jnp.asarray(log10_alpha), solver)
            truth = np.asarray(problem.ground_truth)
            error = np.linalg.norm(np.asarray(sol.X) - truth) / np.linalg.norm(truth)
            ratio = float(sol.nuclear_norm) / np.trace(truth)
            row.append((float(error), ratio, float(sol.residual_norm)))
        rows.append(row)
    table = np.array(rows)
    both = ("spectrum", "measurements")
    return {
        "recovery_error": (both, table[..., 0]),
        "recovery_norm": (both, table[..., 1]),
        "recovery_misfit": (both, table[..., 2]),
        "spectrum": ("spectrum", list(spectra)),
        "measurements": ("measurements", list(counts)),
        "num_measurements": ("measurements", np.array(list(counts.values()))),
    }


@compiled
def _end(problem: Problem, log10_alpha: Array, solver: Any) -> Solution:
    return simulate(problem, log10_alpha=log10_alpha, solver=solver, rtol=1e-4, throw=False)
