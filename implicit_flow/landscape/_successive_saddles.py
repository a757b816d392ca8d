"""The path of diagonal networks from an infinitesimal start: saddle to saddle, exactly."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

from .. import _checks
from ..losses import Squared
from ..measurements import DiagonalMeasurement
from ..problems import Problem


class SuccessiveSaddles(NamedTuple):
    r"""The limit alpha -> 0 of the path of a diagonal network, with time over $\log(1/\alpha)$.

    Attributes:
        points: the saddles in their order and the end, shape (k + 1, n); the first is 0.
        jump_times: when each is left, in units of log(1/alpha), shape (k,).
        duals: $\int -A^\top r\,dt$ at the jumps, in the same units, shape (k, n).
    """

    points: Float[np.ndarray, "k1 n"]
    jump_times: Float[np.ndarray, " k"]
    duals: Float[np.ndarray, "k n"]


def successive_saddles(
    problem: Problem, *, signed: bool = True, max_jumps: int = 1000
) -> SuccessiveSaddles:
    r"""Where the flow of $x = u^2 - v^2$, or $x = u^2$, waits as alpha -> 0, and for how long.

    With $u_0^2 = v_0^2 = \alpha$ and $s = -\int A^\top r\,dt / \log(1/\alpha)$, coordinate i stays
    infinitesimal while $|s_i| < \tfrac12$. Where $s_i = \pm\tfrac12$ it may take that sign. Between
    jumps x is the least squares solution under these signs, so that s moves on straight lines; a
    jump comes where another coordinate reaches $\pm\tfrac12$.

    Valid when: the loss is the squared one, and each of these least squares problems has one
    solution. A host function.

    Args:
        problem: with a `DiagonalMeasurement`.
        signed: x = u^2 - v^2 if true, x = u^2 if false.
        max_jumps: where to stop.

    Returns:
        The path.

    Raises:
        ValueError: another measurement or loss, or more than `max_jumps` jumps.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DiagonalMeasurement(jnp.diag(jnp.array([1.0, 1.0])))
        >>> path = imf.landscape.successive_saddles(imf.Problem(A, jnp.array([2.0, -1.0])))
        >>> path.points.tolist(), path.jump_times.tolist()
        ([[0.0, 0.0], [2.0, 0.0], [2.0, -1.0]], [0.25, 0.5])

    Reference:
        Pesme and Flammarion (2023), Saddle-to-saddle dynamics in diagonal linear networks.
    """
    _checks.instance(problem, "problem", Problem)
    _checks.instance(problem.measurement, "problem.measurement", DiagonalMeasurement)
    _checks.instance(problem.loss, "problem.loss", Squared)
    _checks.at_least(max_jumps, "max_jumps", 1)
    A = np.asarray(problem.measurement.as_stack(), float).diagonal(axis1=1, axis2=2)
    y = np.asarray(problem.targets, float)
    n = A.shape[1]
    scale = np.max(np.abs(A.T @ y), initial=0.0)
    x, s, time = np.zeros(n), np.zeros(n), 0.0
    points, times, duals = [x], [], []
    while True:
        g = A.T @ (y - A @ x)
        g = np.where(np.abs(g) > 1e-10 * scale, g, 0)
        ahead = np.where(g > 0, 0.5, -0.5 if signed else -np.inf)
        waits = np.full(n, np.inf)
        np.divide(ahead - s, g, out=waits, where=(g != 0) & (np.abs(ahead - s) > 1e-12))
        # A coordinate that is held at zero by its sign moves inwards; at the bound g is zero.
        wait = np.min(waits, initial=np.inf)
        if not np.isfinite(wait):
            return SuccessiveSaddles(np.array(points), np.array(times), np.array(duals))
        if len(times) == max_jumps:
            _checks.refuse("max_jumps", "be enough for the path", f"is {max_jumps}")
        time, s = time + wait, s + wait * g
        bound = np.abs(np.abs(s) - 0.5) < 1e-9 if signed else np.abs(s - 0.5) < 1e-9
        s = np.where(bound, 0.5 * np.sign(s), s)
        signs = np.sign(s[bound])
        x = np.zeros(n)
        x[bound] = signs * nnls(A[:, bound] * signs, y)[0]
        points.append(x)
        times.append(time)
        duals.append(s)
