"""Commuting problems in one unit of time, with and without a unique minimizer of the trace."""

from typing import Any

import jax.numpy as jnp

from .._random import normal
from ..measurements import CommutingMeasurement
from ..problems import Problem


def scaled(problem: Problem) -> Problem:
    """The same targets in units in which |A*(y)| = 1, so that time and step have a scale.

    Args:
        problem: with a `CommutingMeasurement`.

    Returns:
        The problem, measured in other units.
    """
    measurement: Any = problem.measurement
    size = jnp.sqrt(jnp.max(jnp.abs(problem.targets @ measurement.spectra)))
    return Problem(
        CommutingMeasurement(measurement.basis, measurement.spectra / size),
        problem.targets / size,
    )


def trace_measured(dim: int, key: Any) -> Problem:
    """The trace itself is measured: every X that fits has the least trace.

    Args:
        dim: n.
        key: of the eigenvectors.

    Returns:
        The problem, of two measurements.
    """
    basis = jnp.linalg.qr(normal(key, (dim, dim)))[0]
    spectra = jnp.stack([jnp.ones(dim), jnp.linspace(0.0, 1.0, dim)])
    return Problem(CommutingMeasurement(basis, spectra), jnp.array([1.0, 0.4]))
