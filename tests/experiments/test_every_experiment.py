"""Every module of experiments keeps what their page promises, and runs from the command line."""

import functools
import importlib.util
import inspect
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray
from lost_numbers import check_lost_numbers
from typer.testing import CliRunner

from implicit_flow import experiments
from implicit_flow.cli import app


NAMES = experiments.names()


@pytest.fixture(autouse=True)
def _as_users_run_it(bounded_memory):
    # For all threads: the command line runs an experiment in one of its own.
    changes = {"jax_numpy_dtype_promotion": "standard", "jax_numpy_rank_promotion": "allow"}
    before = {name: getattr(jax.config, name) for name in changes}
    for name, value in changes.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def command(*arguments):
    return CliRunner().invoke(app, ["experiments", *map(str, arguments)])


def check_of(name):
    """What `claims/NAME.py` holds the numbers of an experiment to: theorems, and the oracles."""
    file = Path(__file__).parent / "claims" / f"{name.replace('-', '_')}.py"
    assert file.is_file(), f"{name} has no tests/experiments/claims/{file.name}"
    spec = importlib.util.spec_from_file_location(f"claims_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.check


def is_drawn(axis):
    return bool(axis.lines or axis.images or axis.collections or axis.patches)


@pytest.mark.parametrize("name", NAMES)
def test_a_module_offers_what_the_page_says(name):
    module = experiments.load(name)
    assert getattr(experiments, name.replace("-", "_")) is module
    assert 20 < len(experiments.summary(name)) <= 100
    for fact in (module.CLAIM, module.HYPOTHESES, module.SOURCE):
        assert isinstance(fact, str)
        assert fact.endswith(".")
    # What the list and the pages read without importing the module.
    assert experiments.facts(name) == {
        "summary": module.__doc__.partition("\n")[0],
        "claim": module.CLAIM,
        "hypotheses": module.HYPOTHESES,
        "source": module.SOURCE,
    }
    assert list(module.SETTINGS) == ["tiny", "quick", "full"]
    parameters = inspect.signature(module.run).parameters
    assert parameters["setting"].default == "quick"
    assert parameters["seed"].default == 0
    kinds = {parameter.kind for parameter in parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    assert all(p.default is not p.empty for p in parameters.values())
    # What is said to be a number of any kind is not held to whole ones.
    for parameter in parameters.values():
        if parameter.name in module.SETTINGS["tiny"] and "float" in str(parameter.annotation):
            values = np.concatenate([np.ravel(s[parameter.name]) for s in module.SETTINGS.values()])
            assert values.dtype == float, parameter.name


@pytest.mark.parametrize("name", NAMES)
def test_the_tiny_setting_runs_from_the_command_line(name, tmp_path, monkeypatch):
    folder = tmp_path / "results"
    module, drawn = experiments.load(name), []
    plot = module.plot
    # A figure takes a second: it is drawn once, by the command.
    monkeypatch.setattr(module, "plot", lambda ds: drawn.append(plot(ds)) or drawn[-1])
    done = command("run", name, "--setting", "tiny", "--out", folder)
    assert done.exit_code == 0, done.output
    facts = json.loads((folder / "outcome.json").read_text("utf-8"))
    assert facts["outcome"] in experiments.OUTCOMES
    assert len(facts["outcome_text"]) > 20
    assert f"Outcome: {facts['outcome']}. {facts['outcome_text']}" in done.output
    assert facts["setting"] == "tiny"
    assert facts["command"].startswith(f"implicit-flow experiments run {name} --setting tiny")
    with xarray.open_dataset(folder / "data.nc", engine="scipy") as ds:
        for fact in ("claim", "hypotheses", "source"):
            assert ds.attrs[fact] == facts[fact] == getattr(module, fact.upper())
        ds.load()
    check_of(name)(ds)
    single = {"single": False} if name == "path-sgd-feedforward" else {}
    check_lost_numbers(name, functools.partial(module._outcome, **single), ds)
    (figure,) = drawn
    assert figure.axes
    assert all(is_drawn(axis) for axis in figure.axes)
    assert (folder / "figure.png").stat().st_size > 1000
    assert len((folder / "table.csv").read_text("utf-8").splitlines()) > 1
    # What is there stays, unless it is to be replaced.
    before = (folder / "outcome.json").read_bytes()
    again = command("run", name, "--setting", "tiny", "--out", folder)
    assert again.exit_code != 0
    assert "--force" in again.stderr
    assert (folder / "outcome.json").read_bytes() == before


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_the_quick_setting_keeps_the_claim_to_its_numbers(name, tmp_path):
    """And what was stored can be drawn."""
    module = experiments.load(name)
    ds = module.run(setting="quick")
    check_of(name)(ds)
    ds.to_netcdf(tmp_path / "data.nc", engine="scipy")
    with xarray.open_dataset(tmp_path / "data.nc", engine="scipy") as stored:
        assert all(is_drawn(axis) for axis in module.plot(stored.load()).axes)


def test_list_names_all_and_imports_none():
    program = """
import sys
from implicit_flow.cli import app
try:
    app(["experiments", "list"])
except SystemExit as end:
    assert not end.code
assert not {"jax", "numpy", "matplotlib", "xarray"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(NAMES)
    assert all(line.endswith(experiments.summary(line.split()[0])) for line in lines)


def test_refusals(tmp_path):
    for arguments, said in (
        (("path-sgd-rn",), "Did you mean `path-sgd-rnn`"),
        (("zzz",), "`implicit-flow experiments list` shows all of them"),
        (("network-size", "--set", "seedz=2"), "Did you mean seeds?"),
        (("network-size", "--set", "width"), "be NAME=VALUE"),
        (("network-size", "--quick", "--full"), "be given once"),
        (("network-size", "--set", "seeds=0"), "`seeds` must be at least 1, but is 0"),
        (("network-size", "--set", "seeds=1.5"), "`seeds` must be an integer, but is 1.5"),
        (("network-size", "--set", "widths=(8, 0)"), "hold at least 1, but is (8, 0)"),
        (("network-size", "--set", "widths=wide"), "`widths` must be an integer, but is 'wide'"),
        (("network-size", "--set", "widths=()"), "hold at least one value"),
        (("network-size", "--set", "data=digit"), "be digits, mnist or cifar10"),
        (("network-size", "--set", "data=mnist"), "name the folder with mnist"),
        (("network-size", "--set", "data_dir=here"), "`data_dir` must be left out with digits"),
        (("path-sgd-rnn", "--set", "task=words"), "be adding, digits, mnist or text, but is"),
        (("path-sgd-rnn", "--set", "task=text"), "`data_dir` must name the folder with text"),
        (("path-sgd-rnn", "--set", "data_dir=here"), "must be left out with adding"),
        (("network-size", "--seed", "-1"), "`--seed` must be at least 0, but is -1"),
        (("network-size", "--seed", f"{2**31}"), "`--seed` must lie between 0 and 2^31 - 1"),
        (("network-size", "--set", "seeds=1000000000000"), "must be at most 100,000,000"),
        (("norms-diverge", "--set", "log10_times=(4, 13)"), "`log10_times` must hold at most 12"),
        (("kernel-and-rich", "--set", "log10_alphas=11"), "must hold at most 10, but is (11,)"),
        (("path-norm-rescaling", "--set", "log10_factors=200"), "must hold at most 50"),
        (("recovery", "--set", "ratios=1e13"), "`ratios` must hold at most 100"),
        (("crazy-steering", "--set", "dims=()"), "`dims` must hold at least one value"),
        (("deep-factorization", "--set", "log10_alpha=5"), "`log10_alpha` must lie in -8 ... 0"),
        (("path-sgd-feedforward", "--set", "dropouts=(0.5,1.0)"), "at least 0 and less than 1"),
        ((), "`NAME` must be given, unless --all is"),
        (("network-size", "--all"), "`NAME` must be left out with --all"),
        (("--all", "--set", "seeds=2"), "`--set` must belong to one experiment"),
        (("network-size", "--jobs", "2"), "`--jobs` must come with --all"),
        (("--all", "--jobs", "0"), "`--jobs` must be at least 1, but is 0"),
        (("--all", "--out", __file__), "name a folder, but"),
        (("--all", "--out", str(Path(__file__).parent)), "name a folder that does not exist yet"),
    ):
        # An option that is given twice counts the last time: refused or not, nothing lands here.
        done = command("run", "--out", tmp_path / "out", *arguments)
        assert done.exit_code == 2, done.output
        assert said in " ".join(done.stderr.split())
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(AttributeError, match="has no attribute 'path_sgd_rn'"):
        experiments.path_sgd_rn  # noqa: B018
    with pytest.raises(ValueError, match="one of holds, fails, undecided"):
        experiments.finish(
            xarray.Dataset(), {}, setting="tiny", seed=0, outcome="maybe", outcome_text=""
        )
