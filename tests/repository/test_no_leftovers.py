"""Nothing is left behind: no machine's paths, open ends, prints or swallowed errors."""

import ast
import re

import pytest


# In pieces, so that this file does not find itself.
MACHINE = re.compile(
    r"(?<![\w.~<])/(?:" + "|".join(["ro" + "ot", "ho" + "me", "wo" + "rk", "Us" + "ers"]) + r")/\w"
)
OPEN_END = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b(?!\(#\d+\))")
TEXT = (".py", ".md", ".toml", ".yml", ".yaml", ".json", ".txt", ".cff", ".cfg", ".css", ".html")


def leftovers(name, text):
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if MACHINE.search(line):
            found.append(f"{name}:{number}: the path of a machine")
        if OPEN_END.search(line):
            found.append(f"{name}:{number}: an open end without the number of an issue")
    return found


def habits(name, text):
    """What the library itself must not do."""
    found = []
    for node in ast.walk(ast.parse(text)):
        place = f"{name}:{getattr(node, 'lineno', 0)}"
        called = getattr(getattr(node, "func", None), "id", None)
        if isinstance(node, ast.Call) and called == "print":
            found.append(f"{place}: prints")
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            silent = all(
                isinstance(s, ast.Pass | ast.Continue)
                or (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))
                for s in node.body
            )
            if broad and silent:
                found.append(f"{place}: swallows every error")
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            names = {ast.unparse(argument) for argument in node.args}
            if names & {"Exception", "BaseException", "ImportError"}:
                found.append(f"{place}: swallows every error")
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            found.append(f"{place}: stringified annotations cannot be checked")
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            found.append(f"{place}: imports everything")
    return found


def test_no_leftovers(root, files):
    found = []
    for name in files:
        if name.endswith(TEXT) or "." not in name.rsplit("/", 1)[-1]:
            found += leftovers(name, (root / name).read_text(encoding="utf-8"))
    assert found == []


def test_habits(sources):
    found = []
    for name, text in sources.items():
        found += habits(name, text)
    assert found == []


@pytest.mark.parametrize(
    "line",
    ["x = '/ro" + "ot/data'", "see /wo" + "rk/notes", "# TO" + "DO: later", "# FIX" + "ME(me)"],
)
def test_a_planted_leftover_is_found(line):
    assert len(leftovers("x.py", line)) == 1


def test_what_is_no_leftover():
    fine = "# TO" + "DO(#12): later\nhttps://host/ho" + "me/page\n~/wo" + "rk/x\na/ro" + "ot/b"
    assert leftovers("x.py", fine) == []


@pytest.mark.parametrize(
    "text",
    [
        "print(1)",
        # Text that is searched, and nothing that runs.
        "try:\n    f()\nexcept Exception:\n    pass",
        "try:\n    f()\nexcept:\n    ...",
        "with contextlib.suppress(ImportError):\n    import x",
        "from __future__ import annotations",
        "from .x import *",
    ],
)
def test_a_planted_habit_is_found(text):
    assert len(habits("x.py", text)) == 1
