"""Bad input: one clear line on stderr, exit code 2, and nothing is written."""

import io
import pickle
import sys

import numpy as np
import pytest

from implicit_flow.cli import _job, _report


GOOD = np.array([np.eye(2), np.diag([1.0, 2.0])])


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def with_nan():
    stack = GOOD.copy()
    stack[1, 0, 0] = np.nan
    return stack


FILES = {
    "asymmetric.npz": (
        npz(stack=np.array([[[1.0, 2.0], [0.0, 1.0]]]), targets=[1.0]),
        "symmetric",
    ),
    "not_square.npz": (npz(stack=np.ones((2, 3, 4)), targets=[1.0, 1.0]), "shape"),
    "flat.npz": (npz(stack=np.ones((2, 2)), targets=[1.0, 1.0]), "shape"),
    "nan.npz": (npz(stack=with_nan(), targets=[1.0, 1.0]), "finite"),
    "inf.npz": (npz(stack=GOOD, targets=[1.0, np.inf]), "finite"),
    "short.npz": (npz(stack=GOOD, targets=[1.0]), "targets"),
    "none.npz": (npz(stack=np.ones((0, 2, 2)), targets=[]), ">= 1"),
    "lacking.npz": (npz(stack=GOOD), "targets"),
    "pickle.npz": (npz(stack=np.array([{}], dtype=object), targets=[1.0]), "pickle"),
    "bare.npz": (pickle.dumps([1, 2]), "npz"),
    "empty.npz": (b"", "empty"),
    "empty.csv": (b"", "empty"),
    "repeat.csv": (b"row,col,value\n0,1,2\n1,1,3\n0,1,2\n", "line 4"),
    "mirror.csv": (b"0,1,2\n1,0,3\n", "line 2"),
    "negative.csv": (b"0,0,1\n-1,0,1\n", "line 2"),
    "letters.csv": (b"0,0,1\n0,1,x\n", "line 2"),
    "nan.csv": (b"0,0,1\n0,1,nan\n", "line 2"),
    "text.txt": (b"0,0,1\n", ".csv"),
}


@pytest.fixture(autouse=True)
def _computes_nothing(monkeypatch):
    def walk(*_, **__):
        raise AssertionError("bad input reached the computation")

    monkeypatch.setattr(_job, "walk", walk)


def refused(result, *fragments):
    assert result.exit_code == 2, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ")
    for fragment in fragments:
        assert fragment in lines[0]
    assert result.stdout == ""


@pytest.mark.parametrize("name", FILES)
def test_files(name, run, tmp_path):
    content, fragment = FILES[name]
    (tmp_path / name).write_bytes(content)
    refused(run("limit", tmp_path / name, "--out", tmp_path / "out"), fragment)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_that_is_not_there(run, tmp_path):
    refused(run("limit", tmp_path / "no.npz"), "does not exist")


@pytest.mark.parametrize(
    ("alphas", "fragment"),
    [
        ("0", "positive"),
        ("-2,-4", "not its logarithm"),
        ("1e-2,x", "'x'"),
        ("", "empty"),
        ("1e-2,,1e-4", "empty"),
        ("1e-2,0.01", "twice"),
        ("nan", "finite"),
        ("inf", "finite"),
    ],
)
def test_alphas(alphas, fragment, run, tmp_path):
    refused(run("limit", "--alphas", alphas, "--out", tmp_path / "out"), "--alphas", fragment)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--tolerance", "-1"], "--tolerance"),
        (["--tolerance", "nan"], "--tolerance"),
        (["--rtol", "x"], "--rtol"),
        (["--rtol", "1e-30"], "reach of float64"),
        (["--rtol", "0"], "rtol"),
        (["--rtol", "nan"], "rtol"),
        (["--seed", "-1"], "--seed"),
        (["--seed", "1.5"], "--seed"),
        (["--problem", "nothing"], "--problem"),
        (["--rectangular"], "--rectangular"),
        (["--dim", "3"], "--dim"),
        (["--shape", "3,3"], "--shape"),
        (["--frobnicate"], "--frobnicate"),
    ],
)
def test_options(arguments, fragment, run, tmp_path):
    refused(run("limit", *arguments, "--out", tmp_path / "out"), fragment)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--problem", "hard"], "--problem"),
        (["--seed", "3"], "--seed"),
        (["--dim", "1"], "dim"),
        (["--shape", "4,4"], "shape"),
        (["--rectangular", "--dim", "4"], "dim"),
        (["--rectangular", "--shape", "4"], "--shape"),
        (["--rectangular", "--shape", "a,b"], "--shape"),
        (["--rectangular", "--shape", "1,1"], "shape"),
    ],
)
def test_options_with_a_file(arguments, fragment, run, tmp_path):
    path = tmp_path / "some.csv"
    path.write_text("0,0,1\n1,2,3\n")
    refused(run("limit", path, *arguments, "--out", tmp_path / "out"), fragment)


def test_an_unknown_command_is_one_line_with_a_suggestion(run):
    refused(run("limt"), "limt", "limit")


@pytest.mark.parametrize("package", ["matplotlib", "xarray"])
def test_a_missing_extra_is_named_before_anything_runs(package, run, monkeypatch, tmp_path):
    find = _report.importlib.util.find_spec
    monkeypatch.setattr(
        _report.importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    refused(run("limit", "--out", tmp_path / "out"), package, "pip install 'implicit_flow[")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    refused(run("limit", "--out", tmp_path / "out"), "exists", "--force")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_file_in_the_place_of_the_folder_is_kept_even_by_force(run, tmp_path):
    (tmp_path / "out").write_text("keep")
    refused(run("limit", "--force", "--out", tmp_path / "out"), "is a file")
    assert (tmp_path / "out").read_text() == "keep"


def test_a_folder_that_cannot_be_made(run, tmp_path):
    (tmp_path / "file").write_text("")
    refused(run("limit", "--out", tmp_path / "file" / "out"), "can be written")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc refuses on Linux only")
def test_a_folder_that_cannot_be_written(run):
    refused(run("limit", "--out", "/proc/out"), "can be written")
