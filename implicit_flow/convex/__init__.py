"""Convex references: solutions of least norm, bounds that hold in floats, and certificates."""

from ._certificate import Certificate as Certificate, Verdict as Verdict
from ._certify import HasDual as HasDual, certify as certify
from ._dual_bound import dual_bound as dual_bound, duality_gap as duality_gap
from ._matrix_norms import (
    MatrixNorm as MatrixNorm,
    max_norm as max_norm,
    trace_norm as trace_norm,
    weighted_trace_norm as weighted_trace_norm,
)
from ._norms import (
    ConvexSolution as ConvexSolution,
    InfeasibleTargetsError as InfeasibleTargetsError,
    min_frobenius as min_frobenius,
    min_l1 as min_l1,
    min_l2 as min_l2,
    min_nuclear_norm as min_nuclear_norm,
)
