"""Linear maps from symmetric matrices to the targets, each with its adjoint."""

from ._base import AbstractMeasurement as AbstractMeasurement
from ._commuting import CommutingMeasurement as CommutingMeasurement
from ._dense import DenseMeasurement as DenseMeasurement
from ._diagonal import DiagonalMeasurement as DiagonalMeasurement
from ._entries import (
    EntryMeasurement as EntryMeasurement,
    rectangular_entries as rectangular_entries,
)
from ._function import FunctionMeasurement as FunctionMeasurement, from_function as from_function
from ._rank_one import RankOneMeasurement as RankOneMeasurement
