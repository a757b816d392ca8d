"""`limit`: where a flow goes as the initialization shrinks to zero."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from . import _checks
from ._alpha import log_scale
from ._results import RESULTS, is_answer
from ._simulate import simulate
from ._solution import Solution
from ._solver_choice import check_representable, engine_for
from ._types import Scalar
from .convex import Certificate, certify
from .flows import AbstractFlow, FactorFlow, SteeredFlow
from .problems import Problem


# Share of the last distance that the next rung would still have, beyond which nothing is claimed.
_SLOWEST = 0.2


class Limit(eqx.Module):
    """The end of a flow as alpha goes to zero, with its error and its certificate.

    Attributes:
        X: the end at the smallest alpha, shape (n, n).
        error_estimate: of X as the limit: relative, Frobenius. It is meant never to understate;
            inf where the ladder is too short, or does not converge.
        log10_alphas: the ladder, decreasing, shape (k,).
        Xs: the ends along it, shape (k, n, n).
        certificate: of X; where the last rung failed without one, of the last X that is finite.
        verdict: on the limit: "minimal", "not minimal", "not fitted", "infeasible targets" or
            "undecided". Never more certain than the certificate and the error estimate together.
        explanation: the verdict in words.
        solutions: one for each alpha.
    """

    X: Float[Array, "n n"]
    error_estimate: Scalar
    log10_alphas: Float[Array, " k"]
    Xs: Float[Array, "k n n"]
    certificate: Certificate
    verdict: str = eqx.field(static=True)
    explanation: str = eqx.field(static=True)
    solutions: tuple[Solution, ...]

    def __str__(self) -> str:
        """The verdict, the error and the ladder."""
        lines = [f"{self.verdict}: {self.explanation}"]
        lines.append(f"  error estimate of the limit: {float(self.error_estimate):.1e} (relative)")
        for value, sol in zip(self.log10_alphas.tolist(), self.solutions, strict=True):
            lines.append(
                f"  alpha = 1e{value:g}: nuclear norm {float(sol.nuclear_norm):.10g}, "
                f"residual {float(sol.residual_norm):.1e}, rank {int(sol.rank())}"
            )
        return "\n".join(lines)


def limit(
    problem: Problem,
    flow: AbstractFlow | None = None,
    *,
    log10_alphas: Sequence[float | int] | ArrayLike | None = None,
    rtol: float | None = None,
    init: Any = None,
    solver: Any = None,
    tolerance: float | None = None,
    progress: Callable[[Solution], None] | None = None,
    throw: bool = True,
) -> Limit:
    r"""The limit of a flow as alpha -> 0, with an error estimate and a certificate.

    The flow is integrated to rest for each alpha of a ladder. The distances between its rungs give
    the exponent g with which X(alpha) approaches its limit, and with it what is still missing at
    the last rung; half of that exponent is used, so that slower terms behind the leading one do
    not make the estimate too small. A host function: it does not work under `jit`.

    Args:
        problem: what to fit.
        flow: how the unknown moves; `flows.FactorFlow()` if None.
        log10_alphas: the ladder; a decreasing one that suits the flow if None. Two rungs or fewer
            give no error estimate (inf).
        rtol: the relative error of X asked for at each rung; see `simulate`.
        init: the parameter at scale one; see `simulate`.
        solver: see `simulate`.
        tolerance: relative misfit up to which noisy targets count as met; see `certify`.
        progress: called with each solution as it is found.
        throw: raise where a rung failed; otherwise see `.solutions[k].result`.

    Returns:
        The limit.

    Raises:
        ValueError: an argument that cannot be; the message says which and what to do. Also where no
            rung has a finite X.
        RuntimeError: (Equinox's) if `throw` and a rung is a failure. Divergence of the norm is
            not one here: the verdict is then "undecided".

    Example:
        >>> import jax.numpy as jnp, implicit_flow as imf
        >>> A = imf.measurements.DenseMeasurement(jnp.array([[[2.0, 0.0], [0.0, 1.0]]]))
        >>> lim = imf.limit(imf.Problem(A, jnp.array([1.0])))
        >>> lim.verdict, bool(jnp.allclose(lim.X, jnp.diag(jnp.array([0.5, 0.0]))))
        ('minimal', True)
    """
    _checks.instance(problem, "problem", Problem, "Make one with `Problem(measurement, targets)`.")
    flow = FactorFlow() if flow is None else flow
    _checks.instance(flow, "flow", AbstractFlow)
    if isinstance(flow, SteeredFlow):
        _checks.refuse("flow", "come to rest by itself", "is SteeredFlow", "Use `simulate`.")
    if not problem.loss.has_finite_minimizer:
        _checks.refuse(
            "problem",
            "have a loss with a finite minimizer",
            f"has {type(problem.loss).__name__}",
            "Use `simulate` with a final time `t1`.",
        )
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(problem)):
        _checks.refuse(
            "problem", "be concrete", "is traced", "`limit` is a host function: use `simulate`."
        )
    ladder = _ladder(flow, log10_alphas)
    if flow.needs_alpha:
        # All rungs before the first one: what is found is not lost to the refusal of a later one.
        dtype = problem.measurement.dtype
        for value in ladder:
            log_alpha = log_scale(None, value, dtype)[0]
            engine = engine_for(flow, solver, problem, log_alpha, to_rest=True)
            check_representable(flow, engine, log_alpha, dtype)
    solutions = []
    for value in ladder:
        # A program of the shapes, which all rungs share, and other calls of `simulate` with them.
        scale: Any = {"log10_alpha": value} if flow.needs_alpha else {}
        sol = simulate(problem, flow, rtol=rtol, init=init, solver=solver, throw=False, **scale)
        if throw and not bool(sol.result == RESULTS.norm_diverges):
            sol.raise_if_failed()
        if progress is not None:
            progress(sol)
        solutions.append(sol)
    last = solutions[-1]
    error = limit_error(
        ladder, [sol.X for sol in solutions], [sol.error_estimate for sol in solutions]
    )
    if not flow.needs_alpha:
        error = float(last.error_estimate)
    # A flow that failed on its last rung may have left no X that anything can be said of.
    judged = next((sol for sol in solutions[::-1] if np.all(np.isfinite(sol.X))), None)
    if judged is None:
        _checks.refuse(
            "problem",
            "have a flow that the solver can follow at some alpha of the ladder",
            f"ended nowhere: {RESULTS[last.result]}",
            "Try larger alphas (`log10_alphas`) or another `solver`.",
        )
    certificate = certify(problem, judged, tolerance=tolerance)
    verdict, explanation = _judge(certificate, last, error)
    return Limit(
        X=last.X,
        error_estimate=jnp.asarray(np.asarray(error, last.X.dtype)),
        log10_alphas=jnp.asarray(np.asarray(ladder, last.X.dtype)),
        Xs=jnp.asarray(np.stack([sol.X for sol in solutions])),
        certificate=certificate,
        verdict=verdict,
        explanation=explanation,
        solutions=tuple(solutions),
    )


def _ladder(flow: AbstractFlow, log10_alphas: Any) -> list[float]:
    if not flow.needs_alpha:
        if log10_alphas is not None:
            _checks.refuse("log10_alphas", "be left out for a flow that starts at 0", "is given")
        return [math.nan]
    if log10_alphas is None:
        return list(flow.ladder)
    values = np.asarray(_checks.numeric(log10_alphas, "log10_alphas"), dtype=float)
    if values.ndim != 1 or values.size == 0:
        _checks.refuse("log10_alphas", "have shape (k,) with k >= 1", f"has shape {values.shape}")
    _checks.finite(values, "log10_alphas")
    if np.any(np.diff(values) >= 0):
        _checks.refuse("log10_alphas", "decrease strictly", f"is {values.tolist()}")
    return values.tolist()


def limit_error(
    ladder: Sequence[float],
    Xs: Sequence[Float[Array, "n n"]],
    errors: Sequence[Scalar | float],
) -> float:
    r"""How far the last rung is from the limit, relative to its size.

    With $\|X(\alpha) - X_0\| \sim C \alpha^g$ the ratio of the last two distances between rungs
    determines g. Both distances are taken at the unfavorable end of their own errors, and half of g
    is used: with it slower terms with smaller constants are covered too. From four rungs on the
    law can be tried on the rung before; where it fails there, or cannot be tried, the last distance
    itself counts.

    Args:
        ladder: decreasing logarithms of alpha to base 10.
        Xs: the ends, one for each.
        errors: their own relative errors.

    Returns:
        The estimate; inf where there are fewer than three rungs or no clear sign of convergence.
    """
    if len(ladder) < 3:
        return math.inf
    ends = [np.asarray(X) for X in Xs[-3:]]
    size = float(np.linalg.norm(ends[-1]))
    largest = max(float(np.linalg.norm(X)) for X in ends)
    if largest == 0:
        return 0.0
    size = size if size > 0 else largest
    moves = [X - Y for X, Y in itertools.pairwise(ends)]
    distances = [float(np.linalg.norm(move)) / size for move in moves]
    first, middle, final = (float(error) for error in errors[-3:])
    if not math.isfinite(sum(distances) + first + middle + final):
        return math.inf
    if sum(distances) <= first + 2 * middle + final:
        # Nothing moved over two rungs but what the solver's own error explains.
        return sum(distances) + final
    earlier, later = moves
    noise = ((first + middle) * size, (middle + final) * size)
    remaining = _left_by_law(ladder[-3:], earlier, later, noise) / size + final
    if len(ladder) > 3:
        # A slow term hides beside a fast one that had not gone yet: what moved even before tells
        # the direction of that.
        gone = np.asarray(Xs[-4]) - ends[0]
        before, last = _without(gone, earlier), _without(gone, later)
        if float(np.linalg.norm(last)) > 2 * noise[1]:
            slowly = _left_by_law(ladder[-3:], before, last, noise) / size + final
            remaining = max(remaining, slowly)
    # Alphas that are not small follow no law yet, and two distances fit any.
    foretold = limit_error(ladder[:-1], Xs[:-1], errors[:-1])
    recent = float(np.linalg.norm(later))
    holds = math.isfinite(foretold) and recent <= foretold * float(np.linalg.norm(ends[1]))
    return remaining if holds else max(remaining, distances[1] + middle + final)


def _without(
    direction: Float[np.ndarray, "n n"], move: Float[np.ndarray, "n n"]
) -> Float[np.ndarray, "n n"]:
    """What is left of a move across another one."""
    square = float(np.sum(direction * direction))
    return move - direction * (float(np.sum(direction * move)) / square if square > 0 else 0.0)


def _left_by_law(
    rungs: Sequence[float],
    earlier: Float[np.ndarray, "n n"],
    later: Float[np.ndarray, "n n"],
    noise: tuple[float, float],
) -> float:
    """How far X still moves, if like a power of alpha; inf without a clear sign of that.

    Args:
        rungs: the last three.
        earlier: the move from the first to the second.
        later: the move from the second to the third.
        noise: errors of the moves.

    Returns:
        The distance, in the unit of X.
    """
    before, recent = float(np.linalg.norm(earlier)), float(np.linalg.norm(later))
    # What moved before in other directions than of late belongs to terms that are gone already.
    # Where the last move is explained by the solver's own errors it has no direction.
    moved = recent > 2 * noise[1]
    if moved:
        before = min(before, float(np.sum(earlier * later)) / recent)
    last = recent + noise[1]
    exponent = _exponent(rungs, max(before - noise[0], 0.0) / last)
    if exponent is None:
        return math.inf
    shrinkage = 10.0 ** (exponent / 2 * (rungs[-1] - rungs[-2]))
    # Three rungs this close cannot tell one slow term from the sum of two.
    return math.inf if moved and shrinkage > _SLOWEST else last * shrinkage / (1 - shrinkage)


def _exponent(rungs: Sequence[float], ratio: float) -> float | None:
    """G such that (a^g - b^g) / (b^g - c^g) is the ratio; None if no positive g does that."""
    upper, lower = rungs[0] - rungs[1], rungs[1] - rungs[2]
    # With p = 10^-g the quotient is (p^-upper - 1) / (1 - p^lower), increasing in g from
    # upper / lower at g = 0.
    if not ratio > 1.05 * upper / lower:
        return None

    def quotient(g: float) -> float:
        # Over more decades than floats have, any distance that is left is nothing beside the first.
        grown = math.log(10) * g * upper
        above = math.expm1(grown) if grown < 700 else math.inf
        return above / -math.expm1(-math.log(10) * g * lower)

    low, high = 0.0, 1.0
    while quotient(high) < ratio and high * upper < 300:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if quotient(middle) < ratio else (low, middle)
    return low


def _judge(certificate: Certificate, last: Solution, error: float) -> tuple[str, str]:
    """The verdict on the limit, from that on the last rung and the distance between the two."""
    verdict, words = certificate.verdict, certificate.explanation
    if bool(last.result == RESULTS.norm_diverges):
        return "undecided", (
            "the norm of X grows without bound along the flow while the residual falls, so that "
            "there is no limit point to judge. Look at the path with `simulate(..., t1=...)`."
        )
    if not bool(is_answer(last.result)):
        return "undecided", f"the last rung of the ladder failed: {RESULTS[last.result]}"
    if verdict in ("infeasible targets", "not fitted", "undecided"):
        return verdict, words
    n = last.X.shape[0]
    # |tr X - tr Y| <= sqrt(n) |X - Y|.
    slack = error * math.sqrt(n) * float(np.linalg.norm(np.asarray(last.X)))
    distance = (
        f"the limit may differ from this point by {slack:.3g}"
        if math.isfinite(slack)
        else "the ladder does not tell how far the limit still is from this point"
    )
    if verdict == "not minimal" and not float(certificate.excess_at_least) > slack:
        return "undecided", (
            f"at alpha = 1e{float(last.log10_alpha):g} the nuclear norm is above the minimum by at "
            f"least {float(certificate.excess_at_least):.3g}, but {distance}. "
            "Go to smaller alpha (`log10_alphas`, `--alphas`)."
        )
    if verdict == "minimal" and not slack <= max(1e-3 * float(certificate.primal_value), 0):
        return "undecided", (
            f"at alpha = 1e{float(last.log10_alpha):g} the nuclear norm is minimal within the gap, "
            f"but {distance}. Go to smaller alpha (`log10_alphas`, `--alphas`)."
        )
    return verdict, words
