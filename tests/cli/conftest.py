"""One real run of the main job, which most tests look at; and the command line in process."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from typer.testing import CliRunner

from implicit_flow.cli import _job, _report, app
from implicit_flow.cli._figures import pictures
from implicit_flow.cli._walk import Answer


# The instance on which the conjecture fails: least trace 1.674316024366309, limit of the flow
# 1.678507352080517 (both computed independently, by a cone program and in 50 digits).
STACK = np.array([[[2, 1, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 1], [1, 0, 0], [1, 0, 3]]], float)
TARGETS = np.array([4.0, 3.0])


class Told(NamedTuple):
    """What a run of the main job said and left behind."""

    result: object
    folder: Path
    problem: Path
    answer: Answer


@pytest.fixture(scope="session")
def run():
    """Run the command line in this process."""

    def invoke(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture(scope="session")
def told(run, tmp_path_factory):
    """The main job, done once for real on the 3 x 3 instance."""
    home = tmp_path_factory.mktemp("told")
    problem = home / "three.npz"
    np.savez(problem, stack=STACK, targets=TARGETS)
    answers = []
    walk = _job.walk
    with pytest.MonkeyPatch.context() as patch:

        def spy(*arguments, **named):
            answers.append(walk(*arguments, **named))
            return answers[0]

        patch.setattr(_job, "walk", spy)
        result = run(
            "limit", problem, "--alphas", "1e-2,1e-6,1e-12,1e-30", "--out", home / "deep" / "report"
        )
    assert answers, result.output
    return Told(result, home / "deep" / "report", problem, answers[0])


@pytest.fixture
def walked(told, monkeypatch):
    """Let the main job give the answer that is known already, with one picture."""
    monkeypatch.setattr(_report, "pictures", lambda answer: pictures(answer)[:1])
    monkeypatch.setattr(_job, "walk", lambda *_, **__: told.answer)
    return told
