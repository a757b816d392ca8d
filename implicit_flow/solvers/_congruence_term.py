"""The vector field of a congruence flow, as six callables."""

from collections.abc import Callable

import equinox as eqx
from jaxtyping import Array, Float


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
        scale: the natural size of the residual, the norm of the targets.
    """

    predict: Callable
    residual: Callable
    curvature: Callable
    adjoint: Callable
    adjoint_times: Callable
    gram: Callable
    scale: Float[Array, ""]
