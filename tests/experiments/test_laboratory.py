"""All experiments at once: the page, what is left behind, and an experiment that cannot be run."""

import contextlib
import html
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import pytest

from implicit_flow import experiments
from implicit_flow.cli import _laboratory as laboratory
from implicit_flow.cli._laboratory_page import NOT_RUN, Result, page
from implicit_flow.sweeps._interrupt import Interruption


ROOT = Path(__file__).parents[2]
FAST, MISSING = "path-norm-rescaling", "no-such-experiment"


def course(out, **changes):
    options = {"setting": "tiny", "seed": 0, "force": False, "quiet": True, "jobs": 2}
    return laboratory.Course(out=out, **{**options, **changes})


class Balanced(HTMLParser):
    """Whether every element is closed where it should be."""

    EMPTY = frozenset({"meta", "img", "br", "link"})

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text):
    reader = Balanced()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader.seen


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """One experiment that runs and one that cannot, in real processes."""
    out = tmp_path_factory.mktemp("laboratory") / "all"
    with pytest.raises(SystemExit) as end:
        laboratory.run_all(course(out), names=(MISSING, FAST))
    return out, end.value.code


def test_one_that_fails_stops_no_other(told):
    out, code = told
    assert code == 1
    facts = json.loads((out / "index.json").read_text("utf-8"))
    found = {entry["name"]: entry for entry in facts["experiments"]}
    assert found[FAST]["outcome"] == "holds"
    assert found[MISSING]["outcome"] == NOT_RUN
    assert "must be the name of an experiment" in found[MISSING]["outcome_text"]
    assert "must be the name of an experiment" in (out / f"logs/{MISSING}.txt").read_text("utf-8")
    folder = {file.name for file in (out / FAST).iterdir()}
    assert folder == {"outcome.json", "table.csv", "figure.png", "data.nc"}
    assert not (out / MISSING).exists()


def test_the_page_stands_alone_and_tells_all(told):
    out, _ = told
    text = (out / "index.html").read_text("utf-8")
    seen = parsed(text)
    plain = html.unescape(re.sub(r"<[^>]+>", "", text))
    for fact in experiments.facts(FAST).values():
        assert fact in plain
    outcome = json.loads((out / FAST / "outcome.json").read_text("utf-8"))
    assert outcome["outcome_text"] in plain
    assert outcome["command"] in plain
    assert "✓ holds" in plain
    assert "! failed to run" in plain
    images = [attrs for tag, attrs in seen if tag == "img"]
    assert len(images) == 1
    assert images[0]["src"].startswith("data:image/png;base64,iVBOR")
    assert outcome["outcome_text"] in images[0]["alt"]
    assert not [tag for tag, _ in seen if tag in ("script", "link", "iframe")]
    ids = {attrs["id"] for _, attrs in seen if "id" in attrs}
    for tag, attrs in seen:
        if tag == "a":
            target = attrs["href"]
            assert target[1:] in ids if target.startswith("#") else (out / target).is_file()
    with (out / FAST / "table.csv").open(encoding="utf-8") as file:
        header = file.readline().strip().split(",")
    assert all(name.replace("_", " ") in plain for name in header)


def test_results_of_another_run_do_not_pass_for_this_one(told, monkeypatch):
    """With --force an experiment that cannot be run any more leaves no old outcome behind."""
    out, _ = told
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ValueError, match="does not exist yet"):
        laboratory.run_all(course(out), names=(FAST,))
    assert (out / FAST / "outcome.json").exists()
    with pytest.raises(SystemExit):
        laboratory.run_all(course(out, force=True), names=(FAST,))
    assert not (out / FAST / "outcome.json").exists()
    assert "failed to run" in (out / "index.html").read_text("utf-8")


def _runs_an_experiment(pid):
    """Not the `uname` that Python starts to learn the platform, before the first experiment."""
    with contextlib.suppress(OSError):
        return b"--setting" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def test_an_interruption_ends_the_processes_and_leaves_a_page(tmp_path):
    out = tmp_path / "all"
    words = ["experiments", "run", "--all", "--full", "--out", str(out), "--jobs", "1"]
    started = subprocess.Popen(
        [sys.executable, "-m", "implicit_flow.cli", *words], stderr=subprocess.PIPE, text=True
    )
    children = []
    for _ in range(1200):
        listed = Path(f"/proc/{started.pid}/task").glob("*/children")
        pids = [int(pid) for file in listed for pid in file.read_text("ascii").split()]
        children = [pid for pid in pids if _runs_an_experiment(pid)]
        if children:
            break
        time.sleep(0.05)
    if not children:
        started.kill()
        # Linux lists them; where nothing does, there is no telling what was left behind.
        pytest.skip("this system does not list the children of a process")
    started.send_signal(signal.SIGTERM)
    try:
        said = started.communicate(timeout=120)[1]
        for pid in children:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
    finally:
        for pid in (started.pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert started.returncode == 130, said
    assert "Interrupted" in said
    assert "not run yet" in (out / "index.html").read_text("utf-8")


@pytest.mark.parametrize(("times", "patience"), [(2, 60.0), (1, 0.1)])
def test_a_process_that_does_not_listen_is_killed(times, patience, monkeypatch):
    """After its time, or at once when the user asks again."""
    monkeypatch.setattr(laboratory, "_PATIENCE", patience)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True)"
    with (
        subprocess.Popen([sys.executable, "-c", f"{deaf}; time.sleep(60)"], stdout=-1) as process,
        ThreadPoolExecutor(1) as pool,
    ):
        process.stdout.readline()
        laboratory._end({pool.submit(process.wait)}, {process}, Interruption(times))
    assert process.returncode == -signal.SIGKILL


def test_what_an_experiment_says_cannot_break_the_page():
    odd = "a < b & c > \"d\" 'e' </section><script>alert(1)</script>"
    result = Result("x-y", odd, odd, odd, odd, "fails", odd, 1.0, odd, b"\x89PNG", ((odd,), (odd,)))
    facts = dict.fromkeys(("command", "platform", "implicit_flow", "python"), odd)
    text = page([result], {**facts, "seconds": 1.0, "cores": 2})
    assert "script" not in {tag for tag, _ in parsed(text)}


def test_every_claim_stands_in_the_documents():
    spec = importlib.util.spec_from_file_location("claims", ROOT / "docs/_build/claims.py")
    claims = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(claims)
    written = claims.PAGE.read_text("utf-8")
    for name in experiments.names():
        assert f"| `{name}` |" in written, "run `python docs/_build/claims.py`"
    assert written == claims.with_table(written), "run `python docs/_build/claims.py`"
    # It is not the same by accident: another table is another page.
    other = written.replace(f"| `{FAST}` |", "| `x` |")
    assert other != written
    assert claims.with_table(other) == written
