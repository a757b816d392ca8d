"""The manifolds on which flows with commuting measurements move."""

import abc
import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._types import Residual, Scalar


Columns = Float[Array, "m k"]
Coordinates = Float[Array, " k"]


class AbstractManifold(eqx.Module):
    r"""The points $x(s)$ that a flow can reach, one convex dual problem for each.

    A point is held as $\theta = \log x$, so that no scale underflows. `level` says how far the
    start has shrunk; a dual variable moves a point through $z = A^\top d$.
    """

    @abc.abstractmethod
    def level(self, log_alpha: Scalar) -> Scalar:
        """The level that belongs to a scale of the start."""

    @abc.abstractmethod
    def weight(self, theta: Coordinates, level: Scalar) -> Coordinates:
        r"""$\partial x_k / \partial z_k \ge 0$."""

    @abc.abstractmethod
    def move(self, theta: Coordinates, z: Coordinates, level: Scalar) -> Coordinates:
        """The point that z leads to; nan where it leads out of the domain."""

    @abc.abstractmethod
    def lower(
        self,
        theta: Coordinates,
        dual: Residual,
        columns: Columns,
        log_weights: Coordinates,
        levels: tuple[Scalar, Scalar],
    ) -> tuple[Coordinates, Residual]:
        """A point and its dual at the second level, from the solution at the first."""

    @abc.abstractmethod
    def tangent(
        self,
        theta: Coordinates,
        level: Scalar,
        log_weights: Coordinates,
        changes: tuple[Coordinates, Coordinates, Scalar],
    ) -> Coordinates:
        """The change of theta for changes of z, of the log weights and of log alpha."""

    @property
    @abc.abstractmethod
    def power(self) -> float:
        """The weight is x to the power of one plus this, but for a factor."""

    @abc.abstractmethod
    def difference(
        self, z: Coordinates, log_weights: Coordinates, log_alpha: Scalar
    ) -> tuple[Coordinates, Bool[Array, " k"]]:
        """x(z) - x(-z) without cancellation, and where |z| is small enough for that."""

    @property
    @abc.abstractmethod
    def stride(self) -> float:
        """The largest change of level that Newton's method follows at once near the start."""

    @abc.abstractmethod
    def floor(self, eps: float) -> float:
        """The level below which the large coordinates no longer change in floats."""

    @abc.abstractmethod
    def below_floor(self, theta: Coordinates, level: Scalar, target: Scalar) -> Coordinates:
        """The point at `target`, from the one at a level where the large coordinates stand."""


class ExponentialManifold(AbstractManifold):
    r"""$x_k = \alpha w_k e^{z_k}$ with $z = 2 A^\top s$: factors, and powers of depth 2."""

    def level(self, log_alpha: Scalar) -> Scalar:
        r"""$\log\alpha$ itself."""
        return log_alpha

    def weight(self, theta: Coordinates, level: Scalar) -> Coordinates:
        """X itself."""
        return jnp.exp(theta)

    def move(self, theta: Coordinates, z: Coordinates, level: Scalar) -> Coordinates:
        """The sum."""
        return theta + z

    def lower(
        self,
        theta: Coordinates,
        dual: Residual,
        columns: Columns,
        log_weights: Coordinates,
        levels: tuple[Scalar, Scalar],
    ) -> tuple[Coordinates, Residual]:
        """The dual grows in proportion to log(1 / alpha), which keeps small coordinates small."""
        first, second = levels
        far = first < -1
        ratio = jnp.where(far, second / jnp.where(far, first, -1), 1)
        dual = dual * ratio
        return log_weights + second + dual @ columns, dual

    def tangent(
        self,
        theta: Coordinates,
        level: Scalar,
        log_weights: Coordinates,
        changes: tuple[Coordinates, Coordinates, Scalar],
    ) -> Coordinates:
        """Their sum."""
        z, weights, log_alpha = changes
        return z + weights + log_alpha

    @property
    def power(self) -> float:
        """0."""
        return 0.0

    def difference(
        self, z: Coordinates, log_weights: Coordinates, log_alpha: Scalar
    ) -> tuple[Coordinates, Bool[Array, " k"]]:
        r"""$2\alpha w\sinh z$."""
        near = jnp.abs(z) < 1
        return 2 * jnp.exp(log_weights + log_alpha) * jnp.sinh(jnp.where(near, z, 0)), near

    @property
    def stride(self) -> float:
        """Two powers of e."""
        return 2.0

    def floor(self, eps: float) -> float:
        """None: each level has its own solution."""
        return -math.inf

    def below_floor(self, theta: Coordinates, level: Scalar, target: Scalar) -> Coordinates:
        """Never needed."""
        return theta


