"""A flow beside its closed form: at its end and along its path, for a ladder of alphas."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import diffrax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.integrate import solve_ivp

from .._compiled import compiled
from .._simulate import simulate
from .._solution import Solution
from ..convex import certify
from ..flows import AbstractFlow, FactorFlow
from ..problems import Problem
from ._ladder import escape_time, exponent


if TYPE_CHECKING:
    import xarray


# The relative error of X that is asked for.
RTOL = 1e-8
# Of exponents. They are taken where what comes after the leading term is below 0.03 of it, and so
# changes the slope over two decades by less than this.
SLOPE = 0.015


@compiled
def follow(
    problem: Problem,
    init: Array,
    log10_alpha: Array,
    times: Array,
    flow: AbstractFlow,
    solver: Any,
) -> Solution:
    """One flow, to its end; one compiled program for problems of the same shape.

    Args:
        problem: to fit.
        init: U~, shape (n, n), or u~, shape (n,).
        log10_alpha: the logarithm of alpha to base 10.
        times: at which the path is kept, shape (j,).
        flow: of a factor, or of a vector.
        solver: for `simulate`.

    Returns:
        The solution.
    """
    return simulate(
        problem,
        flow,
        log10_alpha=log10_alpha,
        init=init,
        saveat=times,
        rtol=RTOL,
        solver=solver,
        adjoint=diffrax.ForwardMode(),
        throw=False,
    )


@compiled
def _end(
    problem: Problem, init: Array, log10_alpha: Array, closed_form: Callable[..., Array]
) -> Array:
    return closed_form(problem, log10_alpha=log10_alpha, init=init)


def _path(
    basis: np.ndarray,
    spectra: np.ndarray,
    y: np.ndarray,
    init: np.ndarray,
    log_alpha: float,
    times: np.ndarray,
) -> Float[np.ndarray, "k n n"]:
    """X(t) = e^{A*(s)} X0 e^{A*(s)} with ds/dt = y - A(X), integrated in R^m by SciPy."""
    rotated = basis.T @ init
    # A direction without a seed stays without one.
    seeds = np.log(np.maximum(np.sum(rotated**2, axis=1), 1e-300)) + log_alpha

    found = solve_ivp(
        # A step that overshoots must stay a number to be refused.
        lambda _, s: y - spectra @ np.exp(np.minimum(seeds + 2 * (s @ spectra), 500)),
        (0, times[-1]),
        np.zeros(len(y)),
        method="LSODA",
        t_eval=times,
        rtol=1e-9,
        atol=1e-9,
        # Before the escape all is constant: LSODA's steps would grow until one jumps past it.
        max_step=times[-1] / 200,
    )
    growth = np.exp(found.y.T @ spectra + log_alpha / 2)
    factors = basis @ (growth[:, :, None] * rotated)
    return factors @ np.swapaxes(factors, 1, 2)


def along(
    problem: Problem,
    init: Float[np.ndarray, "n n"] | Float[np.ndarray, " n"],
    ladder: Float[np.ndarray, " k"],
    fractions: Float[np.ndarray, " j"],
    *,
    limit: Float[np.ndarray, "n n"],
    spectrum: tuple[Float[np.ndarray, "n n"], Float[np.ndarray, "m n"]],
    closed_form: Callable[..., Array],
    solver: Any = None,
    flow: AbstractFlow | None = None,
) -> dict[str, np.ndarray]:
    """The ends and paths of one flow, and their distances to what they should be.

    Args:
        problem: with measurements that commute.
        init: U~, shape (n, n), or u~, shape (n,).
        ladder: logarithms of alpha to base 10, shape (k,).
        fractions: of the time of escape from zero, shape (j,).
        limit: the limit alpha -> 0, of least trace, shape (n, n).
        spectrum: the common eigenvectors, and the eigenvalues of each measurement matrix.
        closed_form: of `implicit_flow.closed_forms`.
        solver: for `simulate`.
        flow: of a factor, or of a vector x = u^2; `FactorFlow()` if None.

    Returns:
        Arrays over the ladder.
    """
    flow, y = FactorFlow() if flow is None else flow, np.asarray(problem.targets)
    factor = np.diag(init) if init.ndim == 1 else init
    rate, least, rows = float(np.max(y @ spectrum[1])), np.trace(limit), []
    paths = []
    for log10_alpha in ladder:
        is_compared = log10_alpha in ladder[compared(ladder)]
        # At the start the path costs nothing; in the same program, where it is not looked at.
        times = is_compared * fractions * escape_time(log10_alpha, rate)
        given = (problem, jnp.asarray(init), jnp.asarray(log10_alpha))
        sol = follow(*given, jnp.asarray(times), flow, solver)
        end = _end(*given, closed_form)
        X = np.asarray(sol.X)
        rows.append(
            {
                "X": X,
                "error_estimate": float(sol.error_estimate),
                "distance_to_closed_form": _relative(X, np.asarray(end)),
                "distance_to_limit": _relative(X, limit),
                "excess": float(np.trace(X) / least - 1),
                "verdict": certify(problem, sol).verdict,
            }
        )
        if not is_compared:
            continue
        path, Xs = _path(*spectrum, y, factor, log10_alpha * np.log(10), times), np.asarray(sol.Xs)
        # The largest entry, not the Frobenius norm: the square of 1e-300 is zero.
        off = np.abs(Xs - path).max((1, 2)) / np.abs(path).max((1, 2))
        paths.append(
            {
                "path_error": float(np.max(off)),
                "trace": np.trace(Xs, axis1=1, axis2=2) / least,
                "trace_closed_form": np.trace(path, axis1=1, axis2=2) / least,
            }
        )
    found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return found | {name: np.array([row[name] for row in paths]) for name in paths[0]}


def leading_excess(
    spectrum: tuple[Float[np.ndarray, "n n"], Float[np.ndarray, "m n"]],
    factor: Float[np.ndarray, "n n"],
    limit: Float[np.ndarray, "n n"],
    ladder: Float[np.ndarray, " k"],
) -> tuple[dict[str, np.ndarray], float]:
    """The excess of the trace to leading order in alpha, over the minimum, and its exponent g.

    In the common basis x_k = alpha w_k e^{2 (B's)_k}, and s -> log(1/alpha)/2 nu + s0, where s0
    makes x the limit on its support. As <B'nu, x> = <nu, y> is the minimum wherever x fits, the
    excess is sum (1 - (B'nu)_k) x_k. What the other entries take from y moves s0, and so them.

    Args:
        spectrum: the common eigenvectors, and the eigenvalues of each measurement matrix.
        factor: U~ of the start.
        limit: alpha -> 0.
        ladder: logarithms of alpha to base 10.

    Returns:
        "leading_excess" and, relative to it and to first order, how much may come after it,
        "beyond_leading"; and g.
    """
    basis, B = spectrum
    weights = np.sum((basis.T @ factor) ** 2, axis=1)
    x = np.einsum("ik,ij,jk->k", basis, limit, basis)
    active = x > 1e-9 * np.max(x)
    A, rest = B[:, active], B[:, ~active]
    nu = np.linalg.lstsq(A.T, np.ones(A.shape[1]))[0]
    s0 = np.linalg.lstsq(A.T, np.log(x[active] / weights[active]) / 2)[0]
    powers = 1 - nu @ rest
    constants, g = weights[~active] * np.exp(2 * (s0 @ rest)), float(np.min(powers))
    entries = constants * 10.0 ** (ladder[:, None] * powers)
    moved = -entries @ rest.T @ np.linalg.pinv((A * x[active]) @ A.T) / 2
    # Shares of the excess, which itself may be less than floats hold.
    shares = powers * constants * 10.0 ** (ladder[:, None] * (powers - g))
    beyond = np.sum(shares * np.abs(2 * moved @ rest), axis=1) / np.sum(shares, axis=1)
    excess = np.sum(powers * entries, axis=1) / np.trace(limit)
    return {"leading_excess": excess, "beyond_leading": beyond}, g


def compared(ladder: Float[np.ndarray, " k"]) -> Int[np.ndarray, " j"]:
    """The alphas whose paths are compared: the largest, the smallest, and one between them.

    Args:
        ladder: logarithms of alpha, shape (k,).

    Returns:
        Their places in the ladder.
    """
    return np.unique([0, len(ladder) // 2, len(ladder) - 1])


def dataset(
    rows: list[list[dict[str, np.ndarray]]],
    coords: dict[str, Any],
    gaps: Sequence[float],
) -> "xarray.Dataset":
    """The rows of `along` for all instances and starts, with the exponents that they show.

    Args:
        rows: of `along`, with those of `leading_excess` and "limit" (n, n) added: one list for
            each instance, one row for each start.
        coords: instance, start, log10_alpha, time.
        gaps: g, the exponent of the theory, one for each instance.

    Returns:
        The dataset, with the exponents of the excess, of its leading term and of the distance to
        the limit (instance, start), and `theory` (instance).
    """
    import xarray

    lanes = ("instance", "start", "log10_alpha")
    inner: dict[str, tuple[str, ...]] = {
        "X": (*lanes, "row", "column"),
        "limit": (*lanes[:2], "row", "column"),
        "path_error": (*lanes[:2], "path"),
        "trace": (*lanes[:2], "path", "time"),
        "trace_closed_form": (*lanes[:2], "path", "time"),
    }
    ds = xarray.Dataset(
        {
            name: (inner.get(name, lanes), np.array([[cell[name] for cell in row] for row in rows]))
            for name in rows[0][0]
        },
        coords | {"path": coords["log10_alpha"][compared(coords["log10_alpha"])]},
    )
    ds["theory"] = ("instance", np.array(gaps))
    ladder = ds.log10_alpha.values
    # What is beside the leading term is of its size times what is left of other eigenvalues.
    leads = ((ds.leading_excess < 0.01 * ds.theory) & (ds.beyond_leading < 0.03)).values
    rates = {
        "exponent": ("excess", leads),
        "exponent_of_leading": ("leading_excess", leads),
        "exponent_of_distance": ("distance_to_limit", (ds.distance_to_limit < 0.03).values),
    }
    for name, (measured, small) in rates.items():
        heights, least = ds[measured].values, "excess" if "leading" in measured else measured
        usable = small & (ds[least].values > 1e2 * RTOL)
        found = [
            [exponent(ladder, high, use) for high, use in zip(*pair, strict=True)]
            for pair in zip(heights, usable, strict=True)
        ]
        ds[name] = (lanes[:2], np.array(found))
    return ds


def _relative(X: np.ndarray, reference: np.ndarray) -> float:
    return float(np.linalg.norm(X - reference) / np.linalg.norm(reference))
