"""One enumeration of outcomes for the whole library; each item's text names the cure."""

from typing import Any

import diffrax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ._compiled import compiled


class RESULTS(diffrax.RESULTS):  # pyright: ignore[reportGeneralTypeIssues]
    """How a computation ended.

    Extends `diffrax.RESULTS` (and through it those of Optimistix and Lineax). `RESULTS[result]`
    is the message. An outcome is data: it travels with the solution through `jit` and `vmap`, and
    becomes an exception only at the door, where `throw=True`.

    Example:
        >>> import implicit_flow as imf
        >>> imf.RESULTS[imf.RESULTS.stationary].split(":")[0]
        'The flow came to rest before it met the targets'
    """

    stationary = (
        "The flow came to rest before it met the targets: no direction that U has lowers the loss "
        "any further. `implicit_flow.certify` says whether any point fits them better."
    )
    vanished = (
        "The flow converges to X = 0, and meets there as much of the targets as it can. "
        "This is an answer, not a failure."
    )
    norm_diverges = (
        "The norm of X grows without bound while the residual falls: there is no limit to report. "
        "Give `t1` to look at the path at a finite time."
    )
    not_stationary = (
        "The integration ended before the flow came to rest. Raise `max_steps`, loosen `rtol`, or "
        "give `t1` if a finite time was meant."
    )
    tolerance_not_met = (
        "The flow came to rest, but its estimated error is larger than the `rtol` that was asked "
        "for. Read `error_estimate`; tighten the solver, or turn on float64."
    )
    ill_conditioned = (
        "At this alpha the end point depends on digits of the data that floats do not hold. Use a "
        "larger alpha, or a measurement that stores the structure (`CommutingMeasurement`)."
    )
    solver_failed = (
        "The implicit equations of a step could not be solved at any step size. Rescale the "
        "problem, or try a stock Diffrax solver with `solver=`."
    )
    invalid_input = (
        "An argument of this lane was not valid: alpha must be positive and representable, "
        "no input may be nan or infinite, and none so large or small that its square is."
    )


@compiled
def is_answer(result: RESULTS) -> Bool[Array, ""]:
    """Whether a result stands for an answer about the flow rather than a failure to find one.

    Args:
        result: an item of `RESULTS`.

    Returns:
        True for `successful`, `stationary` and `vanished`.
    """
    answers = (
        RESULTS.successful,
        RESULTS.event_occurred,
        RESULTS.stationary,
        RESULTS.vanished,
    )
    return jnp.any(jnp.stack([jnp.asarray(result == answer) for answer in answers]))


def select(predicate: Bool[Array, ""], if_true: Any, if_false: Any) -> Any:
    """`jnp.where` for results, whichever enumeration in the chain of bases they come from.

    Args:
        predicate: a boolean scalar.
        if_true: an item of `RESULTS`.
        if_false: an item of `RESULTS`.

    Returns:
        One of the two.
    """
    return RESULTS.where(predicate, if_true, if_false)


_NAMES = (
    "successful",
    "max_steps_reached",
    "singular",
    "breakdown",
    "stagnation",
    "conlim",
    "nonfinite_input",
    "nonlinear_max_steps_reached",
    "nonlinear_divergence",
    "dt_min_reached",
    "event_occurred",
    "max_steps_rejected",
    "internal_error",
    "nonfinite",
    "stationary",
    "vanished",
    "norm_diverges",
    "not_stationary",
    "tolerance_not_met",
    "ill_conditioned",
    "solver_failed",
    "invalid_input",
)


def name_of(result: RESULTS) -> str:
    """The name of a concrete result, such as "stationary": shorter than its message, for files.

    Args:
        result: a concrete item of `RESULTS`.

    Returns:
        Its name; `getattr(RESULTS, name)` is the item again.
    """
    return next(name for name in _NAMES if bool(result == getattr(RESULTS, name)))
