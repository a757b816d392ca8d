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


# Up to which K, m x m, is formed and decomposed after each step near the end.
_FEW_MEASUREMENTS = 200

# What is left of a way is taken so many times: enough for four factors, and as much again.
_MARGIN = 5


class Rest(eqx.Module):
    """Thresholds of rest, and the scales that they are relative to.

    Attributes:
        misfit: relative misfit below which the targets count as met.
        drift: relative length of what X has left of its way below which X counts as still.
        newton: whether that is found by a Newton step too, m products of the size of X each time.
        steepness: largest entry of the generator at X = 0, the scale of `violation`.
        initial_size: Frobenius norm of X at the start, the scale of `vanished` where y = 0.
    """

    misfit: Scalar
    drift: Scalar
    newton: bool = eqx.field(static=True)
    steepness: Scalar
    initial_size: Scalar

    @classmethod
    def at(
        cls, flow: AbstractFlow, problem: Problem, start: Any, rtol: Scalar, *, newton: bool
    ) -> "Rest":
        """Thresholds for an error of X of `rtol`.

        Args:
            flow: that is integrated.
            problem: that it fits.
            start: its state at time zero.
            rtol: relative error of X that is asked for.
            newton: as in the attributes, where m allows it.

        Returns:
            The thresholds.
        """
        zero = problem.loss.residual(jnp.zeros_like(problem.targets), problem.targets)
        steepness = jnp.max(jnp.abs(generator(problem, zero, vector=flow.is_vector)))
        size = jnp.linalg.norm(flow.unknown(start, problem))
        newton = newton and problem.num_measurements <= _FEW_MEASUREMENTS
        return cls(rtol * 1e-2, rtol * 1e-1, newton, *jax.lax.stop_gradient((steepness, size)))

    @eqx.filter_jit
    def reached(
        self, flow: AbstractFlow, problem: Problem, t: Scalar, state: Any
    ) -> tuple[Bool[Array, ""], Bool[Array, ""], Bool[Array, ""]]:
        """Which kinds of rest hold at a state.

        X is still where what is left of its way, see `drift`, is little. At the saddle at zero the
        relative speed is of order one, however small alpha is, so that it does not count as rest;
        at the saddles on the way some direction still grows, which `violation` shows.

        Where the targets are missed, the generator must have had time to act, unless it is zero;
        and where it is small, the targets may just not be met yet: small eigenvalues of X wait for
        a time like 1/|r|.

        Args:
            flow: that is integrated.
            problem: that it fits.
            t: the time.
            state: of the flow.

        Returns:
            (targets met and X still; X still, targets missed, no direction grows; X vanishes).
        """
        r = flow.drive(t, state, problem)
        moving = _Moving.at(flow, problem, state, r)
        size = jnp.linalg.norm(moving.X)
        # Diffrax asks before the first step too, and at t = 0 nothing has had time to move.
        still = (t > 0) & (t * jnp.linalg.norm(moving.speed) <= self.drift * size)
        met = moving.misfit <= self.misfit * problem.scale
        # Targets that are met to rounding leave nothing to drive the flow.
        rounding = 16 * jnp.finfo(r.dtype).eps * problem.scale
        left = self.left(flow, problem, t, state, met)
        little_left = left <= (_MARGIN if self.newton else 1) * self.drift * size
        # At t = 0 too: steps from there would be as long as may be, and derivatives, which are not
        # at rest, unstable in them.
        settled = ((t > 0) & little_left) | (moving.misfit <= rounding)
        pull = moving.pull / jnp.where(self.steepness > 0, self.steepness, 1)
        # A generator that is small against the misfit is about zero for good, not on its way there.
        gone = pull <= 1e-6 * moving.misfit / problem.scale
        acted = (t * moving.pull >= 30) & (pull >= 1e-4) | gone
        little = jnp.linalg.norm(predict(problem, moving.X)) <= self.drift * problem.scale
        # Eigenvalues are computed only where the cheap tests leave the question open.
        candidate = (still & ~met) | little
        grows = jax.lax.cond(
            candidate,
            lambda: flow.violation(state, r, problem) > 1e-6 * self.steepness,
            lambda: jnp.array(True),
        )
        no_targets = jnp.all(problem.targets == 0)
        shrunk = jnp.where(no_targets, size <= self.drift * self.initial_size, little)
        vanished = shrunk & ~grows
        stuck = still & acted & ~met & ~grows & ~vanished
        return met & settled & ~vanished, stuck, vanished

    def left(
        self, flow: AbstractFlow, problem: Problem, t: Scalar, state: Any, met: Bool[Array, ""]
    ) -> Scalar:
        """What X has left of its way: an estimate from above of |X_end - X|.

        That is about t |dX/dt| where X approaches its limit like a power of t, and less where it
        does so exponentially; but not where X has yet to begin to move, and where stiff directions
        tremble by rounding or the step tolerance, dX/dt does too, and t times that may be
        anything. A Newton step divides each direction by its own rate.

        Both are taken `_MARGIN` times: for $t^{-p}$, t |dX/dt| is p times what is left, and what is
        left is a multiple root, which a Newton step of multiplicity k misses by a factor of k.

        Args:
            flow: that is integrated.
            problem: that it fits.
            t: the time.
            state: of the flow.
            met: whether the targets are met; if not, a Newton step means nothing.

        Returns:
            The estimate.
        """
        r = flow.drive(t, state, problem)
        by_speed = t * jnp.linalg.norm(driven(flow, problem, state, r)[1])
        if not self.newton:
            return by_speed
        left = jax.lax.cond(met, lambda: _newton_step(flow, problem, t, state), lambda: by_speed)
        return _MARGIN * left

    def drifted(self, flow: AbstractFlow, problem: Problem, t: Scalar, state: Any) -> Scalar:
        """What X has left of its way, see `left`, relative to |X|; 0 where X = 0."""
        X = flow.unknown(state, problem)
        met = jnp.linalg.norm(predict(problem, X) - problem.targets) <= self.misfit * problem.scale
        size = jnp.linalg.norm(X)
        left = self.left(flow, problem, t, state, met)
        return jnp.where(size > 0, left / jnp.where(size > 0, size, 1), 0)

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


