"""A family of measurements with known isometry constant d, on which d = 1/2 is the threshold.

With X* = e_1 e_1' and (a, b, c) the entries of xx' - X*,
f = a^2 + 2 d a c + c^2 + 2 (1 + d) b^2 = ||A(xx' - X*)||^2; A stretches one matrix by 1 - d and the
others by 1 + d. The point (0, sqrt d) is critical, with f = 1 - d^2 and Hessian
diag(-4 + 4 d + 8 d^2, 8 d): a spurious minimum exactly for d > 1/2.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import _checks
from .._compiled import compiled
from .._random import normal
from ..landscape import Sensing, gradient_descent, hessian
from ..measurements import DenseMeasurement
from ..problems import Problem
from ..recovery import isometry
from ._landscape_models import AT_REST


def objective(d: Array) -> Sensing:
    """(1/4) f of the family.

    Args:
        d: the isometry constant, in (0, 1).

    Returns:
        The objective of one column.
    """
    root = jnp.sqrt(jnp.array([1 + d, 1 - d, 1 + d]) / 2)
    shapes = np.array([[[1, 0], [0, 1]], [[1, 0], [0, -1]], [[0, 1], [1, 0]]], float)
    measurement = DenseMeasurement(root[:, None, None] * shapes)
    truth = jnp.zeros((2, 2), root.dtype).at[0, 0].set(1.0)
    return Sensing(Problem(measurement, measurement.apply(truth), ground_truth=truth), 1)


# Outside of a program each of its operations would be one.
_objective = compiled(objective)


@compiled
def _at_other_point(d: Array) -> tuple[Array, Array, Array]:
    """The critical point with x0 = 0, found by Newton's method, its f, and its eigenvalues."""
    f = objective(d)
    gradient = jax.grad(f)

    def newton(_: Any, x: Array) -> Array:
        # The gradient along x0 is exactly zero, and the curvature there may be.
        step = jnp.linalg.pinv(hessian(f, x)) @ gradient(x).reshape(-1)
        return x - step.reshape(x.shape)

    x = jax.lax.fori_loop(0, 30, newton, jnp.array([[0.0], [0.9]]))
    # Of (1/4) f: the published numbers are those of f.
    return x[:, 0], 4 * f(x), 4 * jnp.diagonal(hessian(f, x))


@compiled
def _trapped(d: Array, starts: Array) -> tuple[Array, Array]:
    """The shares of descents that come to rest above the minimum, and that come to neither."""
    f = objective(d)

    def end(start: Array) -> tuple[Array, Array]:
        found = gradient_descent(f, start, num_steps=5000, goal=1e-12, gradient_tolerance=1e-9)
        missed = ~(found.value <= 1e-6)
        rest = found.gradient_norm <= AT_REST
        return missed & rest, missed & ~rest

    trapped, unfinished = jax.lax.map(end, starts)
    return jnp.mean(trapped.astype(starts.dtype)), jnp.mean(unfinished.astype(starts.dtype))


def sweep_of_d(ds: np.ndarray, count: int, *, key: Any) -> dict[str, np.ndarray]:
    """The family over d.

    Args:
        ds: the constants.
        count: random starts of gradient descent.
        key: of the starts.

    Returns:
        Name -> values over d: bounds of the constant, the other critical point, its value, the
        curvature along x0, the share of descents trapped above the minimum, and of those that did
        not come to rest.
    """
    starts = normal(key, (count, 2, 1))
    rows = []
    for d in ds:
        _checks.positive(d * (1 - d), "deltas", "The family needs 0 < delta < 1.")
        x, value, eigenvalues = _at_other_point(jnp.asarray(float(d)))
        measurement = _objective(jnp.asarray(float(d))).problem.measurement
        found = isometry(measurement, 2, key=key, scale=jnp.asarray(1.0))
        rows.append(
            (
                float(found.lower),
                float(found.upper),
                float(x[1]),
                float(value),
                float(eigenvalues[0]),
                *map(float, _trapped(jnp.asarray(float(d)), starts)),
            )
        )
    names = ("lower", "upper", "point", "value", "curvature", "trapped", "unfinished")
    return dict(zip(names, np.array(rows).T, strict=True))


def threshold() -> float:
    """The d at which the other critical point turns from a saddle into a minimum.

    Returns:
        The root of its curvature along x0, by bracketing.
    """
    from scipy.optimize import brentq

    def curvature(d: float) -> float:
        return float(_at_other_point(jnp.asarray(d))[2][0])

    root: Any = brentq(curvature, 0.2, 0.9, xtol=1e-12)
    return float(root)
