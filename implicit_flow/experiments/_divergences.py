"""The nearest solution of A x = y in a Bregman divergence, by SciPy: a reference for flows.

Formulas are written out here once more, in NumPy: nothing is shared with the potentials of the
flows. What is solved is the dual, which has as many unknowns as there are equations.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..flows import MirrorFlow
from ..flows.potentials import Entropy, Hypentropy, PNorm, Quadratic


class Geometry(NamedTuple):
    """A potential as a flow, and its conjugate as formulas.

    Attributes:
        flow: the mirror flow.
        start: theta_0, one number for all entries.
        conjugate: psi*, of theta.
        point: its gradient, x of theta.
        curvature: the largest slope of x along theta near points of a given size, for steps.
        label: as mathematics.
    """

    flow: MirrorFlow
    start: float
    conjugate: Callable[[np.ndarray], float]
    point: Callable[[np.ndarray], np.ndarray]
    curvature: Callable[[float], float]
    label: str


def geometries(alpha: float, beta: float, powers: tuple[float, ...]) -> dict[str, Geometry]:
    """The potentials that are compared.

    Args:
        alpha: the start of the entropy.
        beta: of the hypentropy.
        powers: p of the p-norms, each between 1 and 2.

    Returns:
        Name -> geometry.
    """
    found = {
        "quadratic": Geometry(
            MirrorFlow(Quadratic()),
            0.0,
            lambda theta: float(theta @ theta) / 2,
            lambda theta: theta,
            lambda size: 1.0,
            r"quadratic",
        ),
        "entropy": Geometry(
            MirrorFlow(Entropy()),
            float(np.log(alpha)),
            lambda theta: float(np.sum(np.exp(theta))),
            np.exp,
            lambda size: size + alpha,
            r"entropy",
        ),
        "hypentropy": Geometry(
            MirrorFlow(Hypentropy(beta)),
            0.0,
            lambda theta: beta * float(np.sum(np.cosh(theta))),
            lambda theta: beta * np.sinh(theta),
            lambda size: size + beta,
            r"hypentropy",
        ),
    }
    for p in powers:
        found[f"{p:g}-norm"] = _power(p)
    return found


def _power(p: float) -> Geometry:
    q = p / (p - 1)

    def point(theta: np.ndarray) -> np.ndarray:
        size = np.sum(np.abs(theta) ** q) ** (1 / q)
        return np.sign(theta) * np.abs(theta) ** (q - 1) * size ** (2 - q) if size > 0 else theta

    return Geometry(
        MirrorFlow(PNorm(p)),
        0.0,
        lambda theta: float(np.sum(np.abs(theta) ** q)) ** (2 / q) / 2,
        point,
        lambda size: 1 / (p - 1),
        rf"$p = {p:g}$",
    )


def nearest(rows: np.ndarray, targets: np.ndarray, geometry: Geometry) -> np.ndarray:
    r"""The minimizer of $D_\psi(x, x_0)$ over $A x = y$: $x = \nabla\psi^*(\theta_0 + A^\top\nu)$.

    Args:
        rows: A, shape (m, n).
        targets: y, shape (m,).
        geometry: the potential and its start.

    Returns:
        x, shape (n,).
    """
    from scipy.optimize import minimize, root

    def point(nu: np.ndarray) -> np.ndarray:
        return geometry.point(geometry.start + nu @ rows)

    def dual(nu: np.ndarray) -> tuple[float, np.ndarray]:
        with np.errstate(over="ignore", invalid="ignore"):
            theta = geometry.start + nu @ rows
            return geometry.conjugate(theta) - float(targets @ nu), rows @ point(nu) - targets

    # Away from zero, where some conjugates have no curvature.
    begin: Any = np.linalg.lstsq(rows @ rows.T, targets, rcond=None)[0]
    begin = begin / max(1.0, float(np.max(np.abs(begin @ rows))))
    options = {"gtol": 1e-11, "maxiter": 10_000}
    nu = minimize(dual, begin, jac=True, method="BFGS", options=options).x
    refined = root(lambda nu: dual(nu)[1], nu, tol=1e-14).x
    better = np.linalg.norm(dual(refined)[1]) < np.linalg.norm(dual(nu)[1])
    return point(refined if better else nu)
