"""Classification losses: their infimum is at infinity, so a flow on them needs a final time."""

import jax
import jax.numpy as jnp

from .. import _checks
from .._types import Residual, Scalar
from ._base import AbstractLoss


class Logistic(AbstractLoss):
    r"""$\sum_k \log(1 + e^{-y_k p_k})$ with labels $y_k = \pm 1$.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> float(imf.losses.Logistic().residual(jnp.zeros(1), jnp.ones(1))[0])
        -0.5
    """

    @property
    def has_finite_minimizer(self) -> bool:
        """False."""
        return False

    def value(self, prediction: Residual, targets: Residual) -> Scalar:
        """Written so that wrong predictions do not overflow."""
        return jnp.sum(jax.nn.softplus(-targets * prediction))

    def residual(self, prediction: Residual, targets: Residual) -> Residual:
        """The negative probability of the wrong label, signed."""
        return -targets * jax.nn.sigmoid(-targets * prediction)

    def curvature(self, prediction: Residual, targets: Residual) -> Residual:
        """The product of the two probabilities."""
        margin = targets * prediction
        return jax.nn.sigmoid(margin) * jax.nn.sigmoid(-margin)

    def check_targets(self, targets: Residual) -> None:
        """Refuse targets other than +1 and -1."""
        _labels(targets)


class Exponential(AbstractLoss):
    r"""$\sum_k e^{-y_k p_k}$ with labels $y_k = \pm 1$.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> float(imf.losses.Exponential().value(jnp.zeros(1), jnp.ones(1)))
        1.0
    """

    @property
    def has_finite_minimizer(self) -> bool:
        """False."""
        return False

    def value(self, prediction: Residual, targets: Residual) -> Scalar:
        """The sum of exponentials of minus the margins."""
        return jnp.sum(jnp.exp(-targets * prediction))

    def residual(self, prediction: Residual, targets: Residual) -> Residual:
        """Minus the label times its exponential."""
        return -targets * jnp.exp(-targets * prediction)

    def curvature(self, prediction: Residual, targets: Residual) -> Residual:
        """The exponential of minus the margin."""
        return jnp.exp(-targets * prediction)

    def check_targets(self, targets: Residual) -> None:
        """Refuse targets other than +1 and -1."""
        _labels(targets)


def _labels(targets: Residual) -> None:
    known = _checks.concrete(targets)
    if known is not None and not set(known.tolist()) <= {-1.0, 1.0}:
        other = next(value for value in known.tolist() if value not in (-1.0, 1.0))
        _checks.refuse("targets", "be labels +1 or -1 for this loss", f"contain {other}")
