"""What a run of the engine carries from step to step."""

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int

from ..linalg import GradedFactor
from ._newton_matrix import NewtonMatrix
from ._record import Record
from ._saved import Saved
from ._stationarity import Window


class Counts(eqx.Module):
    """What an integration has cost."""

    accepted: Int[Array, ""]
    rejected: Int[Array, ""]
    newton: Int[Array, ""]
    factorizations: Int[Array, ""]


class RunState(eqx.Module):
    """The state of an integration between two steps."""

    time: Float[Array, ""]
    step: Float[Array, ""]
    graded: GradedFactor
    factor: Float[Array, "n d"]
    force: Float[Array, " m"]
    dual: Float[Array, " m"]
    matrix: NewtonMatrix
    stale: Bool[Array, ""]
    hard: Int[Array, ""]
    patience: Int[Array, ""]
    noisy: Int[Array, ""]
    previous: Float[Array, "3 m"]
    previous_step: Float[Array, ""]
    window: Window
    saved: Saved
    record: Record | None
    counts: Counts
    arrived: Bool[Array, ""]
    stationary: Bool[Array, ""]
    vanished: Bool[Array, ""]
    diverges: Bool[Array, ""]
    failed: Bool[Array, ""]

    @property
    def done(self) -> Bool[Array, ""]:
        """Whether any reason to stop has been met."""
        return self.arrived | self.stationary | self.vanished | self.diverges | self.failed

    @property
    def ended(self) -> Bool[Array, ""]:
        """Whether the integration came to an end of the flow, of whatever kind."""
        return self.arrived | self.stationary | self.vanished | self.diverges
