"""The certificate, explained in the page to those who have not seen one."""

import html
import re

from ._walk import Answer
from ._words import capitalized, gap, number


def certificate(answer: Answer) -> str:
    """The section of the page about the certificate.

    Args:
        answer: of the main job.

    Returns:
        HTML.
    """
    infeasible = answer.limit.verdict == "infeasible targets"
    name = "contradiction" if infeasible else "dual"
    return (
        "<section>\n<h2>The certificate, explained</h2>\n"
        f"{_nothing_fits() if infeasible else _from_below(answer)}"
        f"{_from_above(answer)}"
        f"<p>{sentence(answer.limit.certificate.explanation)}</p>\n"
        f"<p class=note>The vector ν is <code>certificate_{name}</code> in <code>result.nc</code> "
        f"and <code>certificate.{name}</code> in <code>result.json</code>.</p>\n</section>\n"
    )


def _from_below(answer: Answer) -> str:
    rung = answer.rungs[-1]
    return (
        "<p>A lower bound needs no trust in the flow. Take any vector ν for which all eigenvalues "
        "of A*(ν) = Σ νᵢ Aᵢ are at most 1. Then every X ⪰ 0 with A(X) = y has</p>\n"
        "<p class=formula>‖X‖ = tr X ≥ ⟨A*(ν), X⟩ = ⟨ν, A(X)⟩ = ⟨ν, y⟩.</p>\n"
        "<p>So ⟨ν, y⟩ is below the minimum. Minus the integral of the flow’s residual over time, "
        "scaled until it qualifies, is one such vector; the end of the flow and, for small "
        "problems, a convex solver offer others. Whichever is used, the bound is checked in "
        f"floating point, rounding included. The best bound is {text(number(answer.lower_bound))}; "
        f"the flow ends at {text(number(rung.nuclear_norm))}: a gap of {text(gap(rung))}.</p>\n"
    )


def _nothing_fits() -> str:
    return (
        "<p>Suppose that a vector ν has A*(ν) = Σ νᵢ Aᵢ ⪰ 0. Then every X ⪰ 0 has</p>\n"
        "<p class=formula>⟨ν, A(X)⟩ = ⟨A*(ν), X⟩ ≥ 0.</p>\n"
        "<p>If ⟨ν, y⟩ is negative, then A(X) = y is impossible.</p>\n"
    )


def _from_above(answer: Answer) -> str:
    if answer.limit.verdict != "not minimal":
        return ""
    found = answer.limit.certificate
    return (
        "<p>That the flow does <em>not</em> reach the minimum is proved from above: another point "
        f"meets the targets with nuclear norm {text(number(found.upper_bound))} or less, which is "
        f"smaller by at least {text(number(found.excess_at_least, 3))}.</p>\n"
    )


def text(words: str) -> str:
    """Plain words as HTML.

    Args:
        words: any text.

    Returns:
        The same, escaped.
    """
    return html.escape(words)


def sentence(words: str) -> str:
    """A message of the library as HTML: names in backticks become code.

    Args:
        words: a message.

    Returns:
        HTML that begins with a capital and ends with a full stop.
    """
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text(capitalized(words)))
