"""Whether the sizes of a problem leave room for what a flow makes of them: squares and products."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from . import _checks
from .measurements import (
    AbstractMeasurement,
    CommutingMeasurement,
    FunctionMeasurement,
    RankOneMeasurement,
)
from .problems import Problem


# Powers of the largest float that data may have: squares of them, and products of two, are floats.
_LARGEST = 0.4


def in_range(problem: Problem) -> Bool[Array, ""] | bool:
    """Whether targets, measurements and the quotient of both are far from the ends of their type.

    Args:
        problem: that a flow is to run on.

    Returns:
        Whether they are, where some are traced; True where all are known.

    Raises:
        ValueError: where known ones are not.
    """
    rows = _size(problem.measurement)
    targets = _largest(problem.targets)
    most = float(jnp.finfo(problem.measurement.dtype).max) ** _LARGEST
    # Their product is the rate of the flow.
    fastest = float(jnp.finfo(problem.measurement.dtype).max) ** 0.5
    if isinstance(rows, jax.Array) or isinstance(targets, jax.Array):
        fits = [(size == 0) | ((size > 1 / most) & (size < most)) for size in (rows, targets)]
        quotient = (
            (rows == 0) | (targets == 0) | ((targets < most * rows) & (rows < most * targets))
        )
        return fits[0] & fits[1] & quotient & (rows * targets < fastest)
    sizes = {"targets": targets, "measurements": rows}
    if rows > 0 and targets > 0:
        sizes["a quotient of targets and measurements"] = targets / rows
    for name, size in sizes.items():
        if size != 0 and not 1 / most < size < most:
            _checks.refuse(
                "problem",
                f"have {name} between {1 / most:.0e} and {most:.0e} in "
                f"{jnp.dtype(problem.measurement.dtype).name}",
                f"has one of {size:.1e}",
                "Choose other units.",
            )
    if rows * targets >= fastest:
        _checks.refuse(
            "problem",
            f"have a product of targets and measurements below {fastest:.0e} in "
            f"{jnp.dtype(problem.measurement.dtype).name}",
            f"has one of {rows * targets:.1e}",
            "Choose other units.",
        )
    return True


def _size(measurement: AbstractMeasurement) -> Array | float:
    """Of the largest entry of the measurement matrices; 0 where it is not seen."""
    if isinstance(measurement, FunctionMeasurement):
        # What a function closes over says nothing of its size.
        return 0.0
    if isinstance(measurement, CommutingMeasurement):
        return _largest(measurement.spectra)
    leaves = [leaf for leaf in jax.tree.leaves(measurement) if eqx.is_inexact_array(leaf)]
    return _largest(*leaves) ** (2 if isinstance(measurement, RankOneMeasurement) else 1)


def _largest(*arrays: Array) -> Array | float:
    """The largest entry: a number where all are known."""
    known = [_checks.concrete(array) for array in arrays]
    if any(array is None for array in known):
        sizes = [jnp.max(jnp.abs(jax.lax.stop_gradient(array)), initial=0) for array in arrays]
        return jnp.max(jnp.stack(sizes))
    sizes = [float(np.max(np.abs(array), initial=0)) for array in known if array is not None]
    return max(sizes, default=0.0)
