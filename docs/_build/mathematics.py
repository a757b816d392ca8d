"""Turns the formulas of a page into MathML while the site is built.

A hook of MkDocs. `pymdownx.arithmatex` finds the formulas and leaves their LaTeX in the page; this
replaces it by what every current browser draws by itself, with no script and no network.
"""

import html
import re

from latex2mathml.converter import convert


_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([\[(])(.*?)\\[\])]</\1>', re.S)
_LETTER = re.compile(r'<mi mathvariant="(double-struck|script|bold)">(.)</mi>')
_FAMILIES = {
    "double-struck": {"R": "ℝ", "N": "ℕ", "E": "𝔼", "S": "𝕊"},
    "script": {"A": "𝒜", "L": "ℒ", "O": "𝒪"},
    "bold": {"1": "𝟏"},
}


def on_page_content(content: str, **_: object) -> str:
    """Replace every formula of a page.

    Args:
        content: the body of the page, in HTML.

    Returns:
        The same with MathML.
    """
    return _FORMULA.sub(
        lambda found: mathml(html.unescape(found[3]), block=found[2] == "["), content
    )


def mathml(latex: str, *, block: bool) -> str:
    """One formula.

    Args:
        latex: its source.
        block: whether it stands on a line of its own.

    Returns:
        A `math` element.

    Raises:
        ValueError: a command that would be left as it is in the page.
    """
    element = convert(latex.strip(), display="block" if block else "inline")
    # Browsers draw letters of these families only where the letter itself says so.
    element = _LETTER.sub(lambda found: f"<mi>{_FAMILIES[found[1]][found[2]]}</mi>", element)
    if "\\" in element or "&#x0005C;" in element:
        raise ValueError(f"This formula has a command that cannot be drawn: {latex}")
    return element
