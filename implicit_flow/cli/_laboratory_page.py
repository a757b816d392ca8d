"""All claims on one self-contained page: no network, no scripts."""

import base64
import html
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from .. import experiments


NOT_RUN, WAITING = "not-run", "waiting"
# Outcome -> symbol, words. A color is never alone: it comes with both.
_MARKS = {
    "holds": ("✓", "holds"),
    "fails": ("✗", "fails"),
    "undecided": ("?", "undecided"),
    NOT_RUN: ("!", "failed to run"),
    WAITING: ("…", "not run yet"),
}


class Result(NamedTuple):
    """An entry of the page.

    Attributes:
        name: as on the command line.
        summary: the first line of its docstring.
        claim: what is claimed.
        hypotheses: under which.
        source: by whom.
        outcome: "holds", "fails", "undecided", `NOT_RUN` or `WAITING`.
        outcome_text: the numbers that decide it, or why it did not run.
        seconds: that its process took.
        command: that computes it again.
        figure: a PNG, or nothing.
        table: the names of the columns, and the first rows.
        num_rows: of the whole table.
    """

    name: str
    summary: str
    claim: str
    hypotheses: str
    source: str
    outcome: str
    outcome_text: str
    seconds: float = 0.0
    command: str = ""
    figure: bytes = b""
    table: tuple[tuple[str, ...], ...] = ()
    num_rows: int = 0


def symbol(outcome: str) -> str:
    """The sign of an outcome."""
    return _MARKS[outcome][0]


def page(results: Sequence[Result], facts: dict[str, Any]) -> str:
    """Write the page.

    Args:
        results: in the order in which they are shown.
        facts: of the whole run: `setting`, `seed`, `command`, `seconds`, versions.

    Returns:
        The HTML, UTF-8.
    """
    style = files("implicit_flow.cli").joinpath("report.css").read_text("utf-8")
    return "".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            "<title>implicit_flow: the laboratory</title>\n",
            f"<style>\n{style}</style>\n</head>\n<body>\n<main class=laboratory>\n",
            "<header>\n<p class=kicker>implicit_flow: the laboratory</p>\n",
            "<h1>Claims of the theory, and what came out</h1>\n",
            "<p>Each claim is an experiment: it is computed, drawn, and decided by its numbers, "
            "under the hypotheses that stand beside it. A claim that <em>fails</em> is an answer, "
            "with the instance on which it does.</p>\n",
            _counts(results),
            "</header>\n",
            _overview(results),
            *map(_entry, results),
            _reproduce(facts),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _tag(outcome: str) -> str:
    mark, words = _MARKS[outcome]
    return f'<span class="tag {outcome}"><span aria-hidden=true>{mark}</span> {words}</span>'


def _counts(results: Sequence[Result]) -> str:
    found = [result.outcome for result in results]
    shown = [
        f"<li>{_tag(outcome)} {found.count(outcome)}</li>"
        for outcome in (*experiments.OUTCOMES, NOT_RUN, WAITING)
        if outcome in found
    ]
    return f"<ul class=counts>{''.join(shown)}</ul>\n"


def _overview(results: Sequence[Result]) -> str:
    rows = "".join(
        f'<tr><td>{_tag(result.outcome)}</td><td><a href="#{_text(result.name)}">'
        f"{_text(result.name)}</a></td><td>{_text(result.summary)}</td>"
        f"<td class=number>{result.seconds:.0f} s</td></tr>\n"
        for result in results
    )
    return f"<nav aria-label=Overview>\n<table class=overview>\n{rows}</table>\n</nav>\n"


def _entry(result: Result) -> str:
    lines = [("Claim", result.claim), ("Under", result.hypotheses), ("Source", result.source)]
    stated = "".join(
        f"<tr><th scope=row>{name}</th><td>{_text(words)}</td></tr>\n" for name, words in lines
    )
    return (
        f'<section class=experiment id="{_text(result.name)}">\n'
        f"<p class=kicker>{_text(result.name)}</p>\n<h2>{_text(result.summary)}</h2>\n"
        f"<table class=facts>\n{stated}</table>\n"
        f'<div class="verdict {result.outcome}">\n{_tag(result.outcome)}\n'
        f"<p>{_text(result.outcome_text)}</p>\n</div>\n"
        f"{_figure(result)}{_table(result)}{_again(result)}</section>\n"
    )


def _figure(result: Result) -> str:
    if not result.figure:
        return ""
    data = base64.b64encode(result.figure).decode("ascii")
    words = _text(f"Figure of {result.name}: {result.summary} {result.outcome_text}")
    return (
        "<figure class=scroll tabindex=0>\n"
        f'<img src="data:image/png;base64,{data}" alt="{words}">\n</figure>\n'
    )


def _table(result: Result) -> str:
    if not result.table:
        return ""
    names, *rows = result.table
    head = "".join(f"<th scope=col>{_text(name.replace('_', ' '))}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(_cell(cell))}</td>" for cell in row) + "</tr>\n"
        for row in rows
    )
    more = result.num_rows - len(rows)
    note = f" {more} more rows in <code>{_text(result.name)}/table.csv</code>." if more > 0 else ""
    label = _text(f"Table of {result.name}")
    return (
        f'<div class=scroll tabindex=0 role=region aria-label="{label}">\n'
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>\n"
        + (f"<p class=note>{note.strip()}</p>\n" if note else "")
    )


def _cell(text: str) -> str:
    """A number in five digits; anything else as it is."""
    try:
        value = float(text)
    except ValueError:
        return text
    if math.isfinite(value) and value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.5g}"


def _again(result: Result) -> str:
    if not result.command:
        return f"<p class=note>{result.seconds:.0f} s.</p>\n" if result.seconds else ""
    folder = _text(result.name)
    links = ", ".join(
        f'<a href="{folder}/{name}">{words}</a>'
        for name, words in (
            ("figure.png", "figure"),
            ("table.csv", "table"),
            ("data.nc", "all numbers"),
            ("outcome.json", "outcome"),
        )
    )
    return (
        f"<p class=note>Again: <code>{_text(result.command)}</code> ({result.seconds:.0f} s). "
        f"Files: {links}.</p>\n"
    )


def _reproduce(facts: dict[str, Any]) -> str:
    rows = [
        ("command", facts["command"]),
        ("time taken", f"{facts['seconds']:.0f} s"),
        ("machine", f"{facts['platform']}, {facts['cores']} cores"),
        ("versions", f"implicit_flow {facts['implicit_flow']}, Python {facts['python']}"),
    ]
    lines = "".join(
        f"<tr><th scope=row>{name}</th><td><code>{_text(value)}</code></td></tr>\n"
        for name, value in rows
    )
    return (
        f"<section>\n<h2>How to reproduce</h2>\n<table class=facts>\n{lines}</table>\n</section>\n"
    )


def _text(words: str) -> str:
    return html.escape(words)
