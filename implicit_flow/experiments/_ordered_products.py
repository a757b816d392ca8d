"""Products of exponentials against time-ordered ones, and the first terms of their logarithm."""

from collections.abc import Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.linalg import expm

from .._compiled import compiled
from .._simulate import simulate
from ..flows import SteeredFlow
from ..measurements import DenseMeasurement
from ..problems import Problem


def ordered_product(exponents: Float[np.ndarray, "k n n"]) -> Float[np.ndarray, "n n"]:
    """The product of exponentials, later ones to the left.

    Args:
        exponents: one for each step, shape (k, n, n).

    Returns:
        The product.
    """
    product = np.eye(exponents.shape[1])
    for factor in expm(exponents):
        product = factor @ product
    return product


def rotating(t: Float[np.ndarray, " k"], speed: float) -> Float[np.ndarray, "k 2 2"]:
    """M(t) = e^(tK) S e^(-tK) with S = diag(1, -1) and K the rotation at a speed."""
    c, s = np.cos(2 * speed * t), np.sin(2 * speed * t)
    return np.moveaxis(np.array([[c, s], [s, -c]]), -1, 0)


def exact_rotating(t: float, speed: float) -> Float[np.ndarray, "2 2"]:
    """The time-ordered exponential of `rotating`: e^(tK) e^(t(S - K))."""
    K = speed * np.array([[0.0, -1.0], [1.0, 0.0]])
    return expm(t * K) @ expm(t * (np.diag([1.0, -1.0]) - K))


def product_errors(t: float, speed: float, number: int) -> tuple[float, float, float, float]:
    """Relative errors of products in the order of time, in the reverse one, and without any.

    Args:
        t: final time.
        speed: of the rotation.
        number: of factors.

    Returns:
        Errors of the propagator: the midpoint product, the fourth-order Magnus product, one
        exponential of the sum, and the midpoint product with later factors to the right.
    """
    exact, h = exact_rotating(t, speed), t / number
    middles = (np.arange(number) + 0.5) * h
    early, late = (rotating(middles + sign * h * np.sqrt(3) / 6, speed) for sign in (-1, 1))
    magnus = h / 2 * (early + late) + np.sqrt(3) * h**2 / 12 * (late @ early - early @ late)
    at_middle = h * rotating(middles, speed)
    found = (
        ordered_product(at_middle),
        ordered_product(magnus),
        expm(np.sum(at_middle, axis=0)),
        ordered_product(at_middle[::-1]),
    )
    size = np.linalg.norm(exact)
    first, second, third, fourth = (float(np.linalg.norm(P - exact) / size) for P in found)
    return first, second, third, fourth


class _Rotating(eqx.Module):
    """-A*(r(t)) = e^(tK) S e^(-tK)."""

    speed: Any

    def __call__(self, t: Any) -> Any:
        angle = 2 * self.speed * t
        return -jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def simulated_errors(t: float, speeds: Sequence[float]) -> Float[np.ndarray, " k"]:
    """The simulator with the rotating steering, against the exact propagator.

    Args:
        t: the time.
        speeds: of the rotation.

    Returns:
        Relative errors of X, one for each speed.
    """
    stack = jnp.array([[[1.0, 0.0], [0.0, -1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    problem = Problem(DenseMeasurement(stack), jnp.zeros(2))

    @compiled
    def end(speed: Any) -> Any:
        flow = SteeredFlow(_Rotating(speed))
        adjoint = diffrax.ForwardMode()
        return simulate(problem, flow, alpha=1.0, t1=t, rtol=1e-8, adjoint=adjoint, throw=False).X

    apart = []
    for speed in speeds:
        exact = exact_rotating(t, speed)
        X = np.asarray(end(np.asarray(speed)))
        apart.append(np.linalg.norm(X - exact @ exact.T) / np.linalg.norm(exact @ exact.T))
    return np.array(apart)


def along_residuals(
    stack: Float[np.ndarray, "2 n n"],
    times: Float[np.ndarray, " k"],
    residuals: Float[np.ndarray, "k 2"],
    duals: Float[np.ndarray, "k 2"],
    Xs: Float[np.ndarray, "k n n"],
    log_alpha: float,
) -> dict[str, float]:
    r"""What the order of the factors matters along a flow from $\alpha I$.

    The first terms of $\log\Phi$ are $\Omega_1 = A^*(s)$ and
    $\Omega_2 = \tfrac12[A_1, A_2]\int(\dot s_1 s_2 - s_1\dot s_2)\,dt$, an area that s sweeps.

    Args:
        stack: two measurement matrices.
        times: from 0, equally spaced, an odd number of them.
        residuals: at the times.
        duals: s at the times.
        Xs: at the times.
        log_alpha: of the start.

    Returns:
        Relative distances from X at the end of the ordered product (with all and with half of the
        times) and of the unordered one, norms of the two terms, and the total variation of r.
    """
    end, size = Xs[-1], np.linalg.norm(Xs[-1])

    def ordered(stride: int) -> float:
        t, r = times[::stride], residuals[::stride]
        middle = (r[1:] + r[:-1]) / 2 * np.diff(t)[:, None]
        start = np.exp(log_alpha / 2)
        U = start * ordered_product(-np.tensordot(middle, stack, 1))
        return float(np.linalg.norm(U @ U.T - end) / size)

    first = np.tensordot(duals[-1], stack, 1)
    # A product of exponentials of one matrix; scaled before it is squared.
    U = expm(first + log_alpha / 2 * np.eye(len(first)))
    swept = np.sum(
        np.diff(duals[:, 0]) * (duals[1:, 1] + duals[:-1, 1])
        - np.diff(duals[:, 1]) * (duals[1:, 0] + duals[:-1, 0])
    )
    commutator = stack[0] @ stack[1] - stack[1] @ stack[0]
    variation = [
        float(np.sum(np.linalg.norm(np.diff(residuals[::stride], axis=0), axis=1)))
        for stride in (1, 2)
    ]
    return {
        "ordered_error": ordered(1),
        "ordered_error_of_half": ordered(2),
        "unordered_error": float(np.linalg.norm(U @ U.T - end) / size),
        "first_term": float(np.linalg.norm(first)),
        "second_term": float(abs(swept) / 4 * np.linalg.norm(commutator)),
        "variation": variation[0],
        "variation_of_half": variation[1],
    }
