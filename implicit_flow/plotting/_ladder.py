"""What pictures of a limit show, read from a `Limit` or from the dataset of the command line."""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from .. import _checks
from .._limit import Limit
from .._results import is_answer
from .._solution import Solution


if TYPE_CHECKING:
    import xarray


class Ladder(NamedTuple):
    """Numbers along a ladder of alphas.

    Attributes:
        log10_alphas: decreasing, shape (k,).
        nuclear_norms: shape (k,).
        errors: bounds on the error of each nuclear norm, shape (k,).
        floors: what `errors` is for eigenvalues: the error of X in the Frobenius norm, shape (k,).
        converged: whether the flow came to rest there, with the error asked for, shape (k,).
        log10_eigenvalues: increasing along the second axis, nan below the reach of the solver,
            shape (k, n).
        lower_bound: no fitting point has a smaller nuclear norm; nan if unknown.
        upper_bound: a fitting point with this nuclear norm is known; nan if none is.
    """

    log10_alphas: Float[np.ndarray, " k"]
    nuclear_norms: Float[np.ndarray, " k"]
    errors: Float[np.ndarray, " k"]
    floors: Float[np.ndarray, " k"]
    converged: Bool[np.ndarray, " k"]
    log10_eigenvalues: Float[np.ndarray, "k n"]
    lower_bound: float
    upper_bound: float


def ladder_of(found: "Limit | xarray.Dataset") -> Ladder:
    """Read the numbers that a picture of a limit shows.

    Args:
        found: the limit, or the dataset `result.nc` of `implicit-flow limit`.

    Returns:
        The numbers.

    Raises:
        ValueError: something else, or a limit of a flow that has no alpha.
    """
    ladder = _of_limit(found) if isinstance(found, Limit) else _of_dataset(found)
    if not np.all(np.isfinite(ladder.log10_alphas)):
        _checks.refuse(
            "found", "have a scale of initialization", "is the limit of a flow that starts at 0"
        )
    return ladder


def _of_limit(limit: Limit) -> Ladder:
    certificate = limit.certificate
    return Ladder(
        np.asarray(limit.log10_alphas, dtype=float),
        np.array([float(sol.nuclear_norm) for sol in limit.solutions]),
        np.array([nuclear_norm_error(sol) for sol in limit.solutions]),
        np.array([error(sol) for sol in limit.solutions]),
        np.array([bool(is_answer(sol.result)) for sol in limit.solutions]),
        np.stack([log10_eigenvalues(sol) for sol in limit.solutions]),
        float(certificate.dual_bound),
        float(certificate.upper_bound),
    )


def _of_dataset(dataset: "xarray.Dataset") -> Ladder:
    names = (
        "log10_alpha",
        "nuclear_norm",
        "nuclear_norm_error",
        "error",
        "converged",
        "log10_eigenvalues",
        "lower_bound",
        "upper_bound",
    )
    try:
        values = [np.asarray(dataset[name].values, dtype=float) for name in names]
    except (AttributeError, KeyError, TypeError, IndexError):
        _checks.refuse(
            "found",
            "be a Limit, or the dataset `result.nc` that `implicit-flow limit` writes",
            f"is of type {type(dataset).__name__}",
        )
    alphas, norms, errors, floors, converged, eigenvalues, lower, upper = values
    return Ladder(
        alphas, norms, errors, floors, converged > 0, eigenvalues, float(lower), float(upper)
    )


def log10_eigenvalues(sol: Solution) -> Float[np.ndarray, " n"]:
    """The logarithms to base 10 of the eigenvalues of X, increasing.

    Args:
        sol: a solution.

    Returns:
        Shape (n,). Where the solver did not carry logarithms, eigenvalues below the rounding of
        the largest are nan: floats do not resolve them. So are those that have fallen below the
        tenth power of alpha: they shrink for as long as the flow runs.
    """
    if sol.log_eigenvalues is not None:
        values = np.asarray(sol.log_eigenvalues, dtype=float) / math.log(10)
        lowest = 10 * min(float(sol.log10_alpha), -3.0)
        return np.where(values >= lowest, values, np.nan)
    X = np.asarray(sol.X, dtype=float)
    values = np.linalg.eigvalsh((X + X.T) / 2)
    floor = len(values) * float(np.finfo(sol.X.dtype).eps) * np.max(np.abs(values), initial=0.0)
    resolved = values > floor
    return np.where(resolved, np.log10(np.where(resolved, values, 1.0)), np.nan)


def nuclear_norm_error(sol: Solution) -> float:
    r"""A bound on the error of the nuclear norm that follows from that of X.

    $|\|X\|_* - \|Y\|_*| \le \sqrt n \|X - Y\|_F$.

    Args:
        sol: a solution.

    Returns:
        The bound; nan or inf where the solution has no finite error estimate.
    """
    return math.sqrt(sol.X.shape[0]) * error(sol)


def error(sol: Solution) -> float:
    """The error estimate of X in the Frobenius norm; no eigenvalue is further off.

    Args:
        sol: a solution.

    Returns:
        The estimate; nan or inf where the solution has no finite one.
    """
    return float(sol.error_estimate) * float(np.linalg.norm(np.asarray(sol.X, dtype=float)))
