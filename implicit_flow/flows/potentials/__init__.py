"""Potentials: strictly convex functions whose gradient maps a mirror flow to its dual."""

from ._base import AbstractPotential as AbstractPotential
from ._entropy import Entropy as Entropy
from ._hypentropy import Hypentropy as Hypentropy
from ._p_norm import PNorm as PNorm
from ._quadratic import Quadratic as Quadratic
