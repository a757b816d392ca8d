"""Maps from parameters to the unknown, shared by `simulate` and `descend`."""

from ._base import AbstractParametrization as AbstractParametrization
from ._deep import Deep as Deep
from ._factor import Factor as Factor
from ._hadamard import Hadamard as Hadamard, SignedHadamard as SignedHadamard
from ._identity import Identity as Identity
