"""A certificate in words."""

import dataclasses

from ._evidence import Better, Contradiction, Duals, Point


@dataclasses.dataclass(frozen=True, eq=False)
class Facts:
    """What a sentence may be made of.

    Attributes:
        point: the X in hand.
        duals: lower bounds.
        better: upper bounds, if the convex solver was asked.
        against: the best proof that nothing fits.
        excess: tr X minus the upper bound.
        slack: <A(X) - y, nu>.
        tolerance: the misfit that counts as fitting.
    """

    point: Point
    duals: Duals
    better: Better | None
    against: Contradiction
    excess: float
    slack: float
    tolerance: float

    def minimal(self) -> str:
        """X has the least trace, to the gap."""
        trace, bound = self.point.trace, self.duals.bound
        if bound == 0:
            return f"The targets are 0 and so is X, to {trace:.3g}: no trace is smaller than 0."
        if trace < bound:
            own = max(trace / self.duals.own_bound - 1, 0.0) if self.duals.own_bound > 0 else 0.0
            return (
                f"No X >= 0 with the same measurements as this one has a trace below "
                f"{trace:.10g} by more than {_percent(own)}. It fits the targets to "
                f"{self.point.feasibility:.2g}, which accounts for the difference from the lower "
                f"bound {bound:.10g} of those that fit exactly."
            )
        above = trace / bound - 1
        return (
            f"No X >= 0 that fits the targets has a trace below {bound:.10g}, and this one has "
            f"{trace:.10g}: at most {_percent(above)} above the minimum. It fits the targets to "
            f"{self.point.feasibility:.2g}."
        )

    def not_minimal(self) -> str:
        """Something better exists."""
        trace = self.point.trace
        assert self.better is not None
        moved = max(self.better.bound.moved, self.better.own_bound.moved)
        exactly = "exactly"
        if moved > 0:
            exactly = f"targets that differ from these by {moved:.1g} (rounding)"
        share = self.excess / trace
        text = (
            f"The trace is {trace:.10g}, but a matrix X >= 0 of trace at most "
            f"{trace - self.excess:.10g} fits {exactly}: X exceeds the minimum by at least "
            f"{_percent(share / (1 - share))} of it."
            if share < 1
            else f"The trace is {trace:.10g}, but X = 0 fits as well."
        )
        if not self.better.bound.holds:
            text += (
                f" That matrix fits the targets A(X), which differ from y by "
                f"{self.point.feasibility:.2g}; no X is known to fit y itself."
            )
        return text

    def not_fitted(self) -> str:
        """X misses the targets."""
        text = (
            f"X misses the targets by {self.point.feasibility:.3g} of their norm (the tolerance is "
            f"{self.tolerance:.1g}). Whether some X meets them is another question"
        )
        if self.better is not None and self.better.status in {"Solved", "AlmostSolved"}:
            return text + f"; the convex solver found one of trace {self.better.trace:.6g}."
        return text + "."

    def infeasible(self) -> str:
        """Nothing fits."""
        far = self.against.reach
        how = (
            "no X >= 0 at all"
            if far == float("inf")
            else f"no X >= 0 of trace below {far:.2g}, which is as far as floats can tell,"
        )
        return (
            "The vector `contradiction` = nu has <y, nu> < 0 although A*(nu) >= 0: "
            f"{how} can fit the targets. This X misses them by {self.point.feasibility:.3g}."
        )

    def diverges(self) -> str:
        """What fits is far away."""
        return (
            f"X misses the targets by {self.point.feasibility:.3g}, and every X >= 0 that fits has "
            f"a trace of at least {self.duals.bound:.3g}, against {self.point.trace:.3g} here: the "
            "norm diverges, or nearly so. Look at the path at a finite time, or check the targets."
        )

    def not_semidefinite(self) -> str:
        """X is outside the cone."""
        return (
            f"X is not positive semidefinite: its negative eigenvalues sum to "
            f"{-self.point.negative:.3g}. Its trace is not its nuclear norm, and the bounds here "
            "are about X >= 0 only."
        )

    def undecided(self, *, asked: bool) -> str:
        """The bounds do not meet, and say why."""
        trace, bound = self.point.trace, self.duals.bound
        text = f"X fits to {self.point.feasibility:.2g} and has trace {trace:.10g}; "
        if bound > trace or abs(self.slack) > 0.1 * trace:
            return text + (
                f"every X >= 0 that fits exactly has a trace of at least {bound:.6g}, and the "
                f"misfit of this one shifts that bound by {abs(self.slack):.3g}: so small a change "
                "of the targets changes the minimum so much that the norm diverges, or nearly so."
            )
        text += f"the minimum is at least {bound:.10g}, and no smaller X is proved to fit. "
        if not asked:
            return text + "The convex solver was not asked: `convex=True` does, at its price."
        if self.better is not None and self.better.trace < trace:
            text += (
                f"The convex solver ({self.better.status}) found trace {self.better.trace:.10g}, "
                "but without a strictly positive X that fits this is no proof. "
            )
        return text + "Integrate to a smaller residual or alpha, or widen `gap_tolerance`."


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%" if share >= 1e-4 else f"{share:.2g} (relative)"
