"""Newton's method with the Jacobian of the stage equations, for where the frozen matrix fails."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..linalg import divided_exponential, each
from ._congruence_term import CongruenceTerm
from ._radau import ResidualRadau
from ._stages import Stages, agrees, effect, exponents, most_growth, rounding, stage_factors
from ._tableau import COEFFICIENTS, EXPONENT_WEIGHTS


# Directions of X beyond this many are left to the iteration. Measured on completion with n = 20 and
# alpha 1e-2: with 10 of 20 directions it fails at every second step.
_RANK = 20
# So few are taken where the others move the residual by less than this share of itself: the
# iteration then contracts at least as fast, and the Jacobian costs a third.
_FEW, _NEGLIGIBLE = 6, 0.02
# The Jacobian and the stack that it is formed from have to fit.
_MOST_MEASUREMENTS = 500
_LARGEST_STACK = 2e7
_MAX_ITERATIONS = 12
# Contraction beyond which the Jacobian is formed anew.
_SLOW = 0.2
# Where the exponents of a step sum up to less than this they are taken to commute at first, for so
# many iterations. Measured on Gaussian sensing, n = 4 to 10, m = 8 to 40: as many steps, in 0.6 to
# 0.8 of the time. On targets that cannot be met, where the exponents are large, it fails.
_GENTLE, _PATIENCE = 3.0, 8


def affordable(num_measurements: int, dim: int) -> bool:
    """Whether the Jacobian of the stage equations is worth forming.

    Args:
        num_measurements: m.
        dim: n.

    Returns:
        Whether it is.
    """
    return num_measurements <= _MOST_MEASUREMENTS and num_measurements * dim**2 <= _LARGEST_STACK


def stage_jacobian(
    term: CongruenceTerm,
    residuals: Float[Array, "3 m"],
    step: Float[Array, ""],
    factor: Float[Array, "n d"],
) -> Float[Array, "r r"]:
    r"""The derivative of $k_i - r(U_i)$ with respect to $k_j$.

    A frozen matrix couples the stages as if U were constant within the step. Directions that grow
    or decay by a factor within it weigh the residual at each node differently; the divided
    differences of the exponential know by how much.

    Args:
        term: the flow.
        residuals: k.
        step: h.
        factor: U at the start of the step.

    Returns:
        The matrix, of 3m rows.

    Reference:
        Higham, "Functions of Matrices" (2008), Theorem 3.11.
    """
    dtype = factor.dtype
    m = residuals.shape[1]
    stack = jax.vmap(term.adjoint)(jnp.eye(m, dtype=dtype))
    values, vectors = each(jnp.linalg.eigh, exponents(term, residuals, step))
    grown = (vectors * jnp.exp(values)[:, None, :]) @ jnp.swapaxes(vectors, 1, 2)
    intervals = grown[1::2] @ grown[::2]
    first = intervals[0] @ factor
    second = intervals[1] @ first
    at = jnp.stack([factor, first, second, intervals[2] @ second])
    # Columns of U, up to a rotation, the largest within the step last. LAPACK may loop on what is
    # not finite, as at a failed iterate, whose Jacobian nobody will use.
    sizes = jnp.einsum("sni,snj->ij", at, at)
    finite = jnp.all(jnp.isfinite(sizes))
    _, rotation = jnp.linalg.eigh(jnp.where(finite, sizes, jnp.eye(len(sizes), dtype=dtype)))
    columns = at @ rotation
    curvatures = jax.vmap(lambda u: term.curvature(term.predict(u)))(at)
    weights = divided_exponential(*jnp.broadcast_arrays(values[:, :, None], values[:, None, :]))
    loads = -step * jnp.asarray(EXPONENT_WEIGHTS, dtype)
    parts = (values, vectors, grown, weights, loads)
    # A loop and not three copies: compilation is what a first call costs.
    pairs = jax.tree.map(lambda x: x.reshape(3, 2, *x.shape[1:]), parts)

    def rows(rank: int) -> Float[Array, "3 m 3 m"]:
        def node(carry, inputs):
            """On to the next node: two exponentials, and the derivative of the residual there."""
            current, moved = carry
            curvature, pair = inputs
            for _, V, E, weight, load in zip(*pair, strict=True):
                inner = weight[None] * (V.T @ (stack @ V))
                own = V @ (inner @ (V.T @ current))
                moved = E @ moved + load[:, None, None, None] * own[None]
                current = E @ current
            seen = curvature[:, None] * (stack @ current).reshape(m, -1)
            row = -2 * jnp.einsum("kx,jlx->kjl", seen, moved.reshape(3, m, -1))
            return (current, moved), row

        current = columns[0, :, -rank:]
        moved = jnp.zeros((3, m, *current.shape), dtype)
        return jax.lax.scan(node, (current, moved), (curvatures[1:], pairs))[1]

    few, many = (min(rank, factor.shape[1]) for rank in (_FEW, _RANK))
    if few == many:
        found = rows(many)
    else:
        others = columns[..., : factor.shape[1] - few]

        def trace(curvature_and_columns):
            """Of the part that they have in D K; one node at a time, each as large as the stack."""
            curvature, columns = curvature_and_columns
            return 2 * jnp.sum(curvature * jnp.sum((stack @ columns) ** 2, axis=(1, 2)))

        share = step * jnp.max(jax.lax.map(trace, (curvatures, others)))
        found = jax.lax.cond(share < _NEGLIGIBLE, lambda: rows(few), lambda: rows(many))
    return jnp.eye(3 * m, dtype=dtype) + found.reshape(3 * m, 3 * m)


def commuting_jacobian(
    term: CongruenceTerm, step: Float[Array, ""], factors: Float[Array, "3 n d"]
) -> Float[Array, "r r"]:
    """What `stage_jacobian` is where the exponentials of the step commute.

    It knows that K changes from node to node, as the frozen matrix does not, and is formed at a
    fraction of the cost.

    Args:
        term: the flow.
        step: h.
        factors: U at the nodes.

    Returns:
        The matrix, of 3m rows.
    """

    def kernel(factor: Float[Array, "n d"]) -> Float[Array, "m m"]:
        curvature = term.curvature(term.predict(factor))
        return 2 * curvature[:, None] * term.gram(factor, factor)

    kernels = jax.vmap(kernel)(factors)
    rows = 3 * kernels.shape[1]
    coupling = step * jnp.asarray(COEFFICIENTS, step.dtype)
    blocks = coupling[:, None, :, None] * kernels[:, :, None, :]
    return jnp.eye(rows, dtype=step.dtype) + blocks.reshape(rows, rows)


class _Factorization(eqx.Module):
    """LU of the Jacobian, with the permutation in full: `lu_solve` would work it out every time."""

    factors: Float[Array, "r r"]
    order: Int[Array, " r"]

    @classmethod
    def of(cls, matrix: Float[Array, "r r"]) -> "_Factorization":
        factors, _, order = jax.lax.linalg.lu(matrix)
        return cls(factors, order)

    def solve(self, right: Float[Array, " r"]) -> Float[Array, " r"]:
        solve = partial(jax.lax.linalg.triangular_solve, self.factors, left_side=True)
        below = solve(right[self.order][:, None], lower=True, unit_diagonal=True)
        return solve(below, lower=False)[:, 0]


class _Iteration(eqx.Module):
    stages: Stages
    factorization: _Factorization
    refresh: Bool[Array, ""]
    failed: Bool[Array, ""]
    count: Int[Array, ""]
    previous: Float[Array, ""]


def solve_fully(
    term: CongruenceTerm,
    solver: ResidualRadau,
    factor: Float[Array, "n d"],
    step: Float[Array, ""],
    tolerance: Float[Array, ""],
    guess: Float[Array, "3 m"],
    stages: Stages,
    enabled: Bool[Array, ""],
) -> Stages:
    """Solve the stage equations where `solve_stages` could not.

    Args:
        term: the flow.
        solver: its options.
        factor: U at the start of the step.
        step: its length h.
        tolerance: of the step.
        guess: first residuals at the nodes.
        stages: what `solve_stages` came to.
        enabled: where false nothing is done, and under `vmap` no loop turns for this lane.

    Returns:
        The stages; those given where nothing was done.
    """
    m = guess.shape[1]
    if not affordable(m, factor.shape[0]):
        return stages
    dtype = factor.dtype
    target = solver.newton_fraction * tolerance

    def iterate(state: _Iteration) -> _Iteration:
        residuals = state.stages.residuals
        factors, growth = stage_factors(term, residuals, step, factor)
        predictions = jax.vmap(term.predict)(factors)
        violation = residuals - jax.vmap(term.residual)(predictions)

        def jacobian() -> Float[Array, "r r"]:
            size = jnp.sum(jnp.linalg.norm(exponents(term, residuals, step), axis=(1, 2)))
            return jax.lax.cond(
                (size < _GENTLE) & (state.count < _PATIENCE),
                lambda: commuting_jacobian(term, step, factors),
                lambda: stage_jacobian(term, residuals, step, factor),
            )

        factorization = jax.lax.cond(
            state.refresh, lambda: _Factorization.of(jacobian()), lambda: state.factorization
        )
        update = -factorization.solve(violation.reshape(-1)).reshape(3, m)
        new = residuals + update
        change, relative = effect(term, factors, step, update, new)
        contraction = change / jnp.maximum(state.previous, jnp.finfo(dtype).tiny)
        known = state.count > 0
        bounded = jnp.minimum(contraction, 0.5)
        tail = jnp.where(known, bounded / (1 - bounded), 1.0)
        converged = (change * tail < target) & (relative * tail < 0.05)
        converged &= agrees(violation, residuals, predictions)
        converged |= known & (change < rounding(growth))
        finite = jnp.all(jnp.isfinite(new)) & (growth < 2 * most_growth(term, solver))
        count = state.count + 1
        diverges = known & (contraction > 2.0) & (count > 3)
        return _Iteration(
            stages=Stages(
                residuals=new,
                predictions=predictions,
                last_factor=factors[2],
                matrix=state.stages.matrix,
                converged=converged & finite,
                num_iterations=state.stages.num_iterations + 1,
                num_factorizations=state.stages.num_factorizations
                + state.refresh.astype(jnp.int32),
            ),
            factorization=factorization,
            refresh=known & (contraction > _SLOW),
            failed=~finite | (~converged & (diverges | (count >= _MAX_ITERATIONS))),
            count=count,
            previous=change,
        )

    begin = _Iteration(
        stages=eqx.tree_at(
            lambda s: s.residuals, stages, jnp.where(enabled, guess, stages.residuals)
        ),
        factorization=_Factorization(jnp.zeros((3 * m, 3 * m), dtype), jnp.zeros(3 * m, jnp.int32)),
        refresh=jnp.ones((), bool),
        failed=~enabled,
        count=jnp.zeros((), jnp.int32),
        previous=jnp.ones((), dtype),
    )
    end = jax.lax.while_loop(lambda s: ~s.stages.converged & ~s.failed, iterate, begin)
    return end.stages
