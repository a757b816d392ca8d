"""The lengths of rows, as the diagonal of X = UU' has them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._graded import LOG_ZERO, GradedFactor


def row_lengths(matrix: Float[Array, "n d"]) -> Float[Array, " n"]:
    """Euclidean lengths of the rows, without underflow, and with derivative 0 at rows of zeros.

    Args:
        matrix: any.

    Returns:
        The lengths.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(matrix), axis=1))
    # Not `> 0`: a nan stays one.
    present = largest != 0
    unit = jnp.where(present[:, None], matrix / jnp.where(present, largest, 1.0)[:, None], 1.0)
    return largest * jnp.linalg.norm(unit, axis=1)


def log_row_lengths(state: GradedFactor) -> Float[Array, " n"]:
    r"""The logarithms of the lengths of the rows of $Q\,\mathrm{diag}(e^\ell)$.

    Args:
        state: the factor; its mixing is left out.

    Returns:
        The logarithms; `LOG_ZERO` at the least.
    """
    logs = 2 * (jnp.log(jnp.abs(state.basis)) + state.log_scale[None, :])
    return jnp.maximum(0.5 * jax.nn.logsumexp(logs, axis=1), LOG_ZERO)
