"""Flows: how the unknown moves."""

from . import potentials as potentials
from ._base import (
    AbstractFlow as AbstractFlow,
    generator as generator,
    predict as predict,
)
from ._deep import DeepFlow as DeepFlow
from ._euclidean import EuclideanFlow as EuclideanFlow
from ._factor import FactorFlow as FactorFlow, MatrixFlow as MatrixFlow
from ._hadamard import HadamardFlow as HadamardFlow, SignedHadamardFlow as SignedHadamardFlow
from ._integrate import Path as Path, integrate as integrate
from ._mirror import Mirror as Mirror, MirrorFlow as MirrorFlow
from ._settled import settled as settled, targets_met as targets_met
from ._steered import SteeredFlow as SteeredFlow
