r"""Local minima over factors of bounded norm: $\|U\|_F^2 + \|V\|_F^2 \le 2\tau$, d columns each."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.optimize import minimize


# A loss is above another where it is so by more than what descent leaves of it.
ABOVE = 1e-6


class End(NamedTuple):
    """Where a descent came to rest.

    Attributes:
        value: of the loss.
        gap: at least the distance of `value` from the minimum over the whole ball, of any rank.
        slope: the norm of the gradient on the sphere.
        curvature: the least curvature among factors of d columns.
        escape: the least curvature with one more column, or more.
    """

    value: float
    gap: float
    slope: float
    curvature: float
    escape: float


def descend_from(
    start: Float[np.ndarray, " s"],
    columns: int,
    values: Float[np.ndarray, "p q"],
    train: Float[np.ndarray, "p q"],
    radius: float,
) -> End:
    r"""Descends $\frac12\|P(UV') - y\|^2$ over the factors on the sphere, from a random start.

    The norm bound is met with equality where no matrix within it fits. The gap is that of Frank
    and Wolfe: $\tau\|\nabla\|_{op} + \langle\nabla, W\rangle$.

    Args:
        start: factors of all columns, flat; those after the first `columns` are not used.
        columns: d.
        values: y, shape (p, q).
        train: 1 at the entries that count, 0 elsewhere.
        radius: tau, which bounds the trace norm of U V'.

    Returns:
        Where it came to rest.
    """
    p, q = values.shape
    most = len(start) // (p + q)
    mask = np.tile(np.arange(most) < columns, p + q)

    # By hand: compiled, thousands of calls of so small a thing take three times as long.
    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        U, V, size = x[: p * most].reshape(p, most), x[p * most :].reshape(q, most), x @ x
        W = 2 * radius * (U @ V.T) / size
        R = train * (W - values)
        slope = radius * np.concatenate([(R @ V).ravel(), (R.T @ U).ravel()])
        return 0.5 * float(np.sum(R**2)), 2 * (slope - np.sum(R * W) * x) / size

    # Columns of zeros stay zero under descent: the second derivative compiles once for all d.
    x: Any = start * mask / np.linalg.norm(start * mask)
    options: Any = {"maxiter": 2000, "gtol": 1e-9, "ftol": 1e-15, "maxcor": 20}
    # Along a ray the loss is constant; begun again at length 1, slopes keep their scale.
    for _ in range(2):
        x = minimize(objective, x, jac=True, method="L-BFGS-B", options=options).x
        x = x / np.linalg.norm(x)
    value, slope = objective(x)
    curvature, escape = least_curvatures(x, mask, values, train, radius)
    U, V = x[: p * most].reshape(p, most), x[p * most :].reshape(q, most)
    W = 2 * radius * U @ V.T
    gradient = train * (W - values)
    gap = radius * np.linalg.norm(gradient, 2) + np.sum(gradient * W)
    return End(value, float(gap), float(np.linalg.norm(slope)), curvature, escape)


def least_curvatures(
    x: Float[np.ndarray, " s"],
    mask: Bool[np.ndarray, " s"],
    values: Float[np.ndarray, "p q"],
    train: Float[np.ndarray, "p q"],
    radius: float,
) -> tuple[float, float]:
    """The least curvature of the loss on the sphere.

    Args:
        x: factors, flat, of length 1.
        mask: which entries may move.
        values: y.
        train: 1 at the entries that count.
        radius: tau.

    Returns:
        That along the entries of the mask, and that along all.
    """
    hessian = np.asarray(_hessian(*map(jnp.asarray, (x, values, train)), radius))
    within = hessian[np.ix_(mask, mask)]
    return float(np.linalg.eigvalsh(within)[0]), float(np.linalg.eigvalsh(hessian)[0])


def _loss(
    x: Float[Array, " s"], values: Float[Array, "p q"], train: Float[Array, "p q"], radius: Any
) -> Float[Array, ""]:
    p, q = values.shape
    most = x.shape[0] // (p + q)
    U, V = x[: p * most].reshape(p, most), x[p * most :].reshape(q, most)
    W = 2 * radius * (U @ V.T) / jnp.sum(x**2)
    return 0.5 * jnp.sum(train * (W - values) ** 2)


_hessian = jax.jit(jax.hessian(_loss))


def descents(size: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    """Descends from random starts, for random targets on a part of the entries.

    Args:
        size: `side` of the matrices, `columns`, `radii`, `instances` and `starts`.
        seed: of everything.

    Returns:
        The fields of `End`, each over columns, radius, instance and start.
    """
    side, most = size["side"], max(size["columns"]) + 1
    shape = tuple(len(size[name]) for name in ("columns", "radii"))
    shape = (*shape, size["instances"], size["starts"])
    found = {name: np.zeros(shape) for name in End._fields}
    for instance in range(size["instances"]):
        random = np.random.default_rng((seed, instance))
        values = random.standard_normal((side, side))
        train = (random.random((side, side)) < 0.6).astype(float)
        train[0, 0] = 1.0
        whole = float(np.linalg.svd(train * values, compute_uv=False).sum())
        begin = random.standard_normal((size["starts"], 2 * side * most))
        for i, columns in enumerate(size["columns"]):
            for j, radius in enumerate(size["radii"]):
                for number, start in enumerate(begin):
                    end = descend_from(start, columns, values, train, radius * whole)
                    for name, value in end._asdict().items():
                        found[name][i, j, instance, number] = value
    return found


def shares_above(ends: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """How many descents end above the best.

    Args:
        ends: from `descents`.

    Returns:
        Over columns: the share above the best of any d, and that above the best of the same d.
    """
    value = ends["value"]
    best, own = value.min(axis=(0, 3), keepdims=True), value.min(axis=3, keepdims=True)
    above, spurious = (value > least * (1 + ABOVE) for least in (best, own))
    return above.mean(axis=(1, 2, 3)), spurious.mean(axis=(1, 2, 3))
