"""The integrators of congruence flows."""

from ._chebyshev import RungeKuttaChebyshev as RungeKuttaChebyshev
from ._congruence_term import CongruenceTerm as CongruenceTerm
from ._explicit import (
    FactorSolution as FactorSolution,
    integrate_explicitly as integrate_explicitly,
)
from ._integrate import integrate as integrate
from ._path import without_derivatives as without_derivatives
from ._radau import ResidualRadau as ResidualRadau
from ._solution import CongruenceSolution as CongruenceSolution
from ._uncoupled import Uncoupled as Uncoupled
