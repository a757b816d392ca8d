"""One small problem for each flow, and its field once more, in plain NumPy."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import implicit_flow as imf
from implicit_flow import flows


STACK = np.array(
    [
        [[2.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 3.0]],
    ]
)
TARGETS = np.array([4.0, 3.0])
ROWS = np.array([[2.0, 1.0, 0.5], [0.3, -1.0, 1.5]])
VALUES = np.array([1.0, 0.4])


def matrix_problem() -> imf.Problem:
    """The instance on which the flow's limit is not the minimum nuclear norm solution."""
    return imf.Problem(imf.measurements.DenseMeasurement(STACK), TARGETS)


def vector_problem() -> imf.Problem:
    return imf.Problem(imf.measurements.DiagonalMeasurement(ROWS), VALUES)


def _generator(X: np.ndarray) -> np.ndarray:
    r = np.einsum("kij,ij->k", STACK, X) - TARGETS
    return np.einsum("k,kij->ij", r, STACK)


def _factor(t: float, u: np.ndarray) -> np.ndarray:
    U = u.reshape(3, -1)
    return -(_generator(U @ U.T) @ U).ravel()


def _matrix(t: float, x: np.ndarray) -> np.ndarray:
    X = x.reshape(3, 3)
    G = _generator(X)
    return -(G @ X + X @ G).ravel()


def _euclidean(t: float, x: np.ndarray) -> np.ndarray:
    return -_generator(x.reshape(3, 3)).ravel()


def _deep(t: float, w: np.ndarray) -> np.ndarray:
    W1, W2, W3 = w.reshape(3, 3, 3)
    G = _generator((W3 @ W2 @ W1 + (W3 @ W2 @ W1).T) / 2)
    return -np.stack([W2.T @ W3.T @ G, W3.T @ G @ W1.T, G @ W1.T @ W2.T]).ravel()


def _hadamard(t: float, u: np.ndarray) -> np.ndarray:
    return -(ROWS.T @ (ROWS @ u**3 - VALUES)) * u**2


def _signed(t: float, w: np.ndarray) -> np.ndarray:
    u, v = w[:3], w[3:]
    g = ROWS.T @ (ROWS @ (u**2 - v**2) - VALUES)
    return np.concatenate([-g * u, g * v])


def _entropic(t: float, theta: np.ndarray) -> np.ndarray:
    return -ROWS.T @ (ROWS @ np.exp(theta) - VALUES)


BETA = 0.02


def _hyperbolic(t: float, theta: np.ndarray) -> np.ndarray:
    return -ROWS.T @ (ROWS @ (BETA * np.sinh(theta)) - VALUES)


def _steering(t: Any) -> Any:
    return jnp.stack([jnp.cos(t), -0.5 + 0.3 * jnp.sin(2 * t)])


def _steered(t: float, u: np.ndarray) -> np.ndarray:
    r = np.array([np.cos(t), -0.5 + 0.3 * np.sin(2 * t)])
    return -(np.einsum("k,kij->ij", r, STACK) @ u.reshape(3, 3)).ravel()


class System(NamedTuple):
    flow: imf.AbstractFlow
    problem: imf.Problem
    start: Callable[[float], np.ndarray]
    field: Callable[[float, np.ndarray], np.ndarray]
    unknown: Callable[[np.ndarray], np.ndarray]


def _square(u: np.ndarray) -> np.ndarray:
    return u.reshape(3, -1) @ u.reshape(3, -1).T


def _product(w: np.ndarray) -> np.ndarray:
    W1, W2, W3 = w.reshape(3, 3, 3)
    return W3 @ W2 @ W1


I = np.eye(3)
SYSTEMS = {
    "factor": System(
        flows.FactorFlow(), matrix_problem(), lambda a: np.sqrt(a) * I.ravel(), _factor, _square
    ),
    "matrix": System(
        flows.MatrixFlow(),
        matrix_problem(),
        lambda a: a * I.ravel(),
        _matrix,
        lambda x: x.reshape(3, 3),
    ),
    "euclidean": System(
        flows.EuclideanFlow(),
        matrix_problem(),
        lambda a: np.zeros(9),
        _euclidean,
        lambda x: x.reshape(3, 3),
    ),
    "deep": System(
        flows.DeepFlow(3),
        matrix_problem(),
        lambda a: a ** (1 / 3) * np.stack([I, I, I]).ravel(),
        _deep,
        _product,
    ),
    "hadamard": System(
        flows.HadamardFlow(3),
        vector_problem(),
        lambda a: a ** (1 / 3) * np.ones(3),
        _hadamard,
        lambda u: np.diag(u**3),
    ),
    "signed": System(
        flows.SignedHadamardFlow(),
        vector_problem(),
        lambda a: np.sqrt(a) * np.ones(6),
        _signed,
        lambda w: np.diag(w[:3] ** 2 - w[3:] ** 2),
    ),
    "mirror, entropy": System(
        flows.MirrorFlow(flows.potentials.Entropy()),
        vector_problem(),
        lambda a: np.log(a) * np.ones(3),
        _entropic,
        lambda theta: np.diag(np.exp(theta)),
    ),
    "mirror, hypentropy": System(
        flows.MirrorFlow(flows.potentials.Hypentropy(BETA)),
        vector_problem(),
        lambda a: np.zeros(3),
        _hyperbolic,
        lambda theta: np.diag(BETA * np.sinh(theta)),
    ),
    "steered": System(
        flows.SteeredFlow(_steering),
        matrix_problem(),
        lambda a: np.sqrt(a) * I.ravel(),
        _steered,
        _square,
    ),
}
