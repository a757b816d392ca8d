"""Losses that are least where prediction and target agree."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _checks
from .._types import Residual, Scalar
from ._base import AbstractLoss


class Squared(AbstractLoss):
    r"""$\tfrac12\|p - y\|^2$, with residual $p - y$.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> float(imf.losses.Squared().value(jnp.array([1.0, 3.0]), jnp.array([0.0, 1.0])))
        2.5
    """

    @property
    def has_finite_minimizer(self) -> bool:
        """True."""
        return True

    def value(self, prediction: Residual, targets: Residual) -> Scalar:
        """Half the squared distance."""
        return jnp.sum((prediction - targets) ** 2) / 2

    def residual(self, prediction: Residual, targets: Residual) -> Residual:
        """The difference."""
        return prediction - targets

    def curvature(self, prediction: Residual, targets: Residual) -> Residual:
        """One."""
        return jnp.ones_like(prediction)


class WeightedSquared(AbstractLoss):
    r"""$\tfrac12\sum_k w_k (p_k - y_k)^2$.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> loss = imf.losses.WeightedSquared(jnp.array([1.0, 4.0]))
        >>> loss.residual(jnp.array([1.0, 1.0]), jnp.zeros(2)).tolist()
        [1.0, 4.0]
    """

    weights: Float[Array, " m"]

    def __init__(self, weights: _checks.RealArrayLike):
        """Check and store the weights.

        Args:
            weights: positive, shape (m,).

        Raises:
            ValueError: wrong shape, not finite, or not positive.
        """
        weights = _checks.array(weights, "weights")
        _checks.shape(weights, "weights", ("m",))
        _checks.nonempty(weights, "weights", ("m",))
        _checks.finite(weights, "weights")
        _checks.positive(weights, "weights", "Leave out the measurements that shall not count.")
        self.weights = weights

    @property
    def has_finite_minimizer(self) -> bool:
        """True."""
        return True

    def value(self, prediction: Residual, targets: Residual) -> Scalar:
        """Half the weighted squared distance."""
        return jnp.sum(self._weights(prediction) * (prediction - targets) ** 2) / 2

    def residual(self, prediction: Residual, targets: Residual) -> Residual:
        """The weighted difference."""
        return self._weights(prediction) * (prediction - targets)

    def curvature(self, prediction: Residual, targets: Residual) -> Residual:
        """The weights."""
        return self._weights(prediction)

    def _weights(self, prediction: Residual) -> Residual:
        return self.weights.astype(prediction.dtype)

    def check_targets(self, targets: Residual) -> None:
        """Refuse targets of another length than the weights."""
        _checks.shape(self.weights, "weights", targets.shape)


class Huber(AbstractLoss):
    r"""Quadratic within `delta` of the target, linear beyond.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> imf.losses.Huber(1.0).residual(jnp.array([0.5, 9.0]), jnp.zeros(2)).tolist()
        [0.5, 1.0]
    """

    delta: Float[Array, ""]

    def __init__(self, delta: _checks.RealArrayLike):
        """Check and store the width.

        Args:
            delta: half the width of the quadratic part, positive, in units of the targets.

        Raises:
            ValueError: not a positive finite scalar.
        """
        delta = _checks.array(delta, "delta")
        _checks.shape(delta, "delta", ())
        _checks.finite(delta, "delta")
        _checks.positive(delta, "delta")
        self.delta = delta

    @property
    def has_finite_minimizer(self) -> bool:
        """True."""
        return True

    def value(self, prediction: Residual, targets: Residual) -> Scalar:
        """Quadratic near the target, linear far from it."""
        clipped = self.residual(prediction, targets)
        # In this order nothing overflows that need not.
        return jnp.sum(clipped * (prediction - targets - clipped / 2))

    def residual(self, prediction: Residual, targets: Residual) -> Residual:
        """The difference, clipped."""
        delta = self.delta.astype(prediction.dtype)
        return jnp.clip(prediction - targets, -delta, delta)

    def curvature(self, prediction: Residual, targets: Residual) -> Residual:
        """One on the quadratic part, zero on the linear one."""
        inside = jnp.abs(prediction - targets) < self.delta.astype(prediction.dtype)
        return inside.astype(prediction.dtype)


class LogCosh(AbstractLoss):
    r"""$\sum_k \log\cosh(p_k - y_k)$, a smooth absolute value.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> float(imf.losses.LogCosh().residual(jnp.array([40.0]), jnp.zeros(1))[0])
        1.0
    """

    @property
    def has_finite_minimizer(self) -> bool:
        """True."""
        return True

    def value(self, prediction: Residual, targets: Residual) -> Scalar:
        """Written so that large differences do not overflow and small ones do not cancel."""
        difference = prediction - targets
        near = jnp.abs(difference) < 1
        small = jnp.where(near, difference, 0)
        size = jnp.where(near, 1, jnp.abs(difference))
        large = size + jnp.log1p(jnp.exp(-2 * size)) - math.log(2.0)
        return jnp.sum(jnp.where(near, jnp.log1p(jnp.sinh(small) ** 2) / 2, large))

    def residual(self, prediction: Residual, targets: Residual) -> Residual:
        """The hyperbolic tangent of the difference."""
        return jnp.tanh(prediction - targets)

    def curvature(self, prediction: Residual, targets: Residual) -> Residual:
        r"""$1 - \tanh^2$, in a form that keeps its relative accuracy."""
        decay = jnp.exp(-2 * jnp.abs(prediction - targets))
        return 4 * decay / (1 + decay) ** 2
