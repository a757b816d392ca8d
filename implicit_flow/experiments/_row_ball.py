r"""Local minima over factors whose rows are bounded: $|U_i|^2 \le B$, $|V_j|^2 \le B$."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from ..convex import max_norm
from ..convex._cone import least_misfit
from ._norm_ball import ABOVE


class RowEnd(NamedTuple):
    """Where a descent came to rest.

    Attributes:
        value: of the loss.
        gap: at least the distance of `value` from the minimum over all W of max-norm at most B.
        slope: the norm of the gradient.
    """

    value: float
    gap: float
    slope: float


class Least(NamedTuple):
    """The convex program.

    Attributes:
        value: of the loss, at a W of max-norm at most B.
        gap: at least the distance of `value` from the minimum.
        max_norm: of that W by `convex.max_norm`, over B.
    """

    value: float
    gap: float
    max_norm: float


def lower_bound(
    R: Float[np.ndarray, "p q"],
    c: Float[np.ndarray, " s"],
    values: Float[np.ndarray, "p q"],
    bound: float,
) -> float:
    r"""A number below the least $\frac12\|P(W) - y\|^2$ over all W of max-norm at most B.

    $\langle R, W\rangle \ge -\frac B2\sum_k c_k$ where [[diag, R], [R', diag]] is positive
    semidefinite; c is raised until it is.

    Args:
        R: any matrix that is zero off the entries that count; best is the residual.
        c: any diagonal, shape (p + q,); best are the multipliers of the rows.
        values: y.
        bound: B.

    Returns:
        The bound.
    """
    p = len(R)
    block = np.diag(c)
    block[:p, p:], block[p:, :p] = R, R.T
    short = max(0.0, -float(np.linalg.eigvalsh(block)[0]))
    return float(-0.5 * np.sum(R**2) - np.sum(R * values) - bound * np.sum(c + short) / 2)


def descend_rows(
    start: Float[np.ndarray, "s e"],
    values: Float[np.ndarray, "p q"],
    train: Float[np.ndarray, "p q"],
    bound: float,
) -> RowEnd:
    r"""Descends $\frac12\|P(UV') - y\|^2$ over factors with rows of squared length at most B.

    Each row has one more entry that does not enter UV', and is then of length $\sqrt B$ exactly:
    the ball is the shadow of a sphere, with the same local minima.

    Args:
        start: rows of U and of V, of d + 1 entries; their length is of no account.
        values: y, shape (p, q).
        train: 1 at the entries that count, 0 elsewhere.
        bound: B, which bounds the max-norm of UV'.

    Returns:
        Where it came to rest.
    """
    root = np.sqrt(bound)

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        rows = x.reshape(start.shape)
        size = np.linalg.norm(rows, axis=1, keepdims=True)
        Z = rows / size
        R, slope = pull(Z, values, train, root)
        slope -= Z * np.sum(Z * slope, axis=1, keepdims=True)
        return 0.5 * float(np.sum(R**2)), (slope / size).ravel()

    x: Any = start.ravel()
    options: Any = {"maxiter": 1000, "gtol": 1e-9, "ftol": 1e-13, "maxcor": 30}
    # Along rays the loss is constant; begun again at length 1, slopes keep their scale.
    for _ in range(2):
        rows = x.reshape(start.shape)
        x = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).ravel()
        x = minimize(objective, x, jac=True, method="L-BFGS-B", options=options).x
    rows = x.reshape(start.shape)
    Z = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    value, slope = objective(Z.ravel())
    R, force = pull(Z, values, train, root)
    multipliers = np.maximum(-np.sum(force * Z, axis=1) / bound, 0.0)
    gap = value - lower_bound(R, multipliers, values, bound)
    return RowEnd(value, float(gap), float(np.linalg.norm(slope)))


def pull(
    Z: Float[np.ndarray, "s e"],
    values: Float[np.ndarray, "p q"],
    train: Float[np.ndarray, "p q"],
    root: float,
) -> tuple[Float[np.ndarray, "p q"], Float[np.ndarray, "s e"]]:
    """The residual on the entries that count, and the slope of the loss in the unit rows.

    Args:
        Z: rows of U and of V, and their last entry, which does not enter.
        values: y.
        train: 1 at the entries that count.
        root: of B, the length of rows.

    Returns:
        Residual and slope.
    """
    p = len(values)
    U, V = root * Z[:p, :-1], root * Z[p:, :-1]
    R = train * (U @ V.T - values)
    slope = np.zeros_like(Z)
    slope[:p, :-1], slope[p:, :-1] = root * R @ V, root * R.T @ U
    return R, slope


def by_cones(
    values: Float[np.ndarray, "p q"], train: Float[np.ndarray, "p q"], bound: float
) -> Least:
    r"""The minimum over all W of max-norm at most B, by its semidefinite program.

    Args:
        values: y.
        train: 1 at the entries that count.
        bound: B.

    Returns:
        Value, gap and max-norm.
    """
    unit = float(np.max(np.abs(train * values)))
    X, R, c = least_misfit(values / unit, train > 0, bound / unit)
    p = len(values)
    # The solver's X may leave the cone and the bound by rounding; factors of it do not.
    eigenvalues, vectors = np.linalg.eigh((X + X.T) / 2)
    L = vectors * np.sqrt(unit * np.maximum(eigenvalues, 0))
    L *= np.minimum(1, np.sqrt(bound) / np.maximum(np.linalg.norm(L, axis=1), 1e-300))[:, None]
    W = L[:p] @ L[p:].T
    value = 0.5 * float(np.sum((train * (W - values)) ** 2))
    gap = value - lower_bound(unit * R, unit * c, values, bound)
    return Least(value, float(gap), max_norm(W).value / bound)


def row_descents(size: dict[str, Any], seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Descends from random starts, for random targets on a part of the entries.

    Args:
        size: `side` of the matrices, `row_columns`, `radii`, `instances` and `starts`.
        seed: of everything.

    Returns:
        The fields of `RowEnd`, over columns, radius, instance and start; and those of `Least`, over
        radius and instance.
    """
    side, radii, instances = size["side"], size["radii"], size["instances"]
    few = (len(radii), instances)
    ends = {
        name: np.zeros((len(size["row_columns"]), *few, size["starts"])) for name in RowEnd._fields
    }
    least = {name: np.zeros(few) for name in Least._fields}
    for instance in range(instances):
        random = np.random.default_rng((seed, 1, instance))
        values = random.standard_normal((side, side))
        train = (random.random((side, side)) < 0.6).astype(float)
        train[0, 0] = 1.0
        # Whatever fits has a max-norm of at least its largest entry: within the bound nothing does.
        largest = float(np.max(np.abs(train * values)))
        for j, radius in enumerate(radii):
            for name, value in by_cones(values, train, radius * largest)._asdict().items():
                least[name][j, instance] = value
            for i, columns in enumerate(size["row_columns"]):
                for number in range(size["starts"]):
                    start = random.standard_normal((2 * side, columns + 1))
                    end = descend_rows(start, values, train, radius * largest)
                    for name, value in end._asdict().items():
                        ends[name][i, j, instance, number] = value
    return ends, least


def rows_above(ends: dict[str, Any], least: dict[str, Any]) -> Float[np.ndarray, " d"]:
    """How many descents end above the minimum.

    Args:
        ends: from `row_descents`.
        least: the same.

    Returns:
        Over columns: the share above the convex program by more than descent leaves, 1e-6 of the
        loss, and the gap of the program.
    """
    room = ABOVE * ends["value"] + least["gap"][..., None]
    return (ends["value"] - least["value"][..., None] > room).mean(axis=(1, 2, 3))
