"""Units in which the data of a problem are of order one, whatever they are in its own."""

import dataclasses
import math
from typing import NamedTuple, NoReturn

import numpy as np

from .. import _checks
from ._coordinates import AbstractCone


# Of the data, beyond which sums of squares and products of them lose their digits.
EXTREME = 1e50
# That are left of an X among the smallest floats.
_DIGITS = 1e10


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


def in_units(
    cone: AbstractCone, targets: np.ndarray, dtype: np.dtype, extreme: float
) -> tuple[AbstractCone, np.ndarray, Units]:
    """The data in units in which no square of them overflows or vanishes.

    Args:
        cone: measurement matrices in coordinates.
        targets: y, shape (m,).
        dtype: of the problem, in which X has to be representable.
        extreme: data that lie between it and its inverse stay as they are.

    Returns:
        Both, divided by powers of two, and these: ones unless the data are extreme.

    Raises:
        ValueError: where X in its own unit is not a float.
    """
    rows, of_targets = _unit(cone.rows.data, extreme), _unit(targets, extreme)
    of_X = of_targets / rows
    units = Units(rows, of_targets, of_X)
    info = np.finfo(dtype)
    # The smallest floats have few digits.
    smallest = float(info.smallest_subnormal) * min(_DIGITS, 1 / float(info.eps))
    if not smallest < of_X < float(info.max):
        refuse_units(units, dtype)
    if rows != 1:
        cone = dataclasses.replace(cone, rows=cone.rows / rows)
    return cone, targets / of_targets, units


def refuse_units(units: Units, dtype: np.dtype) -> NoReturn:
    """Say that X is no float of its type.

    Args:
        units: of the data.
        dtype: of the problem.

    Raises:
        ValueError: always.
    """
    _checks.refuse(
        "problem",
        f"have targets and measurements whose quotient is representable in {np.dtype(dtype).name}",
        f"has entries of about {units.targets:.1g} and {units.rows:.1g}",
        "Scale one of them: X scales with the quotient.",
    )


def _unit(values: np.ndarray, extreme: float) -> float:
    """One; for values that are extreme the power of two next to them."""
    largest = float(np.max(np.abs(values), initial=0.0))
    if largest == 0 or 1 / extreme < largest < extreme:
        return 1.0
    return 2.0 ** math.floor(math.log2(largest))
