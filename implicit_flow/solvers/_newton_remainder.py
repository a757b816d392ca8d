"""How far X still moves near its end, from the linearized flow of the residual."""

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float

from ._congruence_term import CongruenceTerm


# The directions that conjugate gradients do not reach in so many iterations are slow ones.
_ITERATIONS = 60
_CURVATURE_FLOOR = 1e-10


def linear_remainder(
    term: CongruenceTerm, factor: Float[Array, "n d"], time: Float[Array, ""]
) -> Float[Array, ""]:
    r"""The relative change of X that is to come if $\dot r = -D K r$ from here on.

    The integral of the force to come is $(D K)^{-1} r$, and $t\, r$ where K is zero to the time
    scale that was seen; it is found by conjugate gradients, without K.

    Args:
        term: the flow.
        factor: U, where the targets are nearly met.
        time: the time reached.

    Returns:
        The change.
    """
    tiny = jnp.finfo(factor.dtype).tiny
    prediction = term.predict(factor)
    curvature = term.curvature(prediction)
    floor = jnp.maximum(_CURVATURE_FLOOR * jnp.max(curvature), tiny)
    weight = jnp.sqrt(jnp.maximum(curvature, floor))

    def moved(z: Float[Array, " m"]) -> Float[Array, "n d"]:
        return term.adjoint_times(weight * z, factor)

    def operator(z: Float[Array, " m"]) -> Float[Array, " m"]:
        # d A(UU') along A*(z) U is K z.
        change = jax.jvp(term.predict, (factor,), (moved(z),))[1]
        return weight * change + z / jnp.maximum(time, tiny)

    force = term.residual(prediction)
    integral, _ = cg(operator, force / weight, tol=1e-3, maxiter=_ITERATIONS)
    size = jnp.maximum(jnp.linalg.norm(factor.T @ factor), tiny)
    # |V U'| from the small products of V and of U.
    velocity = moved(integral)
    square = jnp.sum((velocity.T @ velocity) * (factor.T @ factor))
    return 2 * jnp.sqrt(jnp.maximum(square, 0.0)) / size
