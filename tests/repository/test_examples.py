"""Every example in a docstring runs, and gives what it says."""

import ast
import contextlib
import doctest
import importlib
import io
import pathlib
import subprocess
import sys

import jax
import pytest


ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "implicit_flow"


# Examples that use names of their module, which a reader does not have: meant to empty.
BORROWING = {"implicit_flow/networks/_path_norm.py", "implicit_flow/sweeps/_progress.py"}


@pytest.fixture(autouse=True)
def _as_users_run_it():
    """A reader who types an example in has the settings that JAX starts with, and float64."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
    plt = sys.modules.get("matplotlib.pyplot")
    if plt is not None:
        plt.close("all")


def with_examples():
    """Files of the package with examples. Read off the text: importing all of it takes seconds."""
    paths = sorted(path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text("utf-8"))
    names = [str(path.relative_to(ROOT)) for path in paths]
    listing = subprocess.run(["git", "ls-files", *names], cwd=ROOT, capture_output=True, text=True)
    tracked = set(listing.stdout.split()) if listing.returncode == 0 else set()
    return [name for name in names if name in tracked or not tracked]


def module_of(name):
    return name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def examples(name, text, *, borrow=False):
    """One test a docstring. Read off the sources: checked functions hide where they came from."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            docstring = ast.get_docstring(node) or ""
            if ">>> " in docstring:
                borrowed = vars(importlib.import_module(module_of(name))) if borrow else {}
                title = getattr(node, "name", "module")
                line = getattr(node, "lineno", 1)
                yield doctest.DocTestParser().get_doctest(
                    docstring, dict(borrowed), title, name, line
                )


def failures(name, text):
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    said = io.StringIO()
    for example in examples(name, text, borrow=name in BORROWING):
        with contextlib.redirect_stderr(io.StringIO()):
            runner.run(example, out=said.write)
    return said.getvalue()


@pytest.mark.parametrize("name", with_examples())
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = failures(name, (ROOT / name).read_text("utf-8"))
    assert said == "", said


def test_a_planted_failure_is_found():
    wrong = 'def f():\n    """f.\n\n    >>> 1 + 1\n    3\n    """\n'
    assert "Expected:\n    3" in failures("x.py", wrong)
    broken = 'class A:\n    """A.\n\n    >>> raise ValueError("no")\n    """\n'
    assert "ValueError: no" in failures("x.py", broken)
