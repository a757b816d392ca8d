"""The vector field of a congruence flow, as six callables, and what U it is meant for."""

from collections.abc import Callable

import equinox as eqx
from jaxtyping import Array, Bool, Float

from ..linalg import row_lengths


class CongruenceTerm(eqx.Module):
    r"""The flow $\dot U = -A^*(r(A(UU')))\, U$, without a word about where it comes from.

    Callables are leaves of the tree: pass Equinox modules or `equinox.Partial` so that derivatives
    reach the arrays they hold.

    Attributes:
        predict: `U (n, d) -> (m,)`, the measurements A(UU').
        residual: `prediction (m,) -> (m,)`, r = loss'.
        curvature: `prediction (m,) -> (m,)`, loss'', nonnegative; it may vanish.
        adjoint: `v (m,) -> (n, n)`, the symmetric matrix A*(v).
        adjoint_times: `(v (m,), V (n, q)) -> (n, q)`, A*(v) V.
        gram: `(W (n, p), V (n, p)) -> (m, m)`, the inner products of A_i W and A_j V.
        secant: (m,), the mean of loss'' between the prediction 0 and the target, at most a bound.
        scale: the natural size of the residual, the norm of the targets.
        rows: (n, d), of length one; only where all A*(v) are diagonal. The lengths of the rows of U
            are all that moves then, and all that the residual sees: what is integrated is the
            diagonal matrix of them, in which rounding cannot couple a tiny row to a large one.
        together: (n, n), the components between which all A*(v) are zero, see
            `linalg.components`: rounding must not couple them either. None for one component.
    """

    predict: Callable
    residual: Callable
    curvature: Callable
    adjoint: Callable
    adjoint_times: Callable
    gram: Callable
    secant: Float[Array, " m"]
    scale: Float[Array, ""]
    rows: Float[Array, "n d"] | None = None
    together: Bool[Array, "n n"] | None = None

    def whole(self, factor: Float[Array, "n p"]) -> Float[Array, "n d"]:
        """The U that is meant, whose X is to be accurate.

        Args:
            factor: the one that is integrated.

        Returns:
            The factor itself, or the rows with the lengths that it holds.
        """
        if self.rows is None:
            return factor
        return row_lengths(factor)[:, None] * self.rows
