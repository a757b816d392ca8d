"""What an explicit run carries from step to step."""

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int

from ._chebyshev import Motion
from ._stationarity import Window


class Trail(eqx.Module):
    """The accepted steps: lengths, numbers of stages, and the save times served after each.

    `first_saved` counts the save times at the start. Steps beyond the buffers are only counted.
    """

    step: Float[Array, " r"]
    stages: Int[Array, " r"]
    saved: Int[Array, " r"]
    first_saved: Int[Array, ""]
    count: Int[Array, ""]


class Kept(eqx.Module):
    """U and the dual at the save times reached so far."""

    times: Float[Array, " k"]
    motion: Motion
    count: Int[Array, ""]


class Counts(eqx.Module):
    """What an integration has cost."""

    accepted: Int[Array, ""]
    rejected: Int[Array, ""]
    evaluations: Int[Array, ""]


class ExplicitState(eqx.Module):
    """The state of an integration between two steps."""

    time: Float[Array, ""]
    step: Float[Array, ""]
    at: Motion
    slope: Motion
    mode: Float[Array, "n d"]
    radius: Float[Array, ""]
    window: Window
    emergent: Float[Array, ""]
    kept: Kept
    trail: Trail
    counts: Counts
    arrived: Bool[Array, ""]
    stationary: Bool[Array, ""]
    vanished: Bool[Array, ""]
    diverges: Bool[Array, ""]
    failed: Bool[Array, ""]

    @property
    def factor(self) -> Float[Array, "n d"]:
        """U."""
        return self.at.factor

    @property
    def ended(self) -> Bool[Array, ""]:
        """Whether the integration came to an end of the flow, of whatever kind."""
        return self.arrived | self.stationary | self.vanished | self.diverges
