"""Singular values of a graded factor, each to full relative precision, as logarithms."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._compiled import compiled
from ._graded import LOG_ZERO, GradedFactor


_MAX_SWEEPS = 30


def _rounds(size: int) -> np.ndarray:
    """A tournament: every pair once, in rounds of disjoint pairs; shape (rounds, size / 2, 2)."""
    order = list(range(size))
    rounds = []
    for _ in range(size - 1):
        rounds.append([(order[k], order[size - 1 - k]) for k in range(size // 2)])
        order = [order[0], order[-1], *order[1:-1]]
    return np.array(rounds, dtype=np.int32).reshape(size - 1, size // 2, 2)


@compiled
def log_singular_values(state: GradedFactor) -> Float[Array, " p"]:
    r"""The logarithms of the singular values of $Q\,\mathrm{diag}(e^\ell)\,T$, increasing.

    One-sided Jacobi rotations of the rows of $\mathrm{diag}(e^\ell)\,T$, each row with its own
    exponent: the relative error of every singular value is that of a well-conditioned T, however
    far apart the exponents are.

    Args:
        state: the factor; not differentiated.

    Returns:
        The logarithms; -inf for directions that are absent.

    Reference:
        Demmel and Veselic, "Jacobi's method is more accurate than QR", SIAM J. Matrix Anal.
        Appl. 13 (1992).
    """
    log_scale, rows = jax.lax.stop_gradient((state.log_scale, state.mixing))
    dtype, p = rows.dtype, log_scale.shape[0]
    if p % 2:
        # A row of zeros, so that everyone has a partner.
        log_scale = jnp.concatenate([log_scale, jnp.full((1,), LOG_ZERO, dtype)])
        rows = jnp.concatenate([rows, jnp.zeros((1, rows.shape[1]), dtype)])
    size = log_scale.shape[0]
    tiny, eps = jnp.finfo(dtype).tiny, jnp.finfo(dtype).eps
    rounds = jnp.asarray(_rounds(size))

    def one_round(carry: tuple, pairs: Int[Array, "h 2"]) -> tuple:
        log_scale, rows, largest = carry
        first, second = pairs[:, 0], pairs[:, 1]
        swap = log_scale[second] > log_scale[first]
        large, small = jnp.where(swap, second, first), jnp.where(swap, first, second)
        a, b = rows[large], rows[small]
        d = jnp.exp(log_scale[small] - log_scale[large])
        aa, bb, ab = jnp.sum(a * a, 1), jnp.sum(b * b, 1), jnp.sum(a * b, 1)
        norm = jnp.sqrt(aa * bb)
        present = (norm > 0) & (log_scale[large] > 0.5 * LOG_ZERO)
        cosine = jnp.where(present, jnp.abs(ab) / jnp.where(norm > 0, norm, 1.0), 0.0)
        turn = present & (jnp.abs(ab) > tiny)
        # tan = d * slope, with a slope that does not underflow with d.
        z = jnp.where(turn, (d**2 * bb - aa) / jnp.where(turn, 2 * ab, 1.0), 0.0)
        sign = jnp.where(z < 0, -1.0, 1.0).astype(dtype)
        root = jnp.abs(z) + jnp.sqrt(d**2 + z**2)
        slope = jnp.where(turn & (root > 0), sign / jnp.where(root > 0, root, 1.0), 0.0)
        cos = 1 / jnp.sqrt(1 + (d * slope) ** 2)
        # Rows e^large a and e^small b become e^large (c a - s d b) and e^small (c b + (s / d) a).
        new_a = cos[:, None] * (a - (d**2 * slope)[:, None] * b)
        new_b = cos[:, None] * (b + slope[:, None] * a)

        def unit(x: Array, logs: Array) -> tuple[Array, Array]:
            length = jnp.linalg.norm(x, axis=1)
            safe = jnp.where(length > 0, length, 1.0)
            return x / safe[:, None], jnp.where(length > 0, logs + jnp.log(safe), LOG_ZERO)

        new_a, log_a = unit(new_a, log_scale[large])
        new_b, log_b = unit(new_b, log_scale[small])
        rows = rows.at[large].set(new_a).at[small].set(new_b)
        log_scale = log_scale.at[large].set(log_a).at[small].set(log_b)
        return (log_scale, rows, jnp.maximum(largest, jnp.max(cosine))), None

    def sweep(carry: tuple) -> tuple:
        log_scale, rows, _, count = carry
        start = (log_scale, rows, jnp.zeros((), dtype))
        (log_scale, rows, largest), _ = jax.lax.scan(one_round, start, rounds)
        return log_scale, rows, largest, count + 1

    def unfinished(carry: tuple) -> Bool[Array, ""]:
        return (carry[2] > 4 * size * eps) & (carry[3] < _MAX_SWEEPS)

    begin = (log_scale, rows, jnp.ones((), dtype), jnp.zeros((), jnp.int32))
    log_scale = jax.lax.while_loop(unfinished, sweep, begin)[0]
    values = jnp.sort(log_scale)[size - p :]
    # More rows than columns: what is left of the others is rounding.
    values = jnp.where(jnp.arange(p) < p - rows.shape[1], LOG_ZERO, values)
    return jnp.where(values > 0.5 * LOG_ZERO, values, -jnp.inf)
