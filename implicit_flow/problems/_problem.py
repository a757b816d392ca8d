"""Measurements, targets and loss: what there is to fit."""

import equinox as eqx
import jax
import jax.numpy as jnp

from .. import _checks
from .._types import Matrix, Residual, Scalar
from ..losses import AbstractLoss, Squared
from ..measurements import AbstractMeasurement


class Problem(eqx.Module):
    r"""Find a positive semidefinite X with $A(X) = y$, in the sense of a loss.

    Attributes:
        measurement: the linear map A.
        targets: y, shape (m,).
        loss: of the predictions A(X).
        ground_truth: the planted X, shape (n, n), or None where it is not known.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DiagonalMeasurement(jnp.array([[2.0, 1.0]]))
        >>> problem = imf.Problem(A, jnp.array([1.0]))
        >>> problem.residual(jnp.eye(2)).tolist()
        [2.0]
    """

    measurement: AbstractMeasurement
    targets: Residual
    loss: AbstractLoss
    ground_truth: Matrix | None

    def __init__(
        self,
        measurement: AbstractMeasurement,
        targets: _checks.RealArrayLike,
        loss: AbstractLoss | None = None,
        ground_truth: _checks.RealArrayLike | None = None,
    ):
        """Check and store the parts.

        Args:
            measurement: the linear map A.
            targets: y, shape (m,).
            loss: `losses.Squared()` if None.
            ground_truth: the planted X, shape (n, n), if known.

        Raises:
            ValueError: parts of the wrong kind or shape, or not finite.
        """
        _checks.instance(
            measurement,
            "measurement",
            AbstractMeasurement,
            "Wrap a stack of matrices in `measurements.DenseMeasurement(stack)`.",
        )
        loss = Squared() if loss is None else loss
        _checks.instance(loss, "loss", AbstractLoss)
        targets = _checks.array(targets, "targets", dtype=measurement.dtype)
        m = measurement.num_measurements
        if targets.shape != (m,):
            _checks.refuse(
                "targets",
                f"have shape (num_measurements,) = ({m},)",
                f"has shape {targets.shape}",
            )
        _checks.finite(targets, "targets")
        loss.check_targets(targets)
        if ground_truth is not None:
            ground_truth = _checks.array(ground_truth, "ground_truth", dtype=measurement.dtype)
            _checks.shape(ground_truth, "ground_truth", (measurement.dim, measurement.dim))
            _checks.finite(ground_truth, "ground_truth")
        self.measurement = measurement
        self.targets = targets
        self.loss = loss
        self.ground_truth = ground_truth

    @property
    def dim(self) -> int:
        """n: the unknown X has shape (n, n)."""
        return self.measurement.dim

    @property
    def num_measurements(self) -> int:
        """m, the number of targets."""
        return self.measurement.num_measurements

    @property
    def scale(self) -> Scalar:
        """The norm of the targets, against which residuals are measured; 1 where y = 0."""
        size = _norm(self.targets)
        return jnp.where(size == 0, jnp.ones_like(size), size)

    def residual(self, X: _checks.RealArrayLike) -> Residual:
        r"""$r = \partial\,\mathrm{loss}/\partial A(X)$; $A(X) - y$ for the squared loss.

        Args:
            X: symmetric, shape (n, n).

        Returns:
            The residual, shape (m,).

        Raises:
            ValueError: X of another shape.
        """
        return self.loss.residual(self._prediction(X), self.targets)

    def misfit(self, X: _checks.RealArrayLike) -> Scalar:
        r"""$\|A(X) - y\| / \|y\|$ (absolute where y = 0), whatever the loss.

        Args:
            X: symmetric, shape (n, n).

        Returns:
            The relative misfit, a scalar.

        Raises:
            ValueError: X of another shape.
        """
        return _norm(self._prediction(X) - self.targets) / self.scale

    def _prediction(self, X: _checks.RealArrayLike) -> Residual:
        X = _checks.array(X, "X", dtype=self.targets.dtype)
        _checks.shape(X, "X", (self.dim, self.dim))
        return self.measurement.apply(X)


def _norm(vector: Residual) -> Scalar:
    """Euclidean, with no square out of range, and derivative zero at zero."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(vector)))
    zero = largest == 0
    # Ones instead of zeros keep the derivative of the branch that is not taken finite.
    unit = jnp.where(zero, 1, largest)
    size = unit * jnp.linalg.norm(jnp.where(zero, 1, vector) / unit)
    return jnp.where(zero, 0, size)
