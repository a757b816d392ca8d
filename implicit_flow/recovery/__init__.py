"""Recovery of planted vectors and matrices, by methods that are no flows."""

from ._matching_pursuit import (
    Pursuit as Pursuit,
    orthogonal_matching_pursuit as orthogonal_matching_pursuit,
)
