"""Runge-Kutta-Chebyshev: explicit steps for stiffness that is real and negative."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .. import _checks
from ._congruence_term import CongruenceTerm


# Damping of the stability polynomial, and the share of h rho that a number of stages covers.
_DAMPING = 2.0 / 13.0
_STABILITY = 1.54


class RungeKuttaChebyshev(eqx.Module):
    r"""Stabilized explicit Runge-Kutta of order 2, for problems of any size.

    The flow $\dot U = -A^*(r) U$ is a gradient flow, so its Jacobian is symmetric and its stiffness
    lies on the negative real axis. There s stages reach a step of $0.65\,s^2 / \rho$, with $\rho$
    the spectral radius: a stiff stretch that takes any other explicit method T evaluations takes
    this one about $\sqrt{T}$. Nothing is solved and nothing is formed but products $A^*(r) V$
    with the columns of U and the measurements of UU': a few arrays of the size of U are all
    the memory it needs.

    Every stage is a polynomial in matrices $A^*(r)$ times U: X = UU' stays positive semidefinite
    and its range stays in the span of what acts on U. Directions of U below rounding are lost, so
    alpha may not be extreme: `error_estimate` shows where it is.

    Attributes:
        max_stages: of one step; the rounding of a step grows like its square.
        refinements: how often the step tolerance may be reduced until `rtol` is met.
        recorded_steps: steps that a derivative can look back on; that of an end which took
            more is nan.

    Raises:
        ValueError: counts below 1, or a single stage.

    Reference:
        Sommeijer, Shampine and Verwer, "RKC: an explicit solver for parabolic PDEs", J. Comput.
        Appl. Math. 88 (1997).
    """

    max_stages: int = eqx.field(static=True, default=2500)
    refinements: int = eqx.field(static=True, default=4)
    recorded_steps: int = eqx.field(static=True, default=1024)

    def __check_init__(self) -> None:
        """Refuse a single stage, and counts below 1."""
        _checks.at_least(self.max_stages, "max_stages", 2)
        for name in ("refinements", "recorded_steps"):
            _checks.at_least(getattr(self, name), name, 1)


class Motion(eqx.Module):
    """U and the dual s; or their velocities, -A*(r) U and -r."""

    factor: Float[Array, "*batch n d"]
    dual: Float[Array, "*batch m"]


def velocity(term: CongruenceTerm, factor: Float[Array, "n d"]) -> Motion:
    """The velocity of the flow.

    Args:
        term: the flow.
        factor: U.

    Returns:
        The velocities of U and of the dual.
    """
    force = term.residual(term.predict(factor))
    return Motion(-term.adjoint_times(force, factor), -force)


def stages_for(stiffness: Float[Array, ""], most: int) -> Int[Array, ""]:
    """The number of stages that are stable for h rho, at least 2 and at most `most`."""
    enough = jnp.ceil(jnp.sqrt(1 + _STABILITY * stiffness))
    return jnp.clip(enough, 2, most).astype(jnp.int32)


def longest_step(stages: int, radius: Float[Array, ""]) -> Float[Array, ""]:
    """The step that a number of stages is stable for."""
    tiny = jnp.finfo(radius.dtype).tiny
    return (stages**2 - 1) / (_STABILITY * jnp.maximum(radius, tiny))


class _Chebyshev(eqx.Module):
    """The Chebyshev polynomials T, T' and T'' of one degree at w0, and b = T'' / T'^2."""

    value: Float[Array, ""]
    slope: Float[Array, ""]
    bend: Float[Array, ""]
    weight: Float[Array, ""]


class Coefficients(eqx.Module):
    r"""One stage, $Y_j = (1-\mu-\nu) Y_0 + \mu Y_{j-1} + \nu Y_{j-2} + h(a F_{j-1} + c F_0)$."""

    mu: Float[Array, "*stages"]
    nu: Float[Array, "*stages"]
    a: Float[Array, "*stages"]
    c: Float[Array, "*stages"]


class Recurrence(eqx.Module):
    """The coefficients of the stages, one after the other."""

    w0: Float[Array, ""]
    w1: Float[Array, ""]
    last: _Chebyshev
    before: _Chebyshev

    @classmethod
    def of(cls, stages: Int[Array, ""], dtype) -> "Recurrence":
        """The recurrence of a number of stages, before the second of them.

        Args:
            stages: how many, at least 2.
            dtype: of the coefficients.

        Returns:
            The recurrence.
        """
        s = stages.astype(dtype)
        excess = _DAMPING / s**2
        w0 = 1 + excess
        # sinh of the angle whose cosh is w0
        sine = jnp.sqrt(excess * (2 + excess))
        angle = s * jnp.log1p(excess + sine)
        slope = s * jnp.sinh(angle) / sine
        bend = s**2 * jnp.cosh(angle) / sine**2 - s * w0 * jnp.sinh(angle) / sine**3
        one, zero = jnp.ones((), dtype), jnp.zeros((), dtype)
        weight = 0.25 / w0**2
        return cls(
            w0, slope / bend, _Chebyshev(w0, one, zero, weight), _Chebyshev(one, zero, zero, weight)
        )

    @property
    def first(self) -> Float[Array, ""]:
        """The coefficient of h F_0 in the first stage."""
        return self.last.weight * self.w1

    def advance(self) -> tuple[Coefficients, "Recurrence"]:
        """The coefficients of the next stage, and the recurrence after it."""
        w0, last, before = self.w0, self.last, self.before
        value = 2 * w0 * last.value - before.value
        slope = 2 * last.value + 2 * w0 * last.slope - before.slope
        bend = 4 * last.slope + 2 * w0 * last.bend - before.bend
        weight = bend / slope**2
        a = 2 * weight * self.w1 / last.weight
        c = -(1 - last.weight * last.value) * a
        mu = 2 * weight * w0 / last.weight
        nu = -weight / before.weight
        new = _Chebyshev(value, slope, bend, weight)
        return Coefficients(mu, nu, a, c), Recurrence(w0, self.w1, new, last)


def _combine(weights: tuple, motions: tuple) -> Motion:
    return jax.tree.map(lambda *xs: sum(w * x for w, x in zip(weights, xs, strict=True)), *motions)


def chebyshev_step(
    term: CongruenceTerm,
    at: Motion,
    slope: Motion,
    step: Float[Array, ""],
    stages: Int[Array, ""],
) -> Motion:
    """One step.

    Args:
        term: the flow.
        at: U and the dual at its start.
        slope: their velocities there.
        step: h.
        stages: how many, at least 2; with 0 nothing is evaluated.

    Returns:
        U and the dual at its end.
    """
    recurrence = Recurrence.of(jnp.maximum(stages, 2), step.dtype)
    first = _combine((1.0, step * recurrence.first), (at, slope))

    def stage(carry):
        index, recurrence, before, last = carry
        k, recurrence = recurrence.advance()
        weights = (1 - k.mu - k.nu, k.mu, k.nu, step * k.a, step * k.c)
        new = _combine(weights, (at, last, before, velocity(term, last.factor), slope))
        return index + 1, recurrence, last, new

    carry = (jnp.full_like(stages, 2), recurrence, at, first)
    return jax.lax.while_loop(lambda c: c[0] <= stages, stage, carry)[3]


def spectral_radius(
    term: CongruenceTerm,
    factor: Float[Array, "n d"],
    mode: Float[Array, "n d"],
    radius: Float[Array, ""],
    iterations: Int[Array, ""],
) -> tuple[Float[Array, "n d"], Float[Array, ""]]:
    """The spectral radius of the flow's Jacobian, by power iteration.

    Args:
        term: the flow.
        factor: U.
        mode: the last iterate, of norm 1.
        radius: returned where no iteration is made.
        iterations: how many.

    Returns:
        The next iterate, and the radius.
    """
    tiny = jnp.finfo(factor.dtype).tiny

    def turn(carry):
        index, mode, _ = carry
        image = jax.jvp(lambda u: velocity(term, u).factor, (factor,), (mode,))[1]
        size = jnp.linalg.norm(image)
        mode = jnp.where(size > tiny, image / jnp.maximum(size, tiny), mode)
        return index + 1, mode, size

    first = (jnp.zeros_like(iterations), mode, radius)
    _, mode, radius = jax.lax.while_loop(lambda c: c[0] < iterations, turn, first)
    return mode, radius
