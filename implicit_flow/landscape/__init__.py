"""Landscapes of recovery: objectives, their critical points, their curvature, descent on them."""

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
from ._hessian import Eigenpair as Eigenpair, hessian as hessian, min_eigenvalue as min_eigenvalue
from ._synchronization import Synchronization as Synchronization
