"""The Hessian of an objective, and its smallest eigenvalue."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from .. import _checks
from .._types import Scalar


Function: TypeAlias = Callable[[Any], Shaped[Array, ""]]

# Above this many unknowns the matrix is not formed: 512^2 numbers, and an eigenvalue in 0.05 s.
DENSE = 512


class Eigenpair(NamedTuple):
    r"""An approximate eigenpair of a Hessian.

    Attributes:
        value: a Rayleigh quotient: up to rounding the smallest eigenvalue is at most this, so that
            a negative value proves negative curvature.
        vector: of norm 1, in the shape of the point.
        residual: $\|Hv - \lambda v\|$: some eigenvalue lies within this distance of the value. That
            it is the smallest one rests on the eigenvalue solver.
    """

    value: Scalar
    vector: Float[Array, "..."]
    residual: Scalar


def hessian(objective: Function, point: Float[Array, "..."]) -> Float[Array, "size size"]:
    """The matrix of second derivatives, with the point flattened.

    Args:
        objective: a function of one array.
        point: where to take it, any shape.

    Returns:
        A symmetric matrix.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> imf.landscape.hessian(lambda x: x[0] ** 2 - 3 * x[1] ** 2, jnp.zeros(2)).tolist()
        [[2.0, 0.0], [0.0, -6.0]]
    """
    matrix = jax.hessian(lambda flat: objective(flat.reshape(point.shape)))(point.reshape(-1))
    return (matrix + matrix.T) / 2


def min_eigenvalue(objective: Function, point: Float[Array, "..."]) -> Eigenpair:
    """The smallest eigenvalue of the Hessian, with its residual.

    Up to 512 unknowns the Hessian is formed, and this works under `jit` and `vmap`. Beyond,
    ARPACK's Lanczos method needs only products of the Hessian with vectors, two gradients each;
    it runs on the host and cannot be traced.

    Args:
        objective: a function of one array.
        point: where to take it, any shape.

    Returns:
        Value, vector and residual.

    Raises:
        ValueError: more than 512 unknowns under a tracer.
        scipy.sparse.linalg.ArpackNoConvergence: the Lanczos method did not converge.

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> pair = imf.landscape.min_eigenvalue(lambda x: x[0] ** 2 - 3 * x[1] ** 2, jnp.ones(2))
        >>> round(float(pair.value), 12), float(pair.residual) < 1e-12
        (-6.0, True)
    """
    if point.size <= DENSE:
        matrix = hessian(objective, point)
        vector = jnp.linalg.eigh(matrix)[1][:, 0]
        image = matrix @ vector
        value = jnp.sum(vector * image)
        rest = jnp.linalg.norm(image - value * vector)
        return Eigenpair(value, vector.reshape(point.shape), rest)
    if _checks.concrete(point) is None:
        _checks.refuse(
            "point",
            f"have at most {DENSE} entries under a tracer",
            f"has {point.size}",
            "Call this outside `jit`, `vmap` and `grad`.",
        )
    return _lanczos(objective, point)


def _lanczos(objective: Function, point: Float[Array, "..."]) -> Eigenpair:
    from scipy.sparse import linalg

    gradient = jax.grad(objective)

    @jax.jit
    def product(vector: Array) -> Array:
        tangent = vector.reshape(point.shape).astype(point.dtype)
        return jax.jvp(gradient, (point,), (tangent,))[1].reshape(-1)

    def apply(vector: np.ndarray) -> np.ndarray:
        return np.asarray(product(jnp.asarray(np.ravel(vector), point.dtype)))

    # Its stubs know the abstract constructor only.
    kind: Any = linalg.LinearOperator
    operator = kind((point.size, point.size), matvec=apply, dtype=point.dtype)
    # A start of its own makes the answer the same every time.
    start = np.random.default_rng(0).standard_normal(point.size).astype(point.dtype)
    _, vectors = linalg.eigsh(operator, k=1, which="SA", v0=start, maxiter=50 * point.size)
    vector = jnp.asarray(vectors[:, 0])
    vector = vector / jnp.linalg.norm(vector)
    image = product(vector)
    value = jnp.sum(vector * image)
    return Eigenpair(value, vector.reshape(point.shape), jnp.linalg.norm(image - value * vector))
