"""Verdicts and numbers in words that need no manual."""

import math

import numpy as np

from ._walk import Answer, Rung


HEADLINES = {
    "minimal": "Yes: the flow goes to a minimum nuclear norm solution.",
    "not minimal": "No: the flow does not go to a minimum nuclear norm solution.",
    "not fitted": "The flow comes to rest without meeting the targets.",
    "infeasible targets": "No positive semidefinite matrix meets the targets.",
    "undecided": "The bounds do not settle whether the limit is minimal.",
}


def headline(answer: Answer) -> str:
    """The verdict as one sentence, with its number.

    Args:
        answer: of the main job.

    Returns:
        The sentence.
    """
    verdict = answer.limit.verdict
    sentence = HEADLINES[verdict]
    if answer.rungs[-1].result == "norm_diverges":
        return "The norm of X grows without bound along the flow: there is no limit to judge."
    if verdict == "undecided" and not answer.rungs[-1].converged:
        return f"At the smallest alpha the flow did not converge ({answer.rungs[-1].result})."
    certificate = answer.limit.certificate
    if verdict == "minimal":
        above = gap(answer.rungs[-1])
        return f"{sentence[:-1]}" + (f", within a gap of {above}." if above != ZERO else ".")
    if verdict == "not minimal":
        share = float(certificate.excess_at_least) / abs(float(certificate.upper_bound))
        return f"{sentence[:-1]}: it is above the minimum by at least {percent(share)}."
    return sentence


def percent(share: float) -> str:
    """A share in percent, to two digits.

    Args:
        share: 1 for all.

    Returns:
        Such as "0.34%"; a dash where there is no number.

    Example:
        >>> from implicit_flow.cli._words import percent
        >>> percent(0.00342), percent(2.5e-11), percent(float("nan"))
        ('0.34%', '2.5e-09%', '–')
    """
    if not math.isfinite(share):
        return "–"
    value = 100 * share
    if value == 0 or 1e-4 <= abs(value) < 1e4:
        # Two digits, and never an exponent: 7.6, 0.34, 0.00029, 1234.
        places = 0 if value == 0 else max(0, 1 - math.floor(math.log10(abs(value))))
        return f"{value:.{places}f}%"
    return f"{value:.1e}%"


ZERO = "≈ 0"


def gap(rung: Rung) -> str:
    """The gap of a rung in percent.

    Args:
        rung: of the ladder.

    Returns:
        The gap; "≈ 0" where it is no larger than the misfit of the targets, a dash where X is
        below the bound because it does not fit.
    """
    if abs(rung.gap) <= max(rung.residual_norm, 1e-12):
        return ZERO
    return percent(rung.gap) if rung.gap > 0 else percent(math.nan)


def number(value: float, digits: int = 7) -> str:
    """A number in a table.

    Args:
        value: any float.
        digits: significant ones.

    Returns:
        The text; a dash where there is no number.
    """
    return f"{value:.{digits}g}" if math.isfinite(value) else "–"


def small(value: float) -> str:
    """A residual or an error in a table: its size is what matters.

    Args:
        value: any float.

    Returns:
        Such as "3e-10"; a dash where there is no number.
    """
    return "0" if value == 0 else f"{value:.0e}" if math.isfinite(value) else "–"


def block_norm(answer: Answer) -> float | None:
    """The nuclear norm of the rectangular matrix that X embeds.

    Args:
        answer: of the main job.

    Returns:
        The norm, or None where X embeds none.
    """
    last = answer.limit.solutions[-1]
    return None if last.block is None else float(np.asarray(last.W_nuclear_norm))


def capitalized(words: str) -> str:
    """A message as a sentence.

    Args:
        words: a message.

    Returns:
        It, from a capital to a full stop.
    """
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "?", "!")) else ".")
