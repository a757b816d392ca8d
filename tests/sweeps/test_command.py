"""`implicit-flow sweep`: run, dry run, status, plot, and every refusal in a line."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import xarray
from typer.testing import CliRunner

import implicit_flow as imf
from implicit_flow import sweeps
from implicit_flow.cli import _sweep, app
from implicit_flow.cli._measures import MEASURES
from implicit_flow.cli._study import flow_cost, read_study
from implicit_flow.sweeps._source import function_source


FUNCTION = """
import jax.numpy as jnp

def well(x, depth):
    return {"height": x ** (2 * depth) - x**2, "root": jnp.sqrt(x)}
"""
STUDY = """
[function]
file = "well.py"
name = "well"
static = ["depth"]

[axes]
x = {from = -1.0, to = 2.0, count = 7}
depth = {from = 1, to = 3}

[output]
store = "well.zarr"
chunk_size = 3
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "well.py").write_text(FUNCTION)
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def call(*arguments):
    return CliRunner().invoke(_sweep.app, [str(argument) for argument in arguments])


def test_run_status_plot(study, tmp_path):
    done = call(study)
    assert done.exit_code == 0, done.output
    ds = sweeps.load("well.zarr")
    x, depth = np.linspace(-1, 2, 7)[:, None], np.arange(1, 4)
    np.testing.assert_allclose(ds["height"], x ** (2 * depth) - x**2, rtol=1e-14, atol=1e-14)
    # The square root of -1 and of -1/2, at three depths.
    assert "21 of 21 cells done, 6 failed" in done.stdout
    assert "1 run, the last" in done.stdout
    assert "sweep: 21 of 21 cells (100%), 6 failed" in done.stderr
    found = call("status", "well.zarr")
    assert "6  not_finite" in found.stdout
    assert "15  successful" in found.stdout
    drawn = call("plot", "well.zarr", "--variable", "root", "--out", "pictures")
    assert drawn.exit_code == 0, drawn.output
    assert {file.name for file in (tmp_path / "pictures").iterdir()} == {
        "well-root-curves.png",
        "well-root-map.png",
    }
    # Again: nothing is left to do.
    again = call("run", study, "--quiet")
    assert again.exit_code == 0
    assert again.stderr == ""
    assert "1 run," in again.stdout


def test_dry_run_writes_nothing(study, tmp_path):
    found = call(study, "--dry-run", "--threads", "2")
    assert found.exit_code == 0, found.output
    assert "7 x x 3 depth (static) = 21 cells, 3 compilations" in found.stdout
    assert "9 of up to 3 cells" in found.stdout
    assert "1 x cpu (cpu), 2 host threads, cells by Loop()" in found.stdout
    assert "s a cell (12 timed), about 0:0" in found.stdout
    assert "well.zarr (new)" in found.stdout
    assert not (tmp_path / "well.zarr").exists()
    # Options may come before the file.
    assert call("--dry-run", study).exit_code == 0


def test_cells_that_cost_less_than_their_chunk_are_timed_together():
    found = sweeps.estimate(lambda x: {"y": 2 * x}, {"x": range(100_000)}, chunk_size=50_000)
    assert found.cells_timed > 1000


