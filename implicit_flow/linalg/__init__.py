"""Symmetric matrices and graded factors: the linear algebra that every floor shares."""

from ._components import components as components, eigh_within as eigh_within
from ._each import each as each
from ._graded import (
    LOG_ZERO as LOG_ZERO,
    GradedFactor as GradedFactor,
    Substeps as Substeps,
    conjugate_upper as conjugate_upper,
    mixing_step as mixing_step,
    multiply as multiply,
    propagate as propagate,
    substeps as substeps,
)
from ._graded_tangent import (
    GradedTangent as GradedTangent,
    component_tangent as component_tangent,
    factor_tangent as factor_tangent,
    log_derivatives as log_derivatives,
    multiply_tangent as multiply_tangent,
    split as split,
    zero_tangent as zero_tangent,
)
from ._graded_values import log_singular_values as log_singular_values
from ._row_lengths import log_row_lengths as log_row_lengths, row_lengths as row_lengths
from ._symmetric import (
    divided_exponential as divided_exponential,
    symmetric_expm as symmetric_expm,
    taylor_expm as taylor_expm,
)
