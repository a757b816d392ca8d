"""The structure-preserving integrator of congruence flows."""

from ._congruence_term import CongruenceTerm as CongruenceTerm
from ._integrate import integrate as integrate
from ._radau import ResidualRadau as ResidualRadau
from ._solution import CongruenceSolution as CongruenceSolution