def test_another_study_is_refused_with_the_difference_line_by_line(study, tmp_path):
    assert call(study, "--quiet").exit_code == 0
    (tmp_path / "well.py").write_text(FUNCTION.replace("- x**2", "- x**3"))
    refused = call(study)
    assert refused.exit_code == 2
    lines = refused.stderr.splitlines()
    assert '    -    return {"height": x ** (2 * depth) - x**2, "root": jnp.sqrt(x)}' in lines
    assert '    +    return {"height": x ** (2 * depth) - x**3, "root": jnp.sqrt(x)}' in lines
    assert call(study, "--force-resume").exit_code == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[axes]", "[axis]"), "`STUDY` must hold only problem, flow, function, axes, output"),
        (("[axes]", "[function.axes]"), "`STUDY` must have a section [axes]"),
        (("[function]\nfile", '[problem]\nkind = "x"\n[function]\nfile'), "either [problem] or"),
        (("count = 7", "number = 7"), "`[axes] x` must hold only from, to, count, spacing"),
        ((", count = 7", ""), "`[axes] x` must have a `count`"),
        (("count = 7", 'count = 7, spacing = "log"'), "positive for a logarithmic spacing"),
        (("count = 7", 'count = 7, spacing = "cubic"'), 'spacing of "linear" or "log"'),
        (("{from = -1.0, to = 2.0, count = 7}", "3.0"), "be a list, or a table"),
        (("count = 7", "count = -2"), "`[axes] x` must have a count from 1"),
        (("count = 7", "count = 2.5"), "`[axes] x` must have a count from 1"),
        (("from = -1.0", 'from = "a"'), "`[axes] x` must have numbers as `from` and `to`"),
        (("from = -1.0", "from = true"), "`[axes] x` must have numbers as `from` and `to`"),
        (("-1.0, to = 2.0, count = 7", "0, to = 100000000000"), "must have at most 100,000,000"),
        (('"well.zarr"', "3"), "`[output] store` must be a path in quotes"),
        (('"well.py"', '"hill.py"'), "`[function] file` must be a Python file"),
        (('"well"', '"hill"'), "`[function] name` must be a function of well.py"),
        (("chunk_size = 3", "chunk = 3"), "`[output]` must hold only store, chunk_size"),
        (('"well.py"', "5"), "`[function] file` must be in quotes"),
        (('["depth"]', "5"), "`[function] static` must be a list of names of axes"),
        (("[axes]", "[flow]\nrtol = 1\n[axes]"), "have no [flow] beside [function]"),
        (("chunk_size = 3", "variables = []"), "have no [output] variables beside [function]"),
        (("[axes]", "[axes"), "must be a TOML file"),
    ],
)
def test_mistakes_in_the_file(study, change, message):
    study.write_text(STUDY.replace(*change))
    with pytest.raises(ValueError, match=r"^Argument") as caught:
        read_study(study)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("problem", "flow", "axes", "message"),
    [
        ('kind = "sensing"', "", "seed = [0]", "`[problem] kind` must be one of commuting_sensing"),
        ('kind = "single_measurement"\nrank = 2', "", "seed = [0]", "`[problem]` must hold only"),
        ('kind = "single_measurement"', 'kind = "Flow"', "seed = [0]", "`[flow] kind` must be one"),
        ('kind = "single_measurement"', "depth = 2", "seed = [0]", "`[flow]` must hold only"),
        ('kind = "single_measurement"', "", "size = [0]", "`[axes]` must hold only"),
        ('kind = "gaussian_sensing"\nrank = 1', "", "seed = [0]", "`[problem]` must have `dim`"),
        ('kind = "single_measurement"\nkey = 3', "", "seed = [0]", "`[problem]` must hold only"),
        ('kind = "single_measurement"', "", "seed = [0.5]", "`[axes] seed` must be an integer"),
        ('kind = "single_measurement"', 'kind = "MirrorFlow"', "seed = [0]", "must be one of Deep"),
        (
            'kind = "single_measurement"\n[output]\nvariables = 5',
            "",
            "seed = [0]",
            "`[output] variables` must be a list",
        ),
        (
            'file = "a.npz"\n[output]\nvariables = ["truth_error"]',
            "",
            "seed = [0]",
            "a problem of a file has no planted X",
        ),
    ],
)
def test_mistakes_in_a_study_of_flows(tmp_path, problem, flow, axes, message):
    study = tmp_path / "study.toml"
    study.write_text(f"[problem]\n{problem}\n[flow]\n{flow}\n[axes]\n{axes}\n")
    with pytest.raises(ValueError, match=r"^Argument") as caught:
        read_study(study)
    assert message in str(caught.value)


def test_a_file_lies_beside_the_study(tmp_path, monkeypatch):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "ratings.csv").write_text("0,0,1.0\n0,1,0.5\n1,2,0.3\n")
    study = folder / "study.toml"
    study.write_text(
        '[problem]\nfile = "ratings.csv"\nrectangular = true\nshape = [3, 4]\n'
        '[axes]\nlog10_alpha = [-2]\n[output]\nvariables = ["X"]\n'
    )
    monkeypatch.chdir(tmp_path)
    read = read_study(study)
    texts = [function_source(read.function)]
    # The embedding of a 3 x 4 matrix.
    found = jax.eval_shape(lambda log10_alpha: read.function(log10_alpha=log10_alpha), -2.0)
    assert found["X"].shape == (7, 7)
    # It is the same study from everywhere.
    monkeypatch.chdir(folder)
    texts.append(function_source(read_study(Path("study.toml")).function))
    assert texts[0] == texts[1]
    assert "ratings.csv" in texts[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("file = 5", r"`\[problem\] file` must be a path in quotes, but is 5"),
        ('file = "none.csv"', r"`path` must name a file, but .*none.csv does not exist"),
        (
            'file = "ratings.csv"\nshape = [0, 1]\nrectangular = true',
            r"`shape\[0\]` must be at least 1",
        ),
    ],
)
def test_mistakes_in_a_problem_of_a_file(tmp_path, line, message):
    (tmp_path / "ratings.csv").write_text("0,0,1.0\n")
    study = tmp_path / "study.toml"
    study.write_text(f"[problem]\n{line}\n[axes]\nlog10_alpha = [-2]\n")
    with pytest.raises(ValueError, match=message):
        read_study(study).function(log10_alpha=-2.0)


