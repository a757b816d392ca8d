"""Units in which the data of a problem are of order one, whatever they are in its own."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from .. import _checks
from ._coordinates import AbstractCone


# Of the data, beyond which sums of squares and products of them lose their digits.
_EXTREME = 1e50


class Units(NamedTuple):
    """What a number in the unit has to be multiplied by.

    Attributes:
        rows: for measurement matrices; a dual is divided by it.
        targets: for targets.
        X: for X, its trace, and bounds of that.
    """

    rows: float
    targets: float
    X: float


def in_units(cone: AbstractCone, targets: np.ndarray) -> tuple[AbstractCone, np.ndarray, Units]:
    """The data in units in which no square of them overflows or vanishes.

    Args:
        cone: measurement matrices in coordinates.
        targets: y, shape (m,).

    Returns:
        Both, divided by powers of two, and these: ones unless the data are extreme.

    Raises:
        ValueError: where X in its own unit is not a float.
    """
    rows, of_targets = _unit(cone.rows.data), _unit(targets)
    of_X = of_targets / rows
    if not 0 < of_X < math.inf:
        _checks.refuse(
            "problem",
            "have targets and measurements whose quotient is representable",
            f"has entries of about {of_targets:.1g} and {rows:.1g}",
            "Scale one of them: X scales with the quotient.",
        )
    units = Units(rows, of_targets, of_X)
    if rows != 1:
        cone = dataclasses.replace(cone, rows=cone.rows / rows)
    return cone, targets / of_targets, units


def _unit(values: np.ndarray) -> float:
    """One; for values whose squares may not be floats the power of two next to them."""
    largest = float(np.max(np.abs(values), initial=0.0))
    if largest == 0 or 1 / _EXTREME < largest < _EXTREME:
        return 1.0
    return 2.0 ** math.floor(math.log2(largest))
