"""Landscapes of recovery: objectives, their critical points, their curvature, descent on them.

And where paths from zero stop on their way, without any flow: `greedy_low_rank`,
`successive_saddles`.
"""

from ._base import AbstractObjective as AbstractObjective
from ._critical_points import (
    CriticalPoints as CriticalPoints,
    find_critical_points as find_critical_points,
)
from ._deep_linear import DeepLinear as DeepLinear
from ._descent import Descent as Descent, gradient_descent as gradient_descent
from ._factored import (
    Completion as Completion,
    PhaseRetrieval as PhaseRetrieval,
    PrincipalComponents as PrincipalComponents,
    Sensing as Sensing,
)
from ._greedy_low_rank import (
    GreedyLowRank as GreedyLowRank,
    greedy_low_rank as greedy_low_rank,
)
from ._hessian import Eigenpair as Eigenpair, hessian as hessian, min_eigenvalue as min_eigenvalue
from ._successive_saddles import (
    SuccessiveSaddles as SuccessiveSaddles,
    successive_saddles as successive_saddles,
)
from ._synchronization import Synchronization as Synchronization
