"""The main job: what it says, what it writes, how it ends."""

import base64
import json
import re
from html.parser import HTMLParser

import equinox as eqx
import numpy as np
import pytest
import xarray

from implicit_flow import RESULTS, plotting
from implicit_flow.cli import _job, _walk


MINIMUM = 1.674316024366309
LIMIT = 1.678507352080517


def refuse_constant(name):
    raise AssertionError(f"{name} is not JSON")


def strict(text):
    return json.loads(text, parse_constant=refuse_constant)


def test_verdict_of_the_counterexample(told):
    assert told.result.exit_code == 0
    assert "Verdict: not minimal. No: the flow does not go" in told.result.stdout
    facts = strict((told.folder / "result.json").read_text("utf-8"))
    assert facts["verdict"] == "not minimal"
    excess = facts["certificate"]["excess_at_least"] / facts["certificate"]["upper_bound"]
    assert 0.0024 < excess < 0.0026
    # The ladder ends at alpha = 1e-30, where X is 1e-9 from the limit; rtol is 1e-6.
    assert facts["limit"]["nuclear_norm"] == pytest.approx(LIMIT, rel=2e-6)
    assert facts["lower_bound"] <= MINIMUM * (1 + 1e-12)
    assert facts["lower_bound"] == pytest.approx(MINIMUM, rel=1e-6)


def test_one_line_of_progress_a_rung_on_stderr(told):
    lines = told.result.stderr.splitlines()
    for alpha in ("1e-2", "1e-6", "1e-12", "1e-30"):
        assert sum(line.startswith(f"alpha = {alpha}: nuclear norm") for line in lines) == 1
    assert lines[0] == "2 measurements of a symmetric 3 × 3 matrix (three.npz): 4 values of alpha"


def test_the_table_is_not_cut(told):
    header = next(line for line in told.result.stdout.splitlines() if "nuclear norm" in line)
    assert header.split()[:6] == ["alpha", "residual", "nuclear", "norm", "lower", "bound"]
    assert header.split()[6:] == ["gap", "rank", "steps", "seconds"]
    rows = [line.split() for line in told.result.stdout.splitlines() if line.strip()[:2] == "1e"]
    assert [row[0] for row in rows] == ["1e-2", "1e-6", "1e-12", "1e-30"]
    assert [row[4] for row in rows] == ["6.2%", "0.63%", "0.26%", "0.25%"]
    assert "…" not in told.result.stdout


def test_the_last_line_names_the_report(told):
    last = told.result.stdout.strip().splitlines()[-1]
    assert last == f"Report: {told.folder / 'report.html'}"
    assert (told.folder / "report.html").is_file()


