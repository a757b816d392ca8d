"""Steepest descent with respect to a norm: its steps, and where they end."""

from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from scipy.optimize import linprog

from .._descend import descend
from ..convex import min_l1, min_l2
from ..flows import MirrorFlow
from ..flows.potentials import Quadratic
from ..measurements import DiagonalMeasurement
from ..problems import Problem


NORMS = ("l1", "l2", "linf")


def steepest_descent(norm: str, learning_rate: Any) -> optax.GradientTransformation:
    r"""Steps along the direction of steepest descent in a norm, of the length of the dual norm.

    $\Delta x = \eta\,\mathrm{argmin}_v\,\langle g, v\rangle + \tfrac12\|v\|^2$: gradient descent
    for l2; the coordinate of largest gradient alone for l1; all signs at one size for linf.

    Args:
        norm: "l1", "l2" or "linf".
        learning_rate: eta, at most 1 / `smoothness(...)` for descent at every step.

    Returns:
        The transformation, for an unknown that is one vector.

    Reference:
        Boyd and Vandenberghe (2004), Convex optimization, section 9.4.
    """

    def direction(g: Float[Array, " n"]) -> Float[Array, " n"]:
        if norm == "l1":
            return jnp.where(jnp.arange(g.shape[0]) == jnp.argmax(jnp.abs(g)), g, 0)
        if norm == "linf":
            return jnp.sum(jnp.abs(g)) * jnp.sign(g)
        return g

    return optax.chain(
        optax.stateless(lambda updates, params: direction(cast(Any, updates))),
        optax.scale_by_learning_rate(learning_rate),
    )


def smoothness(rows: Any, norm: str) -> Any:
    r"""A constant L with $\tfrac12\|Av\|_2^2 \le \tfrac L2\|v\|^2$ in a norm.

    Args:
        rows: A, shape (m, n).
        norm: "l1", "l2" or "linf".

    Returns:
        L, a scalar; the least one for l1 and l2.
    """
    if norm == "l1":
        return jnp.max(jnp.sum(rows**2, axis=0))
    if norm == "linf":
        return jnp.sum(jnp.sum(jnp.abs(rows), axis=1) ** 2)
    return jnp.linalg.norm(rows, 2) ** 2


def ends_of_descent(
    rows: Float[np.ndarray, "k m n"],
    targets: Float[np.ndarray, "k m"],
    steps: Sequence[float | int],
    num_steps: int,
) -> dict[str, Any]:
    """Descends from zero in each norm, and compares the norm of the end with the least one.

    Args:
        rows: A of each instance.
        targets: y.
        steps: as shares of the longest that must descend.
        num_steps: at the longest step; all take as many as the shortest needs for that time.

    Returns:
        Variables over instance, norm and step: the excess of the norm over the least one, relative
        to it; the relative misfit; the ends.
    """
    shape, orders = (len(rows), len(NORMS), len(steps)), {"l1": 1, "l2": 2, "linf": np.inf}
    excess, misfit = np.zeros(shape), np.zeros(shape)
    ends = np.zeros((*shape, rows.shape[2]))
    shares, count = jnp.asarray(steps, float), int(np.ceil(num_steps / min(steps)))
    for j, norm in enumerate(NORMS):

        def end(A: Any, y: Any, share: Any, norm: str = norm) -> Any:
            optimizer = steepest_descent(norm, share / smoothness(A, norm))
            problem, flow = Problem(DiagonalMeasurement(A), y), MirrorFlow(Quadratic())
            sol = descend(problem, flow, optimizer, num_steps=count, throw=False)
            return sol.x, sol.residual_norm

        lanes = jax.jit(jax.vmap(jax.vmap(end, (None, None, 0)), (0, 0, None)))
        ends[:, j], misfit[:, j] = lanes(jnp.asarray(rows), jnp.asarray(targets), shares)
        least = np.array([_least(A, y, norm) for A, y in zip(rows, targets, strict=True)])
        excess[:, j] = np.linalg.norm(ends[:, j], orders[norm], axis=2) / least[:, None] - 1
    over = ("instance", "norm", "step")
    return {
        "excess": (over, excess),
        "steepest_misfit": (over, misfit),
        "steepest_x": ((*over, "coordinate"), ends),
    }


def _least(rows: np.ndarray, targets: np.ndarray, norm: str) -> float:
    """The least norm over all solutions."""
    problem = Problem(DiagonalMeasurement(rows), targets)
    if norm == "l1":
        return min_l1(problem).value
    if norm == "l2":
        return min_l2(problem).value
    m, n = rows.shape
    # minimize t with -t <= x_i <= t.
    bound = np.concatenate([np.eye(n), -np.eye(n)]), -np.ones((2 * n, 1))
    found = linprog(
        np.append(np.zeros(n), 1.0),
        A_ub=np.hstack(bound),
        b_ub=np.zeros(2 * n),
        A_eq=np.hstack([rows, np.zeros((m, 1))]),
        b_eq=targets,
        bounds=(None, None),
    )
    return float(found.fun)
