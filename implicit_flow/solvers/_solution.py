"""What an integration of a congruence flow returns."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._results import RESULTS
from ..linalg import GradedFactor, log_singular_values


# Rotations go through all pairs of directions.
_LARGEST_SPECTRUM = 128


class CongruenceSolution(eqx.Module):
    """The end of a congruence flow, its path at the save times, and how it was found.

    Attributes:
        graded: the factor at the end, each direction with its own exponent.
        residual: r(U) at the end.
        generator: collocation value of r at the end, free of Newton noise: the dual of a
            stationary point.
        dual: minus the integral of r.
        time: the time reached.
        error_estimate: bound of the relative Frobenius error of X; for `vanished`, the size of
            A(X) relative to the targets.
        remaining_drift: the part of it that is due to stopping.
        sensitivity: the part of it that is due to rounding of the data.
        result: how it ended.
        stats: counts of the last run, and `num_total_steps` of all of them.
        ts: save times.
        saved: graded factors there.
        duals: minus the integral of r there.
        residuals: r(U) there.
        error_estimates: bounds of the relative Frobenius errors of X there.
    """

    graded: GradedFactor
    residual: Float[Array, " m"]
    generator: Float[Array, " m"]
    dual: Float[Array, " m"]
    time: Float[Array, ""]
    error_estimate: Float[Array, ""]
    remaining_drift: Float[Array, ""]
    sensitivity: Float[Array, ""]
    result: RESULTS
    stats: dict[str, Int[Array, ""]]
    ts: Float[Array, " k"]
    saved: GradedFactor
    duals: Float[Array, "k m"]
    residuals: Float[Array, "k m"]
    error_estimates: Float[Array, " k"]

    @property
    def factor(self) -> Float[Array, "n p"]:
        """A factor U with X = UU'."""
        return self.graded.factor

    @property
    def X(self) -> Float[Array, "n n"]:
        """The matrix X at the end."""
        return self.graded.matrix

    @property
    def log_eigenvalues(self) -> Float[Array, " n"] | None:
        """Natural logarithms of the eigenvalues of X, increasing; None where n is above 128.

        Those that are zero are -inf. They are not differentiated.
        """
        n = self.graded.basis.shape[0]
        if n > _LARGEST_SPECTRUM:
            return None
        values = 2 * log_singular_values(self.graded)
        missing = jnp.full((n - values.shape[0],), -jnp.inf, values.dtype)
        return jnp.concatenate([missing, values])

    @property
    def factors(self) -> Float[Array, "k n p"]:
        """Factors at the save times."""
        return self.saved.factor

    @property
    def Xs(self) -> Float[Array, "k n n"]:
        """The matrices at the save times."""
        return self.saved.matrix
