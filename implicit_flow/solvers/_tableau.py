"""Radau IIA with three stages, and the fourth-order commutator-free propagator on it."""

import itertools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


_SQRT6 = np.sqrt(6.0)
NODES = np.array([(4 - _SQRT6) / 10, (4 + _SQRT6) / 10, 1.0])


def _lagrange_coefficients() -> np.ndarray:
    """Row j holds the monomial coefficients of the Lagrange polynomial l_j on `NODES`."""
    return np.linalg.inv(np.vander(NODES, increasing=True)).T


LAGRANGE = _lagrange_coefficients()
# a_ij = int_0^{c_i} l_j; the last row holds the weights, the method is stiffly accurate.
COEFFICIENTS = (NODES[:, None] ** np.arange(1, 4) / np.arange(1, 4)) @ LAGRANGE.T
WEIGHTS = COEFFICIENTS[2]


def _embedded() -> tuple[float, np.ndarray]:
    """The weight of the left end and the difference b_hat - b of the embedded formula.

    Reference:
        Hairer and Wanner, "Solving Ordinary Differential Equations II", section IV.8.
    """
    eigenvalues = np.linalg.eigvals(np.linalg.inv(COEFFICIENTS))
    left = float(1.0 / np.real(eigenvalues[np.argmin(np.abs(np.imag(eigenvalues)))]))
    moments = 1.0 / np.arange(1, 4) - left * np.array([1.0, 0.0, 0.0])
    return left, np.linalg.solve(np.vander(NODES, increasing=True).T, moments) - WEIGHTS


LEFT_WEIGHT, EMBEDDED_DIFFERENCE = _embedded()

# Commutator-free order 4 (Blanes and Moan 2006): Gauss nodes of an interval and their weights.
_GAUSS = np.array([0.5 - np.sqrt(3.0) / 6, 0.5 + np.sqrt(3.0) / 6])
_CF4 = np.array([[(3 + 2 * np.sqrt(3.0)) / 12, (3 - 2 * np.sqrt(3.0)) / 12]])
_CF4 = np.concatenate([_CF4, _CF4[:, ::-1]])


def exponent_weights(end: Float[Array, ""] | float) -> Float[Array, "6 3"]:
    r"""Weights of the six exponents that propagate U over [0, end] of a step.

    The exponents are $S_i = -h \sum_j w_{ij} A^*(k_j)$, two for each interval between nodes; the
    interval that holds `end` is cut there, the later ones are empty.

    Args:
        end: where in the step, as a fraction.

    Returns:
        The weights; their sums over i are the integrals of the Lagrange polynomials.
    """
    end = jnp.asarray(end, jnp.result_type(float) if isinstance(end, float) else None)
    dtype = end.dtype
    starts = jnp.asarray(np.concatenate([[0.0], NODES[:2]]), dtype)
    stops = jnp.asarray(NODES, dtype)
    length = jnp.clip(end, starts, stops) - starts
    points = starts[:, None] + length[:, None] * jnp.asarray(_GAUSS, dtype)[None, :]
    powers = points[:, :, None] ** jnp.arange(3).astype(dtype)[None, None, :]
    values = powers @ jnp.asarray(LAGRANGE.T, dtype)
    weights = jnp.einsum("eg,igj->iej", jnp.asarray(_CF4, dtype), values) * length[:, None, None]
    return weights.reshape(6, 3)


def _weights_between(points: np.ndarray) -> np.ndarray:
    """Weights of the exponents, two for each interval between successive points."""
    rows = []
    for start, stop in itertools.pairwise(points):
        values = np.vander(start + (stop - start) * _GAUSS, 3, increasing=True) @ LAGRANGE.T
        rows.append((stop - start) * _CF4 @ values)
    return np.concatenate(rows)


EXPONENT_WEIGHTS = _weights_between(np.concatenate([[0.0], NODES]))
# The same propagation over two halves of the step: its distance from the one over the nodes
# measures the error of both.
HALVES_WEIGHTS = _weights_between(np.array([0.0, 0.5, 1.0]))


def partial_weights(end: Float[Array, ""]) -> Float[Array, " 3"]:
    """The integrals of the Lagrange polynomials over [0, end]."""
    powers = end ** jnp.arange(1, 4).astype(end.dtype) / jnp.arange(1, 4).astype(end.dtype)
    return powers @ jnp.asarray(LAGRANGE.T, end.dtype)


def interpolation_weights(at: Float[Array, " k"]) -> Float[Array, "k 3"]:
    """The Lagrange polynomials at given points, which may lie beyond the step."""
    powers = at[:, None] ** jnp.arange(3).astype(at.dtype)[None, :]
    return powers @ jnp.asarray(LAGRANGE.T, at.dtype)