def test_counts_between_integers_are_integers(tmp_path):
    study = tmp_path / "study.toml"
    ranges = "seed = {from = 0, to = 3, count = 4}\nlog10_alpha = {from = -1, to = -3, count = 3}"
    problem = 'kind = "gaussian_sensing"\ndim = 2\nrank = 1\nnum_measurements = 2'
    study.write_text(f"[problem]\n{problem}\n[axes]\n{ranges}\n")
    axes = read_study(study).axes
    assert axes["seed"].values.dtype == np.int64
    assert axes["log10_alpha"].values.dtype == np.float64


def test_a_file_of_the_users_is_imported_as_any_and_its_faults_are_told(study, tmp_path):
    (tmp_path / "beside.py").write_text("def twice(x):\n    return 2 * x\n")
    lines = ["from __future__ import annotations", "import dataclasses", "import beside", "",
             "@dataclasses.dataclass", "class Point:", "    x: float", ""]  # fmt: skip
    good = [*lines, "def well(x, depth):", "    return {'y': beside.twice(Point(x).x)}"]
    (tmp_path / "well.py").write_text("\n".join(good))
    assert call(study).exit_code == 0
    (tmp_path / "well.py").write_text("def well(x, depth):\n    return {'y': x @ depth}")
    told = call(study, "--store", "other.zarr")
    assert "well.py raises ValueError: matmul" in str(told.exception)
    (tmp_path / "well.py").write_text("def well(x, width):\n    return {'y': x}")
    told = call(study, "--store", "other.zarr")
    assert told.exit_code == 2
    assert told.stderr.startswith("Error: Argument `function` must take the axes x, depth")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (("host:1", "2", "2"), "--process` must lie in 0 ... 1"),
        (("host:1", "0", "0"), "--processes` must be 1 at least"),
        (("host", "2", "1"), "--coordinator` must be HOST:PORT"),
    ],
)
def test_processes_that_cannot_meet(study, told, message):
    coordinator, processes, process = told
    options = ("--coordinator", coordinator, "--processes", processes, "--process", process)
    found = call(study, *options)
    assert isinstance(found.exception, ValueError)
    assert message in str(found.exception)


def test_a_study_of_flows(tmp_path, monkeypatch):
    """Hadamard flow on nonnegative least squares: the end depends on every section."""
    monkeypatch.chdir(tmp_path)
    study = tmp_path / "nonnegative.toml"
    study.write_text(
        """
        [problem]
        kind = "nonnegative_least_squares"
        dim = 4
        num_measurements = 2
        [flow]
        kind = "HadamardFlow"
        rtol = 1e-3
        [axes]
        alpha = {from = 1e-1, to = 1e-3, count = 3, spacing = "log"}
        seed = {from = 3, to = 4}
        [output]
        variables = ["residual_norm", "nuclear_norm", "truth_error"]
        """
    )
    ran = call(study, "--quiet")
    assert ran.exit_code == 0, ran.output
    ds = sweeps.load("runs/nonnegative.zarr")
    np.testing.assert_allclose(ds["alpha"], [1e-1, 1e-2, 1e-3], rtol=1e-14)
    assert ds["seed"].values.tolist() == [3, 4]
    assert not sweeps.failed(ds).any()
    # Every cell fits its own targets, and no two cells end at one point.
    assert np.all(ds["residual_norm"].values < 1e-2)
    assert np.unique(ds["nuclear_norm"].values).size == 6
    assert set(ds.data_vars) == {
        "residual_norm", "nuclear_norm", "truth_error", "result", "seconds", "attempt",
    }  # fmt: skip


def test_smaller_starts_are_expected_to_cost_more():
    """On a scale of its own, whichever way the start is given."""
    costs = [flow_cost(log10_alpha=exponent, seed=3) for exponent in (0.0, -1.0, -12.0, -300.0)]
    assert sorted(costs) == costs
    assert costs[0] > 0
    assert flow_cost(alpha=1e-12) == pytest.approx(costs[2], rel=1e-12)
    assert flow_cost(seed=1) == flow_cost(seed=2) > 0


