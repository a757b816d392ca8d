"""The options of the structure-preserving solver."""

import equinox as eqx

from .. import _checks


class ResidualRadau(eqx.Module):
    r"""Radau IIA on the residual, commutator-free exponentials on the factor.

    The flow $\dot U = -A^*(r) U$ is stiff only through the residual $r \in \mathbb R^m$. Its
    collocation polynomial is therefore the unknown, and U follows it by exponentials of symmetric
    matrices: X = UU' stays positive semidefinite, with its rank and the sign of its determinant,
    for a step of any length. The factor is kept graded, so that the scale of the initialization
    may lie thousands of orders of magnitude below one. Order 4, and 5 for commuting measurements;
    L-stable.

    Attributes:
        max_newton_iterations: Newton iterations of one step before it is rejected.
        newton_fraction: share of the step tolerance that Newton iterations may leave.
        growth_per_step: largest exponent by which a direction may grow in one step, unless all are
            far from their targets.
        decay_per_step: largest exponent by which a direction may shrink in one step.
        spread: largest log condition number that one QR update of the factor sees.
        refinements: how often the step tolerance may be reduced until `rtol` is met.
        recorded_steps: steps that a derivative can look back on; that of an end which took
            more is nan.

    Raises:
        ValueError: counts below 1, or bounds that are not positive.

    Reference:
        Hairer and Wanner, "Solving Ordinary Differential Equations II", section IV.8; Blanes and
        Moan, "Fourth- and sixth-order commutator-free Magnus integrators", Appl. Numer. Math. 56
        (2006); Dieci and Van Vleck on QR methods for products of matrices.
    """

    max_newton_iterations: int = eqx.field(static=True, default=12)
    newton_fraction: float = eqx.field(static=True, default=0.03)
    growth_per_step: float = eqx.field(static=True, default=6.0)
    decay_per_step: float = eqx.field(static=True, default=300.0)
    spread: float = eqx.field(static=True, default=8.0)
    refinements: int = eqx.field(static=True, default=5)
    recorded_steps: int = eqx.field(static=True, default=1024)

    def __check_init__(self) -> None:
        """Refuse counts below 1, and bounds that are not positive."""
        for name in ("max_newton_iterations", "refinements", "recorded_steps"):
            _checks.at_least(getattr(self, name), name, 1)
        for name in ("newton_fraction", "growth_per_step", "decay_per_step", "spread"):
            _checks.positive_number(getattr(self, name), name)