def test_files(told):
    names = sorted(path.name for path in told.folder.iterdir())
    assert names == [
        "eigenvalues.png",
        "excess.png",
        "nuclear_norm.png",
        "path_1e-2.png",
        "path_1e-30.png",
        "report.html",
        "result.json",
        "result.nc",
    ]
    facts = strict((told.folder / "result.json").read_text("utf-8"))
    assert sorted(facts["files"].values()) == names
    for name in names:
        if name.endswith(".png"):
            assert (told.folder / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    # No draft is left beside it.
    assert [path.name for path in told.folder.parent.iterdir()] == ["report"]


def test_json_schema(told):
    facts = strict((told.folder / "result.json").read_text("utf-8"))
    assert facts["format"] == "implicit_flow.limit/1"
    assert facts["problem"]["dim"] == 3
    assert facts["problem"]["num_measurements"] == 2
    assert re.fullmatch("[0-9a-f]{64}", facts["problem"]["sha256"])
    assert facts["converged"] is True
    assert facts["failures"] == []
    assert len(facts["certificate"]["dual"]) == 2
    assert [rung["alpha"] for rung in facts["rungs"]] == ["1e-2", "1e-6", "1e-12", "1e-30"]
    for rung in facts["rungs"]:
        assert rung["result"] == "successful"
        assert rung["converged"] is True
        assert rung["nuclear_norm"] >= facts["lower_bound"]
        assert len(rung["log10_eigenvalues"]) == 3
        assert rung["num_steps"] > 0
    assert set(facts["versions"]) >= {"implicit_flow", "python", "jax", "numpy", "clarabel"}


def test_dual_in_json_proves_the_lower_bound(told):
    facts = strict((told.folder / "result.json").read_text("utf-8"))
    with np.load(told.problem) as data:
        stack, targets = data["stack"], data["targets"]
    nu = np.array(facts["certificate"]["dual"])
    assert np.linalg.eigvalsh(np.tensordot(nu, stack, 1))[-1] <= 1 + 1e-14
    assert nu @ targets >= facts["certificate"]["dual_bound"]


def test_command_reproduces(told, run, walked, tmp_path):
    facts = strict((told.folder / "result.json").read_text("utf-8"))
    words = facts["command"].split()
    assert words[:3] == ["implicit-flow", "limit", str(told.problem)]
    again = run(*words[1:-1], tmp_path / "again")
    assert again.exit_code == 0
    assert (
        strict((tmp_path / "again" / "result.json").read_text("utf-8"))["rungs"] == facts["rungs"]
    )


def test_netcdf_holds_the_numbers(told):
    with xarray.open_dataset(told.folder / "result.nc", engine="scipy") as data:
        data.load()
    assert data.attrs["verdict"] == "not minimal"
    assert data["X"].dims == ("rung", "row", "col")
    eigenvalues = np.linalg.eigvalsh(data["X"].values)
    np.testing.assert_allclose(data["nuclear_norm"], np.sum(eigenvalues, axis=1), rtol=1e-12)
    with np.load(told.problem) as problem:
        misfit = np.einsum("mij,rij->rm", problem["stack"], data["X"].values) - problem["targets"]
    np.testing.assert_allclose(
        np.linalg.norm(misfit, axis=1) / 5.0, data["residual_norm"], atol=1e-14
    )
    assert data["path_1e-30_eigenvalues"].shape[0] == data["path_1e-30_time"].size
    assert np.max(data["path_1e-30_error_estimates"].values) <= 1e-3
    assert len(plotting.nuclear_norm(data).axes) == 1
    assert len(plotting.eigenvalues(data).axes) == 1


class Page(HTMLParser):
    """What a browser would load, and whether tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.tags, self.words = [], [], set(), []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_page_is_one_file_and_tells_the_story(told):
    text = (told.folder / "report.html").read_text("utf-8")
    page = Page(text)
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert "@import" not in text
    assert "url(" not in text
    assert len(page.sources) == 5
    for source in page.sources:
        head, data = source.split(",", 1)
        assert head == "data:image/svg+xml;base64"
        assert b"<svg" in base64.b64decode(data)
    words = " ".join(page.words)
    for expected in (
        "not minimal",
        "above the minimum by at least 0.25%",
        "The ladder",
        "The certificate, explained",
        "How to reproduce",
        "implicit-flow limit",
        "another point that fits",
        "jax ",
    ):
        assert expected in words
    # Decimals that nobody reads.
    assert not re.search(r"\d\.\d{11,}", words)


def test_names_are_escaped(walked, run, tmp_path):
    path = tmp_path / "<b>&.npz"
    path.write_bytes(walked.problem.read_bytes())
    assert run("limit", path, "--out", tmp_path / "out").exit_code == 0
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "&lt;b&gt;&amp;.npz" in text
    assert "b" not in Page(text).tags


def test_json_alone_on_stdout(walked, run, tmp_path):
    result = run("limit", walked.problem, "--json", "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert strict(result.stdout) == strict((tmp_path / "out" / "result.json").read_text("utf-8"))


def test_quiet_says_the_verdict_only(walked, run, tmp_path):
    result = run("limit", walked.problem, "--quiet", "--out", tmp_path / "out")
    assert result.stderr == ""
    assert result.stdout.startswith("Verdict: not minimal.")
    assert len(result.stdout.splitlines()) == 1


def test_same_answer_gives_the_same_page(walked, run, tmp_path):
    texts = []
    for _ in range(2):
        run("limit", walked.problem, "--force", "--out", tmp_path / "out")
        texts.append((tmp_path / "out" / "report.html").read_text("utf-8"))
    assert texts[0] == texts[1]


def ended(answer, result):
    """The same limit, as if its last rung had ended otherwise."""
    *others, last = answer.limit.solutions
    last = eqx.tree_at(lambda sol: sol.result, last, result)
    return eqx.tree_at(lambda limit: limit.solutions, answer.limit, (*others, last))


def redo(told, monkeypatch, run, tmp_path, result):
    def limit(problem, *, progress, **_):
        found = ended(told.answer, result)
        for sol in found.solutions:
            progress(sol)
        return found

    monkeypatch.setattr(_walk, "limit", limit)
    monkeypatch.setattr(_walk, "_paths", lambda *_: ())
    return run("limit", told.problem, "--out", tmp_path / "out")


def test_not_converged_exits_3_and_still_reports(told, monkeypatch, run, tmp_path):
    result = redo(told, monkeypatch, run, tmp_path, RESULTS.not_stationary)
    assert result.exit_code == 3
    error = result.stderr.splitlines()[-1]
    assert error.startswith("Error: Not converged. alpha = 1e-30: The integration ended before")
    facts = strict((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert facts["converged"] is False
    assert [rung["converged"] for rung in facts["rungs"]] == [True, True, True, False]
    assert "Not converged." in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_a_norm_that_diverges_is_an_answer(told, monkeypatch, run, tmp_path):
    result = redo(told, monkeypatch, run, tmp_path, RESULTS.norm_diverges)
    assert result.exit_code == 0
    assert "The norm of X grows without bound along the flow" in result.stdout


def test_nothing_is_written_on_ctrl_c(told, monkeypatch, run, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(_job, "walk", interrupted)
    result = run("limit", told.problem, "--out", tmp_path / "deep" / "out")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "Interrupted. No report was written."
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_ours_is_one_line_with_what_to_do(told, monkeypatch, run, tmp_path):
    def faulty(*_, **__):
        raise ZeroDivisionError("seven\nlines")

    monkeypatch.setattr(_job, "walk", faulty)
    result = run("limit", told.problem, "--quiet", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "Unexpected ZeroDivisionError: seven" in result.stderr
    assert "please report it" in result.stderr
    assert "--traceback" in result.stderr
    shown = run("--traceback", "limit", told.problem, "--quiet", "--out", tmp_path / "out")
    assert isinstance(shown.exception, ZeroDivisionError)


def test_a_value_error_from_elsewhere_is_not_bad_input(told, monkeypatch, run, tmp_path):
    monkeypatch.setattr(_job, "walk", lambda *_, **__: np.zeros(2).reshape(3))
    result = run("limit", told.problem, "--quiet", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "Unexpected ValueError" in result.stderr


def test_infeasible_targets_come_with_the_vector(run, tmp_path):
    # X_11 = -1 is asked of a positive semidefinite X.
    stack = np.array([np.diag([1.0, 0.0, 0.0]), np.eye(3)])
    np.savez(tmp_path / "no.npz", stack=stack, targets=np.array([-1.0, 1.0]))
    ladder = ["--alphas", "1e-2,1e-3,1e-4"]
    result = run("limit", tmp_path / "no.npz", *ladder, "--json", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    facts = strict(result.stdout)
    assert facts["verdict"] == "infeasible targets"
    nu = np.array(facts["certificate"]["contradiction"])
    assert nu @ [-1.0, 1.0] < 0
    assert np.linalg.eigvalsh(np.tensordot(nu, stack, 1))[0] > -1e-10 * np.linalg.norm(nu)
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "certificate_contradiction" in page
    assert "No positive semidefinite matrix meets the targets." in page
    # There is no minimum to be in excess of, and no gray region.
    assert "excess" not in facts["files"]
    assert "gray region" not in page


@pytest.mark.long
def test_the_demo(run, tmp_path):
    result = run("limit", "--json", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    facts = strict(result.stdout)
    assert facts["verdict"] == "minimal"
    gaps = [rung["gap"] for rung in facts["rungs"][:3]]
    assert gaps[0] > 20 * gaps[1] > 0
    assert gaps[1] > 10 * gaps[2] > 0
