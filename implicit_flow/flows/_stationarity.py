"""When is a flow at its end? The tests that stop an integration, and what they found."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._results import RESULTS, select
from .._types import Scalar
from ..problems import Problem
from ._base import AbstractFlow, generator, predict


class Rest(eqx.Module):
    """Thresholds of rest, and the scales that they are relative to.

    Attributes:
        misfit: relative misfit below which the targets count as met.
        drift: relative change of X per unit of log time below which X counts as still.
        steepness: largest entry of the generator at X = 0, the scale of `violation`.
        initial_size: Frobenius norm of X at the start, the scale of `vanished` where y = 0.
    """

    misfit: float = eqx.field(static=True)
    drift: float = eqx.field(static=True)
    steepness: Scalar
    initial_size: Scalar

    @classmethod
    def at(cls, flow: AbstractFlow, problem: Problem, start: Any, rtol: float) -> "Rest":
        """Thresholds for an error of X of `rtol`.

        Args:
            flow: that is integrated.
            problem: that it fits.
            start: its state at time zero.
            rtol: relative error of X that is asked for.

        Returns:
            The thresholds.
        """
        zero = problem.loss.residual(jnp.zeros_like(problem.targets), problem.targets)
        steepness = jnp.max(jnp.abs(generator(problem, zero, vector=flow.is_vector)))
        size = jnp.linalg.norm(flow.unknown(start, problem))
        return cls(rtol * 1e-2, rtol * 1e-1, *jax.lax.stop_gradient((steepness, size)))

    def reached(
        self, flow: AbstractFlow, problem: Problem, t: Scalar, state: Any
    ) -> tuple[Bool[Array, ""], Bool[Array, ""], Bool[Array, ""]]:
        """Which kinds of rest hold at a state.

        The drift is t |dX/dt| / |X|: what is left to move while X approaches its limit like a
        power of t, and more than what is left where it approaches exponentially. At the saddle at
        zero the relative speed is of order one, however small alpha is, so that it does not count
        as rest; at the saddles on the way some direction still grows, which `violation` shows.

        Args:
            flow: that is integrated.
            problem: that it fits.
            t: the time.
            state: of the flow.

        Returns:
            (targets met and X still; X still, targets missed, no direction grows; X vanishes).
        """
        r = flow.drive(t, state, problem)
        X, speed = _moving(flow, problem, state, r)
        size = jnp.linalg.norm(X)
        # Diffrax asks before the first step too, and at t = 0 nothing has had time to move.
        still = (t > 0) & (t * jnp.linalg.norm(speed) <= self.drift * size)
        prediction = predict(problem, X)
        met = jnp.linalg.norm(prediction - problem.targets) <= self.misfit * problem.scale
        # Eigenvalues are computed only where the cheap tests leave the question open.
        little = jnp.linalg.norm(prediction) <= self.drift * problem.scale
        candidate = (still & ~met) | little
        grows = jax.lax.cond(
            candidate,
            lambda: flow.violation(r, problem) > 1e-6 * self.steepness,
            lambda: jnp.array(True),
        )
        no_targets = jnp.all(problem.targets == 0)
        shrunk = jnp.where(no_targets, size <= self.drift * self.initial_size, little)
        vanished = shrunk & ~grows
        return met & still & ~vanished, still & ~met & ~grows & ~vanished, vanished

    def any(self, flow: AbstractFlow, problem: Problem, t: Scalar, state: Any) -> Bool[Array, ""]:
        """Whether any kind of rest holds; see `reached`."""
        met, stuck, vanished = self.reached(flow, problem, t, state)
        return met | stuck | vanished

    def result(
        self,
        flow: AbstractFlow,
        problem: Problem,
        t: Scalar,
        state: Any,
        growth: tuple[Float[Array, " k"], Bool[Array, " k"]],
        otherwise: RESULTS,
    ) -> RESULTS:
        """The outcome at the end of an integration to stationarity.

        Args:
            flow: that was integrated.
            problem: that it fits.
            t: the time at the end.
            state: at the end.
            growth: |X|, and whether the targets were nearly met, at `doublings`; infinite and
                False after the end.
            otherwise: what to say where no kind of rest holds.

        Returns:
            `successful`, `stationary`, `vanished`, `norm_diverges`, or `otherwise`.
        """
        met, stuck, vanished = self.reached(flow, problem, t, state)
        result = select(_diverges(*growth), RESULTS.norm_diverges, otherwise)
        result = select(vanished, RESULTS.vanished, result)
        result = select(stuck, RESULTS.stationary, result)
        return select(met, RESULTS.successful, result)

    def nearly_met(self, problem: Problem, X: Array) -> Bool[Array, ""]:
        """Whether the targets are met to a tenth."""
        return jnp.linalg.norm(predict(problem, X) - problem.targets) <= 0.1 * problem.scale

    def doublings(self) -> Float[Array, " k"]:
        """Times, each twice the one before, at which growth of X is looked at; shape (k,).

        They begin before the fastest direction has grown by a factor of e, and reach further than
        any integration does.
        """
        unit = jnp.where(self.steepness > 0, 1 / self.steepness, 1)
        return unit * 2.0 ** jnp.arange(-4, 97, dtype=unit.dtype)


def _diverges(sizes: Float[Array, " k"], nearly: Bool[Array, " k"]) -> Bool[Array, ""]:
    """X has grown like a power of t for long, and the targets are nearly met.

    The speed at the end would not do: where stability limits the steps of an explicit method it is
    that of its trembling, times a large t; and a direction that leaves a saddle late is as fast.
    So X must have grown by 3% to 50% in each of the last six doublings of time, by much the same
    in all of them. It does so like t^(1/3) where there is no limit. It does not where it approaches
    a limit like t^(-1/4) or faster, nor where it is still leaving a saddle.
    """
    last = jnp.sum(jnp.isfinite(sizes)) - 1
    seen = jnp.clip(last + jnp.arange(-6, 1), 0)
    growth = jnp.diff(jnp.log(jnp.maximum(sizes[seen], jnp.finfo(sizes.dtype).tiny)))
    # Before the sixth doubling the same size is seen twice, and has not grown.
    steady = (jnp.min(growth) > 0.03) & (jnp.max(growth) < jnp.minimum(1.6 * jnp.min(growth), 0.4))
    return jnp.all(nearly[seen[-2:]]) & steady


def drift(flow: AbstractFlow, problem: Problem, t: Scalar, state: Any) -> Scalar:
    """T |dX/dt| / |X| at a state: an estimate from above of how far X still moves.

    Args:
        flow: that was integrated.
        problem: that it fits.
        t: the time.
        state: of the flow.

    Returns:
        The drift; 0 where X = 0.
    """
    X, speed = _moving(flow, problem, state, flow.drive(t, state, problem))
    size = jnp.linalg.norm(X)
    return jnp.where(size > 0, t * jnp.linalg.norm(speed) / jnp.where(size > 0, size, 1), 0)


def _moving(flow: AbstractFlow, problem: Problem, state: Any, r: Array) -> tuple[Array, Array]:
    """X and dX/dt."""
    velocity = flow.velocity(state, r, problem)
    return jax.jvp(lambda s: flow.unknown(s, problem), (state,), (velocity,))
