"""Flows that end where the residual is zero, and are driven there by something else than it."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._random import normal
from .._types import RealLike, Residual, Scalar
from ..flows import AbstractFlow
from ..losses import Huber, LogCosh, Squared
from ..parametrizations import Factor
from ..problems import Problem


# In the order of `Steered.kind`.
STEERINGS = ("squared", "weighted", "Huber", "log-cosh", "sampled")


class Steered(AbstractFlow):
    r"""$dU/dt = -A^*(\rho) U$, where rho is zero exactly where the residual is.

    rho is the residual of another loss, or a weighted one, or that of one measurement drawn at
    random, times m, while the others do not count. Sampling ends after as many draws as there are,
    since m fits of one measurement need not become one fit of m; from there on the residual drives
    X to the targets. All are one class, one compiled program.

    Attributes:
        kind: which of `STEERINGS`.
        weights: of the weighted residual, positive, shape (m,).
        scale: of the targets: Huber's loss is linear beyond a tenth of it.
        drawn: the measurements that are drawn, one after the other, shape (k,).
        period: how long each of them drives the flow alone.
    """

    kind: Int[Array, ""]
    weights: Float[Array, " m"]
    scale: Float[Array, ""]
    drawn: Int[Array, " k"]
    period: Float[Array, ""]

    @property
    def parametrization(self) -> None:
        """None: it is integrated in time only."""
        return

    @property
    def is_vector(self) -> bool:
        """False."""
        return False

    def start(self, problem: Problem, log_alpha: Scalar, init: Any) -> Float[Array, "n d"]:
        r"""$\sqrt\alpha\,\tilde U$."""
        return Factor().init(problem.dim, log_alpha, init, problem.measurement.dtype)

    def velocity(
        self, state: Float[Array, "n d"], r: Residual, problem: Problem
    ) -> Float[Array, "n d"]:
        r"""$-A^*(\rho) U$."""
        return Factor().velocity(state, problem.measurement.adjoint(r))

    def unknown(self, state: Float[Array, "n d"], problem: Problem) -> Float[Array, "n n"]:
        r"""$U U^\top$."""
        return Factor().unknown(state)

    def drive(self, t: Scalar, state: Float[Array, "n d"], problem: Problem) -> Residual:
        """What drives the flow at time t."""
        y = problem.targets
        prediction = problem.measurement.apply_product(state, state)
        turn = jnp.floor(t / self.period).astype(int)
        # Beyond the last draw the index is that of the last one, and not used.
        chosen = jnp.arange(y.size) == self.drawn[jnp.minimum(turn, self.drawn.size - 1)]
        sampled = jnp.where(turn < self.drawn.size, jnp.where(chosen, y.size, 0), 1)

        def squared() -> Residual:
            return Squared().residual(prediction, y)

        return jax.lax.switch(
            self.kind,
            (
                squared,
                lambda: self.weights * squared(),
                lambda: Huber(0.1).residual(prediction / self.scale, y / self.scale) * self.scale,
                lambda: LogCosh().residual(prediction, y),
                lambda: sampled * squared(),
            ),
        )

    def log_size_of_start(self, log_alpha: float) -> float:
        """That of sqrt(alpha)."""
        return log_alpha / 2

    def tolerances(self, rtol: RealLike, log_alpha: Scalar) -> tuple[Any, Any]:
        """Absolute tolerance in units of the start, sqrt(alpha)."""
        return rtol, jnp.asarray(rtol) * jnp.exp(log_alpha / 2)

    def rounding_seed(
        self, start: Float[Array, "n d"], end: Float[Array, "n d"], size: float
    ) -> Float[Array, "n d"]:
        """A Gaussian matrix added to U, as for the factor flow."""
        noise = normal(jax.random.key(0), start.shape, start.dtype)
        return start + size * jnp.max(jnp.abs(end)) * noise

    def violation(self, state: Float[Array, "n d"], r: Residual, problem: Problem) -> Scalar:
        r"""Infinite: the flow is run until it fits."""
        del state, r, problem
        return jnp.asarray(jnp.inf)
