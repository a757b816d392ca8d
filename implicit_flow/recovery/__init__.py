"""Recovery of what was planted: spectral, local and alternating search, pursuit, and isometry.

The convex relaxation is `imf.convex.min_nuclear_norm`, the factor flow `imf.limit`.
"""

from ._alternating import alternating_minimization as alternating_minimization
from ._descent import gradient_descent as gradient_descent
from ._isometry import Isometry as Isometry, isometry as isometry
from ._matching_pursuit import (
    Pursuit as Pursuit,
    orthogonal_matching_pursuit as orthogonal_matching_pursuit,
)
from ._recovered import Recovered as Recovered
from ._spectral import random_start as random_start, spectral_start as spectral_start
