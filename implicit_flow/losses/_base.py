"""What every loss can do."""

import abc

import equinox as eqx

from .._types import Residual, Scalar


class AbstractLoss(eqx.Module):
    r"""A convex, separable loss $\sum_k \ell_k(p_k; y_k)$ of the predictions $p = A(X)$.

    The flows see only its derivative, the residual $r = \partial\ell/\partial p$.
    """

    @property
    @abc.abstractmethod
    def has_finite_minimizer(self) -> bool:
        """Whether each term is least at a finite prediction, namely at its target."""

    @abc.abstractmethod
    def value(self, prediction: Residual, targets: Residual) -> Scalar:
        """The loss, summed over the measurements.

        Args:
            prediction: A(X), shape (m,).
            targets: y, shape (m,).

        Returns:
            A scalar.
        """

    @abc.abstractmethod
    def residual(self, prediction: Residual, targets: Residual) -> Residual:
        r"""$r_k = \partial\ell/\partial p_k$.

        Args:
            prediction: A(X), shape (m,).
            targets: y, shape (m,).

        Returns:
            The residual, shape (m,).
        """

    @abc.abstractmethod
    def curvature(self, prediction: Residual, targets: Residual) -> Residual:
        r"""$\partial^2\ell/\partial p_k^2 \ge 0$; zero on a linear branch.

        Args:
            prediction: A(X), shape (m,).
            targets: y, shape (m,).

        Returns:
            The second derivatives, shape (m,).
        """

    def check_targets(self, targets: Residual) -> None:
        """Refuse targets that this loss does not admit. By default all finite ones are admitted.

        Args:
            targets: y, shape (m,).

        Raises:
            ValueError: where a subclass restricts its targets.
        """