def test_the_gap_is_a_bound_whatever_the_dual_and_sharp_at_the_minimum():
    """Against the convex solver; the dual is drawn at random, and is worth nothing."""
    problem = imf.problems.gaussian_sensing(6, 1, 12, key=jax.random.key(2))
    least = imf.convex.min_nuclear_norm(problem)
    dual = jax.random.normal(jax.random.key(3), (12,))
    measure = jax.jit(lambda X: MEASURES["gap"].of(problem, SimpleNamespace(X=X, dual=dual)))
    # The solver's point is exact to 1e-10, so is its range, and the fit with it.
    assert 0 < measure(least.X) < 1e-6
    # The planted point fits too, and is 2% above: so are the points between in proportion.
    assert problem.ground_truth is not None
    for share in (0.01, 1.0):
        X = (1 - share) * least.X + share * problem.ground_truth
        excess = float(jax.numpy.trace(X)) / least.value - 1
        assert excess > 2e-2 * share
        assert measure(X) >= excess * (1 - 1e-7)


def test_processes_meet_as_told_or_as_slurm_tells(study, monkeypatch):
    met = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given: met.append(given))
    options = ("--coordinator", "node1:1234", "--processes", "2", "--process", "1")
    assert call(study, "--dry-run", *options).exit_code == 0
    assert met.pop() == ("node1:1234", 2, 1)
    refused = call(study, "--processes", "2")
    assert refused.exit_code != 0
    assert "Give all three, or none" in str(refused.exception)
    # A step of two tasks started by `srun`; one task, or the batch script itself, is no company.
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    assert call(study, "--dry-run").exit_code == 0
    assert met.pop() == ()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert call(study, "--dry-run").exit_code == 0
    assert met == []


@pytest.mark.long
def test_two_processes_on_one_machine_share_a_study(study):
    """The two commands of the page on sweeps, against one process that does it all."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-c", "from implicit_flow.cli import main; main()", "sweep", "study.toml",
        "--coordinator", f"localhost:{port}", "--processes", "2", "--process",
    ]  # fmt: skip
    pair = [
        subprocess.Popen(
            [*command, str(process)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        for process in range(2)
    ]
    for number, process in enumerate(pair, 1):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert f"process {number} of 2 has done its share" in out
    status = sweeps.status("well.zarr")
    assert (status.done, status.damaged) == (21, 0)
    assert {run["process"] for run in status.runs} == {0, 1}
    # Each did some, and none did what the other did.
    assert np.all(sweeps.load("well.zarr")["attempt"] == 1)
    alone = call(study, "--quiet", "--store", "alone.zarr")
    assert alone.exit_code == 0, alone.output
    both, one = (sweeps.load(name).load() for name in ("well.zarr", "alone.zarr"))
    xarray.testing.assert_identical(
        both.drop_vars(["seconds", "attempt"]), one.drop_vars(["seconds", "attempt"])
    )


def test_a_schedulers_terminate_is_an_interruption(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slow.py").write_text(
        "import jax.numpy as jnp\nfrom jax import lax\n"
        "def slow(x):\n"
        "    return lax.fori_loop(0, 3_000_000, lambda _, v: jnp.sin(v) + x, x)\n"
    )
    study = tmp_path / "study.toml"
    study.write_text(
        '[function]\nfile = "slow.py"\nname = "slow"\n[axes]\n'
        'x = {from = 0.0, to = 1.0, count = 400}\n[output]\nstore = "s.zarr"\nchunk_size = 1\n'
    )

    def terminate():
        while len(list(tmp_path.glob("s.zarr/.sweep/done/*"))) < 3:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate, daemon=True).start()
    stopped = call(study, "--quiet")
    assert stopped.exit_code == 130
    assert "Interrupted." in stopped.stderr
    assert "run the same call (or command) again" in stopped.stderr
    assert 3 <= sweeps.status("s.zarr").done < 400


def test_without_arguments_it_tells_what_there_is():
    found = CliRunner().invoke(app, ["sweep"])
    assert "Error" not in found.output
    assert found.output.count("Usage:") == 1


def test_no_such_store_or_study(tmp_path):
    for arguments in (("status", tmp_path / "none.zarr"), (tmp_path / "none.toml",)):
        result = call(*arguments)
        assert isinstance(result.exception, ValueError)
        assert "there is no" in str(result.exception)
