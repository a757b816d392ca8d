"""The code in the documents runs, page by page, from top to bottom."""

import pathlib
import re

import jax
import pytest


ROOT = pathlib.Path(__file__).parents[2]
BLOCK = re.compile(r"^( *)```python[^\n]*\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def _as_users_run_it(bounded_memory):
    """With the settings that JAX starts with."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def blocks(text):
    """(line, code) of each block of Python."""
    for match in BLOCK.finditer(text):
        indent, code = match.groups()
        line = text.count("\n", 0, match.start(2)) + 1
        yield line, "".join(row.removeprefix(indent) for row in code.splitlines(keepends=True))


def run(name, text):
    """Run a page: its blocks are one program. A block that fails is named by its line."""
    names = {"__name__": "__main__"}
    for line, code in blocks(text):
        program = compile("\n" * (line - 1) + code, name, "exec")
        exec(program, names)


PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
PAGES = [page for page in PAGES if any(blocks((ROOT / page).read_text("utf-8")))]
# What newcomers read, and the abstract classes. The others run among the long tests.
FIRST = {"README.md", "docs/quick_start.md", "docs/sharp_bits.md", "docs/write_your_own.md"}


@pytest.mark.parametrize(
    "page",
    [page if page in FIRST else pytest.param(page, marks=pytest.mark.long) for page in PAGES],
)
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(page, (ROOT / page).read_text("utf-8"))


def test_a_block_that_fails_is_found():
    text = "Text\n\n```python\nx = 1\n```\n\n- item\n\n    ```python\n    assert x == 2\n    ```\n"
    assert [line for line, _ in blocks(text)] == [4, 10]
    with pytest.raises(AssertionError):
        run("page.md", text)


def test_links_between_pages_lead_somewhere():
    """Relative links of the documents name files that there are."""
    dead = []
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" not in target and not (path.parent / target).exists():
                dead.append(f"{path.relative_to(ROOT)}: {target}")
    assert dead == []
