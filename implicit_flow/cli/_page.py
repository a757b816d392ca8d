"""The report as one self-contained page: no network, no scripts."""

import base64
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from ._alphas import show_alpha
from ._figures import Picture
from ._proof import certificate, sentence, text
from ._table import COLUMNS, cells
from ._walk import Answer
from ._words import block_norm, headline, number, small


def page(answer: Answer, record: dict[str, Any], shown: Sequence[tuple[Picture, bytes]]) -> str:
    """Write the page.

    Args:
        answer: of the main job.
        record: what `result.json` holds.
        shown: the pictures, each with its SVG.

    Returns:
        The HTML, UTF-8.
    """
    kind = answer.limit.verdict.replace(" ", "-")
    against_time = [item for item in shown if item[0].name.startswith("path_")]
    against_alpha = [item for item in shown if item not in against_time]
    return "".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{text(answer.limit.verdict)}: {text(record['problem']['title'])}</title>\n",
            f"<style>\n{_style()}</style>\n</head>\n<body>\n<main>\n",
            "<header>\n<p class=kicker>implicit_flow: the limit of gradient flow as α → 0</p>\n",
            f"<h1>{text(record['problem']['title'])}</h1>\n",
            "<p>Gradient flow dU/dt = −A*(r)U on X = UUᵀ, with r = A(X) − y, starts at X₀ = α I. "
            "Where does it go as α → 0, and is that a solution of A(X) = y, X ⪰ 0 with the least "
            "nuclear norm?</p>\n</header>\n",
            f'<section class="verdict {kind}">\n<p class=tag>{text(answer.limit.verdict)}</p>\n',
            f"<h2>{text(headline(answer))}</h2>\n<p>{sentence(answer.limit.explanation)}</p>\n",
            _failures(answer),
            _facts(answer),
            "</section>\n",
            _table(answer),
            "<section>\n<h2>As α goes to zero</h2>\n",
            *(_figure(*item) for item in against_alpha),
            "</section>\n",
            _in_time(against_time),
            certificate(answer),
            _reproduce(record),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _style() -> str:
    return files("implicit_flow.cli").joinpath("report.css").read_text("utf-8")


def _failures(answer: Answer) -> str:
    if not answer.failed:
        return ""
    lines = "".join(f"<li>{sentence(line)}</li>" for line in answer.failed)
    return f"<p><strong>Not converged.</strong> Some rungs failed:</p>\n<ul>{lines}</ul>\n"


def _facts(answer: Answer) -> str:
    last = answer.rungs[-1]
    error = float(answer.limit.error_estimate)
    facts = [
        (f"nuclear norm at α = {show_alpha(last.log10_alpha)}", number(last.nuclear_norm, 6)),
        ("minimum is at least", number(answer.lower_bound, 6)),
        ("rank", str(last.rank)),
        ("misfit of the targets", small(last.residual_norm)),
        ("relative distance from the limit", f"≤ {small(error)}" if error < 1 else "unknown"),
    ]
    if answer.limit.verdict == "not minimal":
        better = float(answer.limit.certificate.upper_bound)
        facts.insert(2, ("another point that fits", f"≤ {number(better, 6)}"))
    inner = block_norm(answer)
    if inner is not None:
        facts.insert(1, ("nuclear norm of the rectangular W", number(inner, 6)))
    return (
        "<dl>\n"
        + "".join(f"<div><dt>{text(a)}</dt><dd>{text(b)}</dd></div>\n" for a, b in facts)
        + "</dl>\n"
    )


def _table(answer: Answer) -> str:
    head = "".join(f"<th scope=col>{text(name)}</th>" for name, _ in COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>\n"
        for row in cells(answer)
    )
    notes = "; ".join(f"<em>{text(name)}</em>: {text(note)}" for name, note in COLUMNS)
    return (
        "<section>\n<h2>The ladder</h2>\n"
        '<div class=scroll tabindex=0 role=region aria-label="The ladder">\n'
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n"
        f"<p class=note>{notes}.</p>\n</section>\n"
    )


def _figure(picture: Picture, svg: bytes) -> str:
    data = base64.b64encode(svg).decode("ascii")
    return (
        f"<figure>\n<h3>{text(picture.title)}</h3>\n"
        f'<img src="data:image/svg+xml;base64,{data}" alt="{text(picture.alternative)}">\n'
        f"<figcaption>{text(picture.caption)}</figcaption>\n</figure>\n"
    )


def _in_time(shown: Sequence[tuple[Picture, bytes]]) -> str:
    if not shown:
        return ""
    return (
        "<section>\n<h2>In time</h2>\n" + "".join(_figure(*item) for item in shown) + "</section>\n"
    )


def _reproduce(record: dict[str, Any]) -> str:
    problem = record["problem"]
    rows = [("command", record["command"])]
    rows += [
        (name, str(problem[name])) for name in ("kind", "seed", "file", "sha256") if name in problem
    ]
    rows += [("flow and solver", f"{record['flow']}, {record['solver']}")]
    rows += [("machine", record["platform"]), ("time taken", f"{record['seconds']:.1f} s")]
    names = ("implicit_flow", "python", "jax", "jaxlib", "diffrax", "numpy", "clarabel")
    rows += [("versions", ", ".join(f"{name} {record['versions'][name]}" for name in names))]
    lines = "".join(
        f"<tr><th scope=row>{text(name)}</th><td><code>{text(value)}</code></td></tr>\n"
        for name, value in rows
    )
    names = ", ".join(f"<code>{text(name)}</code>" for name in record["files"].values())
    return (
        f"<section>\n<h2>How to reproduce</h2>\n<table class=facts>\n{lines}</table>\n"
        f"<p class=note>Beside this page: {names}.</p>\n</section>\n"
    )
