"""From bounds to a verdict that is never more certain than they are."""

import dataclasses

import numpy as np

from . import _words
from ._certificate import Certificate, Verdict
from ._coordinates import AbstractCone
from ._evidence import (
    DIVERGES,
    PROOF,
    Better,
    Contradiction,
    Duals,
    Point,
    ask,
    best_duals,
    better_point,
    contradiction,
    in_range,
    own_candidates,
)
from ._feasible import NOTHING


@dataclasses.dataclass(frozen=True, eq=False)
class Judge:
    """Weighs what is known about a point.

    Attributes:
        cone: measurement matrices in coordinates.
        point: the X in hand.
        targets: y, shape (m,).
        tolerance: the misfit that counts as fitting.
        forgiven: the largest share of the gap that a misfit may account for.
        least_gap: the gap that counts as minimal by default.
        gap_tolerance: the same where the caller chose it.
        error: relative Frobenius error of X itself.
    """

    cone: AbstractCone
    point: Point
    targets: np.ndarray
    tolerance: float
    forgiven: float
    least_gap: float
    gap_tolerance: float | None
    error: float

    def certificate(self, given: np.ndarray | None, may_ask: bool) -> Certificate:  # noqa: FBT001
        candidates = [
            in_range(nu) for nu in own_candidates(self.cone, self.point, self.targets, given)
        ]
        duals = best_duals(self.cone, self.point, self.targets, candidates)
        better = None
        if may_ask and not (self.fits and self.is_minimal(duals)):
            better = self.asked()
            candidates.append(better.nu)
            duals = best_duals(self.cone, self.point, self.targets, candidates)
        against = contradiction(self.cone, self.targets, candidates)
        return self.verdict(duals, better, against, may_ask)

    def asked(self) -> Better:
        """What the convex solver has to say."""
        answer = ask(self.cone, self.targets)
        # Noise may have made y infeasible; X is then judged by the targets that it does meet.
        if self.fits and answer.claims_infeasible:
            answer = ask(self.cone, self.point.image)
        if not self.fits:
            trace = self.cone.trace(answer.point)
            return Better(answer.dual, NOTHING, NOTHING, trace, answer.status)
        return better_point(self.cone, self.point, self.targets, answer)

    @property
    def fits(self) -> bool:
        """Whether X meets the targets."""
        return self.point.feasibility <= self.tolerance

    @property
    def is_semidefinite(self) -> bool:
        """Whether X is in the cone, to the same tolerance."""
        return self.point.negative <= self.tolerance * self.point.size

    @property
    def uncertainty(self) -> float:
        """By how much the trace may change by the error that the caller admits."""
        if self.error == 0:
            return 0.0
        n = self.cone.dim
        return self.error * float(np.linalg.norm(self.point.X)) * float(np.sqrt(n))

    def slack(self, duals: Duals) -> float:
        """By how much the lower bound moves from y to A(X)."""
        return float((self.point.image - self.targets) @ duals.nu)

    def is_minimal(self, duals: Duals) -> bool:
        """Whether the bounds say so."""
        if not self.is_semidefinite:
            return False
        trace = self.point.trace
        if not np.any(self.targets):
            return trace <= self.allowed_absolute
        gap = abs(_gap(trace, duals.bound))
        if self.gap_tolerance is not None:
            return gap <= self.gap_tolerance
        size = max(duals.bound, float(np.finfo(float).tiny))
        least = self.least_gap + self.uncertainty / size
        # The gap for y may be larger than that for A(X) by what the misfit accounts for.
        forgiven = min(2 * abs(self.slack(duals)) / size, self.forgiven)
        return _gap(trace, duals.own_bound) <= least and gap <= least + forgiven

    @property
    def allowed_absolute(self) -> float:
        """The trace that counts as zero."""
        # With y = 0 there is no scale: the tolerance is absolute, as the misfit is.
        chosen = self.least_gap if self.gap_tolerance is None else self.gap_tolerance
        return chosen + self.uncertainty

    def verdict(
        self,
        duals: Duals,
        better: Better | None,
        against: Contradiction,
        asked: bool,  # noqa: FBT001
    ) -> Certificate:
        """Put the evidence together."""
        trace = self.point.trace
        proved = better is not None and better.bound.holds and better.own_bound.holds
        known = float("inf")
        if better is not None and better.own_bound.holds:
            known = max(better.own_bound.value, better.bound.value if proved else 0.0)
        excess = trace - known
        # Rounding in tr X itself.
        noise = 1e-15 * self.cone.dim * self.point.size + self.point.negative + self.uncertainty
        facts = _words.Facts(
            self.point, duals, better, against, excess, self.slack(duals), self.tolerance
        )
        verdict: Verdict
        if not self.fits:
            if against.relative >= PROOF:
                verdict, words = "infeasible targets", facts.infeasible()
            elif against.relative > DIVERGES and against.reach > 10 * trace:
                verdict, words = "undecided", facts.diverges()
            else:
                verdict, words = "not fitted", facts.not_fitted()
        elif not self.is_semidefinite:
            verdict, words = "undecided", facts.not_semidefinite()
        elif self.is_minimal(duals):
            verdict, words = "minimal", facts.minimal()
        elif excess > noise:
            verdict, words = "not minimal", facts.not_minimal()
        else:
            verdict, words = "undecided", facts.undecided(asked=asked)
        if self.fits and self.is_semidefinite:
            known = min(known, trace)
        return Certificate(
            primal_value=trace,
            dual_bound=duals.bound,
            upper_bound=known,
            gap=_gap(trace, duals.bound),
            excess_at_least=trace - known,
            feasibility=self.point.feasibility,
            slack=self.slack(duals),
            own_gap=_gap(trace, duals.own_bound),
            reach=against.reach,
            dual=duals.nu,
            contradiction=against.vector,
            verdict=verdict,
            explanation=words,
        )


def _gap(trace: float, bound: float) -> float:
    if bound == float("inf"):
        return -1.0
    return (trace - bound) / max(abs(bound), float(np.finfo(float).tiny))
