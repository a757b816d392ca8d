"""Two problems that steer themselves by their residual: where the order of factors matters."""

from collections.abc import Sequence
from typing import Any

import diffrax
import jax.numpy as jnp
import numpy as np

from .._compiled import compiled
from .._simulate import simulate
from ..measurements import DenseMeasurement
from ..problems import Problem
from ._ordered_products import along_residuals


PROBLEMS = ("commuting", "counterexample")
# How long flows are followed, in units of (log(1/alpha) + 20) / mu_1.
_LONG = 3.0


def _problems() -> dict[str, Problem]:
    first = [[2.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    second = [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 3.0]]
    spectra = np.array([[2.0, 1.0, 0.5], [0.3, 1.5, 3.0]])
    # Diagonal matrices, given as dense ones: nothing couples them, and one program serves both.
    diagonal = spectra[:, :, None] * np.eye(3)
    stacks = {"commuting": diagonal, "counterexample": np.array([first, second])}
    return {
        name: Problem(DenseMeasurement(jnp.asarray(stack)), jnp.array([4.0, 3.0]))
        for name, stack in stacks.items()
    }


@compiled
def _follow(problem: Problem, log10_alpha: Any, times: Any, solver: Any) -> Any:
    # To the last time and not to rest, after which X would be kept while r, however small, is not.
    sol = simulate(
        problem,
        log10_alpha=log10_alpha,
        t1=times[-1],
        solver=solver,
        saveat=times,
        rtol=1e-8,
        adjoint=diffrax.ForwardMode(),
        throw=False,
    )
    return sol.Xs, sol.residuals, sol.duals, sol.residual_norm


def residual_steering(
    log10_alphas: Sequence[float | int], num_times: int, solver: Any
) -> dict[str, Any]:
    """Follows both problems from each alpha, and sets the flows against their products.

    Args:
        log10_alphas: of the starts.
        num_times: equally spaced times along each flow; made odd.
        solver: for `simulate`.

    Returns:
        Variables over problem and alpha: what `along_residuals` finds, the misfit and the trace at
        the end, and the dual gap along the way and at the end.
    """
    share = np.linspace(0, 1, num_times + 1 - num_times % 2)
    rows, gaps, traces = [], [], []
    for problem in _problems().values():
        stack = np.asarray(problem.measurement.as_stack())
        top = np.linalg.eigvalsh(np.tensordot(np.asarray(problem.targets), stack, 1))[-1]
        for value in log10_alphas:
            log_alpha = value * np.log(10)
            times = share * _LONG * (20 - log_alpha) / top
            Xs, residuals, duals, misfit = (
                np.asarray(array)
                for array in _follow(problem, np.asarray(float(value)), times, solver)
            )
            row = along_residuals(stack, times, residuals, duals, Xs, log_alpha)
            rows.append(row | {"misfit": float(misfit)})
            gaps.append(_gaps(stack, Xs, duals))
            traces.append(float(np.trace(Xs[-1])))
    shape, axes = (len(PROBLEMS), len(log10_alphas)), ("problem", "log10_alpha")
    kept = np.linspace(0, len(share) - 1, 401).astype(int)
    return {
        **{
            f"flow_{name}": (axes, np.reshape([row[name] for row in rows], shape))
            for name in rows[0]
        },
        "end_trace": (axes, np.reshape(traces, shape)),
        "dual_gap": ((*axes, "share"), np.reshape(gaps, (*shape, -1))[..., kept]),
        "share": ("share", share[kept]),
        "end_gap": (axes, np.reshape(gaps, (*shape, -1))[..., -1]),
    }


def _gaps(stack: np.ndarray, Xs: np.ndarray, duals: np.ndarray) -> np.ndarray:
    """1 - <A*(nu), X> / tr X: zero where nu, with A*(nu) <= I, proves X minimal for its A(X)."""
    forces = np.tensordot(duals, stack, 1)
    tops = np.linalg.eigvalsh(forces)[:, -1]
    scaled = np.einsum("kij,kij->k", forces, Xs) / np.where(tops > 0, tops, np.nan)
    return 1 - scaled / np.trace(Xs, axis1=1, axis2=2)
