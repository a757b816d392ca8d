"""Every notebook runs from top to bottom, and ends in an assertion of its claim."""

import ast
import pathlib

import jax
import jupytext
import matplotlib.pyplot as plt
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.py"))
# A cell that takes longer hangs.
SECONDS = 1800


def execute(notebook, folder):
    """Run all cells in a kernel of their own, as Jupyter does."""
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute()


def read(name):
    return jupytext.read(ROOT / "notebooks" / name)


def last_code(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"][-1]


# The main job. The others tell of what has tests of its own: counterexamples, sweeps, networks.
FIRST = ("00_quickstart.py",)


@pytest.mark.parametrize(
    "name",
    [name if name in FIRST else pytest.param(name, marks=pytest.mark.long) for name in NOTEBOOKS],
)
def test_notebook(name, tmp_path, monkeypatch):
    """With fewer alphas and seeds, which a notebook that would take long reads off FAST.

    In this process, whose programs are compiled; the long test below has a kernel.
    """
    monkeypatch.setenv("FAST", "1")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for number, cell in enumerate(read(name).cells):
            if cell.cell_type == "code":
                exec(compile(cell.source, f"{name}, cell {number}", "exec"), names)
    plt.close("all")


@pytest.mark.long
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_whole_notebook(name, tmp_path, monkeypatch):
    monkeypatch.delenv("FAST", raising=False)
    execute(read(name), tmp_path)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_ends_in_its_claim(name):
    notebook = read(name)
    assert notebook.cells[0].source.startswith("# "), "begins with a title"
    assert all(cell.source.strip() for cell in notebook.cells), "has an empty cell"
    tree = ast.parse(last_code(notebook))
    assert any(isinstance(node, ast.Assert) for node in tree.body)


def test_a_notebook_whose_claim_fails_is_found(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("assert 1 + 1 == 3")])
    with pytest.raises(CellExecutionError, match="AssertionError"):
        execute(notebook, tmp_path)