class PowerManifold(AbstractManifold):
    r"""$x_k^{-p} = (\alpha w_k)^{-p} - (N-2)(A^\top s)_k$, $p = 1 - 2/N$: depth N > 2.

    In the slack $\sigma_k = \varepsilon x_k^{-p} = w_k^{-p} - z_k$ with $\varepsilon = \alpha^p$.
    The slack of a large coordinate falls below what subtraction resolves; it is therefore only ever
    read off theta, never computed from z.
    """

    depth: int = eqx.field(static=True)

    @property
    def power(self) -> float:
        """P."""
        return 1 - 2 / self.depth

    def level(self, log_alpha: Scalar) -> Scalar:
        r"""$\log\varepsilon$."""
        return self.power * log_alpha

    def _slack(self, theta: Coordinates, level: Scalar) -> Coordinates:
        return jnp.exp(level - self.power * theta)

    def weight(self, theta: Coordinates, level: Scalar) -> Coordinates:
        r"""$x / (p \sigma)$."""
        return jnp.exp((1 + self.power) * theta - level) / self.power

    def move(self, theta: Coordinates, z: Coordinates, level: Scalar) -> Coordinates:
        """In proportion to the slack."""
        rest = z / self._slack(theta, level)
        inside = rest < 1
        moved = theta - jnp.log1p(-jnp.where(inside, rest, 0)) / self.power
        return jnp.where(inside, moved, jnp.nan)

    def lower(
        self,
        theta: Coordinates,
        dual: Residual,
        columns: Columns,
        log_weights: Coordinates,
        levels: tuple[Scalar, Scalar],
    ) -> tuple[Coordinates, Residual]:
        """With the slack as it was."""
        first, second = levels
        return theta + (second - first) / self.power, dual

    def tangent(
        self,
        theta: Coordinates,
        level: Scalar,
        log_weights: Coordinates,
        changes: tuple[Coordinates, Coordinates, Scalar],
    ) -> Coordinates:
        """From the derivative of the slack."""
        z, weights, log_alpha = changes
        slack = self._slack(theta, level)
        start = jnp.exp(-self.power * log_weights)
        return log_alpha + (z / self.power + start * weights) / slack

    def difference(
        self, z: Coordinates, log_weights: Coordinates, log_alpha: Scalar
    ) -> tuple[Coordinates, Bool[Array, " k"]]:
        r"""$\alpha w[(1 - \zeta)^{-1/p} - (1 + \zeta)^{-1/p}]$ with $\zeta = w^p z$."""
        zeta = z * jnp.exp(self.power * log_weights)
        near = jnp.abs(zeta) < 0.5
        zeta = jnp.where(near, zeta, 0)
        up = jnp.expm1(-jnp.log1p(-zeta) / self.power)
        down = jnp.expm1(-jnp.log1p(zeta) / self.power)
        return jnp.exp(log_weights + log_alpha) * (up - down), near

    @property
    def stride(self) -> float:
        """One and a half powers of e in x."""
        return 1.5 * self.power

    def floor(self, eps: float) -> float:
        """The square root of epsilon would do for most; ties are resolved at first order."""
        return math.log(eps) - 8

    def below_floor(self, theta: Coordinates, level: Scalar, target: Scalar) -> Coordinates:
        """Small coordinates keep their slack, large ones keep their size."""
        log_slack = level - self.power * theta
        small = log_slack > level / 2
        return jnp.where(small, (target - log_slack) / self.power, theta)