class _Moving(eqx.Module):
    """X, and how it moves.

    Attributes:
        X: (n, n), or x (n,).
        speed: dX/dt, of the same shape.
        misfit: |A(X) - y|.
        pull: the largest entry of A*(r).
    """

    X: Array
    speed: Array
    misfit: Scalar
    pull: Scalar

    @classmethod
    def at(cls, flow: AbstractFlow, problem: Problem, state: Any, r: Array) -> "_Moving":
        """All of it at a state, driven by r."""
        X, speed = driven(flow, problem, state, r)
        misfit = jnp.linalg.norm(predict(problem, X) - problem.targets)
        return cls(
            X,
            speed,
            misfit,
            jnp.max(jnp.abs(generator(problem, r, vector=flow.is_vector))),
        )


def driven(flow: AbstractFlow, problem: Problem, state: Any, r: Array) -> tuple[Array, Array]:
    """X, and the dX/dt that r makes of it, linear in r."""
    velocity = flow.velocity(state, r, problem)
    return jax.jvp(lambda s: flow.unknown(s, problem), (state,), (velocity,))


def approach(flow: AbstractFlow, problem: Problem, state: Any) -> Array:
    """The matrix K of the approach to the targets.

    Driven by w, X moves at $-Mw$ and A(X) at $-Kw$, $K = AMA^*$.

    Args:
        flow: that is integrated.
        problem: that it fits.
        state: about which K is taken.

    Returns:
        Symmetric, shape (m, m).
    """
    column = lambda e: predict(problem, driven(flow, problem, state, e)[1])
    each = jnp.eye(problem.num_measurements, dtype=problem.measurement.dtype)
    K = -jax.lax.map(column, each, batch_size=min(_FEW_MEASUREMENTS, len(each)))
    return (K + K.T) / 2


def _newton_step(flow: AbstractFlow, problem: Problem, t: Scalar, state: Any) -> Scalar:
    r"""|X_end - X| by a Newton step.

    Were M constant, $MK^{-1}(A(X) - y)$ would be left, whatever the loss; see `approach`.
    """
    misfit = predict(problem, flow.unknown(state, problem)) - problem.targets
    values, vectors = jnp.linalg.eigh(approach(flow, problem, state))
    # Below rounding of the largest rate nothing is known of a direction but that it is slow: it has
    # t times its speed to go, as in `left`, or more.
    epsilon = jnp.finfo(misfit.dtype).eps
    floor = jnp.where(values[-1] > 0, misfit.size * epsilon * values[-1], 1)
    slow = jnp.minimum(floor, 1 / jnp.maximum(t, jnp.finfo(t.dtype).tiny))
    steps = (vectors.T @ misfit) / jnp.where(values > floor, values, slow)
    return jnp.linalg.norm(driven(flow, problem, state, vectors @ steps)[1])
