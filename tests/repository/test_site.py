"""The pages are built without a warning, and every public name has its place on one of them."""

import ast
import os
import re
import subprocess
import sys
import zlib

import pytest


# On no page: not for users, or on a page of its own in words.
NO_PAGE = {"cli", "experiments", "linalg"}


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    """The folder that `mkdocs build --strict` fills."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = dict(os.environ, NO_MKDOCS_2_WARNING="1")
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return folder


def exports(sources):
    """`implicit_flow.part.name` for every class and function that a sub-package exports."""
    for file, text in sources.items():
        parts = file.split("/")
        if len(parts) != 3 or parts[2] != "__init__.py" or parts[1] in NO_PAGE:
            continue
        for node in ast.parse(text).body:
            # `from . import part` is a package, with a page of its own or none.
            if isinstance(node, ast.ImportFrom) and node.module:
                home = sources["/".join([*parts[:2], *node.module.split(".")]) + ".py"]
                definitions = {
                    definition.name
                    for definition in ast.parse(home).body
                    if isinstance(definition, ast.FunctionDef | ast.ClassDef)
                }
                exported = definitions & {alias.name for alias in node.names if alias.asname}
                yield from (f"implicit_flow.{parts[1]}.{name}" for name in exported)


def documented(site):
    """The names in the inventory of the site, one a line after four lines of head."""
    packed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    return {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}


def test_every_public_name_is_on_a_page(site, sources):
    assert sorted(set(exports(sources)) - documented(site)) == []


def test_examples_are_code(site):
    page = (site / "api" / "verbs.html").read_text("utf-8")
    assert "<blockquote" not in page
    assert "&gt;&gt;&gt;" in page


def test_nothing_comes_from_elsewhere(site):
    """No page asks another host for a script, a style, a font or a picture."""
    asked = re.compile(
        r'<(?:script|img|iframe)[^>]*src="https?://|<link[^>]*stylesheet[^>]*https?:'
    )
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    assert [page.name for page in pages if asked.search(page.read_text("utf-8"))] == []
