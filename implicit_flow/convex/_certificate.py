"""What is proved about a point."""

from typing import Literal

import equinox as eqx
import numpy as np
from jaxtyping import Float


Verdict = Literal["minimal", "not minimal", "not fitted", "infeasible targets", "undecided"]


class Certificate(eqx.Module):
    r"""What is proved about an X among the $X \ge 0$ with $A(X) = y$. Prints itself in words.

    All numbers are computed in float64, whatever the problem is in; rounding is inside the bounds.

    Attributes:
        primal_value: tr X.
        dual_bound: at most the minimum for the targets y.
        upper_bound: the value of the best point that is known to fit: X itself if it fits, or a
            smaller one that is shown to exist for y and for the targets A(X) that X meets exactly
            (the larger value of the two); infinite where none is known.
        gap: (primal_value - dual_bound) / max(|dual_bound|, tiny).
        excess_at_least: primal_value - upper_bound; where positive, X is not minimal by that much.
        feasibility: ||A(X) - y|| / ||y|| (absolute where y = 0).
        slack: <A(X) - y, nu>, by how much the lower bound moves from y to the targets A(X).
        own_gap: the gap for the targets A(X), where it is rigorous whatever the misfit.
        reach: every X that fits has a trace of at least this, by `contradiction`.
        dual: nu, shape (m,), scaled so that A*(nu) <= I; it attains `dual_bound`.
        contradiction: nu, shape (m,), with <y, nu> < 0 and A*(nu) >= 0 as far as `reach` says.
        verdict: one of "minimal", "not minimal", "not fitted", "infeasible targets", "undecided".
        explanation: the verdict in words, with the numbers it rests on.
    """

    primal_value: float
    dual_bound: float
    upper_bound: float
    gap: float
    excess_at_least: float
    feasibility: float
    slack: float
    own_gap: float
    reach: float
    dual: Float[np.ndarray, " m"]
    contradiction: Float[np.ndarray, " m"]
    verdict: Verdict = eqx.field(static=True)
    explanation: str = eqx.field(static=True)

    def __str__(self) -> str:
        """The verdict, the reason, and the numbers."""
        return (
            f"{self.verdict.capitalize()}. {self.explanation}\n"
            f"  trace {self.primal_value:.10g}, minimum between {self.dual_bound:.10g} and "
            f"{self.upper_bound:.10g}\n"
            f"  gap {self.gap:.3g}, misfit {self.feasibility:.3g}"
        )
