"""The factor flow under a prescribed residual: a control problem."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _checks
from .._types import Matrix, RealLike, Residual, Scalar
from ..parametrizations import Factor
from ..problems import Problem
from ._base import AbstractFlow


# Of the time, at which the steering is looked at apart from the steps.
_PARTS = 4096


class SteeredFlow(AbstractFlow):
    r"""$dU/dt = -A^*(r(t)) U$ with a given r(t), in place of the residual of the loss.

    Steps are chosen by what the solver sees of r. Pulses that it steps over are noticed, and are
    part of the error estimate, if they take a two-thousandth of `t1` or more.

    Attributes:
        steering: maps a time (a scalar array) to r (m,). An `equinox.Module` with `__call__`, such
            as `diffrax.LinearInterpolation(...).evaluate`, makes its arrays differentiable.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DenseMeasurement(jnp.array([[[2.0, 0.0], [0.0, 1.0]]]))
        >>> flow = imf.flows.SteeredFlow(lambda t: -jnp.ones(1))
        >>> sol = imf.simulate(imf.Problem(A, jnp.ones(1)), flow, alpha=1.0, t1=0.5)
        >>> bool(jnp.allclose(sol.X, jnp.diag(jnp.exp(jnp.array([2.0, 1.0])))))
        True
    """

    steering: Callable[[Scalar], Residual]

    @property
    def parametrization(self) -> None:
        """None: there is no loss to descend on."""
        return

    @property
    def is_vector(self) -> bool:
        """False."""
        return False

    def check(self, problem: Problem, *, t1: Any) -> None:
        """Refuse a missing final time, and a steering of the wrong shape."""
        if t1 is None:
            _checks.refuse(
                "t1", "be given with SteeredFlow, which has no stationarity of its own", "is None"
            )
        m = problem.num_measurements
        time = jax.ShapeDtypeStruct((), problem.measurement.dtype)
        out = jax.eval_shape(self.steering, time)
        if getattr(out, "shape", None) != (m,):
            _checks.refuse(
                "steering",
                f"return shape (num_measurements,) = ({m},)",
                f"returns {getattr(out, 'shape', out)}",
            )

    def start(
        self, problem: Problem, log_alpha: Scalar, init: ArrayLike | None
    ) -> Float[Array, "n d"]:
        r"""$\sqrt\alpha\,\tilde U$."""
        return Factor().init(problem.dim, log_alpha, init, problem.measurement.dtype)

    def drive(self, t: Scalar, state: Float[Array, "n d"], problem: Problem) -> Residual:
        """The steering."""
        return self.steering(t).astype(problem.measurement.dtype)

    def overlooked(self, dual: Residual, t1: Any, problem: Problem) -> Scalar:
        """The integral of r along the steps against a midpoint rule: see `AbstractFlow`."""
        times = t1 * (jnp.arange(_PARTS, dtype=dual.dtype) + 0.5) / _PARTS
        values = jax.vmap(self.steering)(times).astype(dual.dtype)
        # The rule itself is off by half a part of the variation, and by rounding.
        variation = jnp.sum(jnp.abs(jnp.diff(values, axis=0)), axis=0)
        rounding = jnp.finfo(dual.dtype).eps * jnp.sum(jnp.abs(values), axis=0)
        apart = dual + t1 * jnp.mean(values, axis=0)
        missed = jnp.maximum(jnp.abs(apart) - t1 / _PARTS * (variation + 16 * rounding), 0)
        turned = problem.measurement.adjoint(jnp.sign(apart) * missed)
        return jnp.minimum(2 * jnp.linalg.norm(turned), 1)

    def velocity(
        self, state: Float[Array, "n d"], r: Residual, problem: Problem
    ) -> Float[Array, "n d"]:
        r"""$-A^*(r) U$."""
        return Factor().velocity(state, problem.measurement.adjoint(r))

    def unknown(self, state: Float[Array, "n d"], problem: Problem) -> Matrix:
        r"""$U U^\top$."""
        return Factor().unknown(state)

    def log_size_of_start(self, log_alpha: float) -> float:
        """That of alpha, to the power that the state has."""
        return log_alpha / 2

    def tolerances(self, rtol: RealLike, log_alpha: Scalar) -> tuple[Any, Any]:
        """Absolute tolerance in units of the start, sqrt(alpha)."""
        return rtol, jnp.asarray(rtol) * jnp.exp(jax.lax.stop_gradient(log_alpha) / 2)
