"""`implicit-flow train`: what it refuses, in one line and before anything is computed."""

import pytest

from implicit_flow import networks
from implicit_flow.cli import _train_folder
from implicit_flow.cli._main import main


@pytest.fixture(autouse=True)
def _computes_nothing(monkeypatch):
    def train(*_, **__):
        raise AssertionError("bad input reached the training")

    monkeypatch.setattr(networks, "train", train)


def refusal(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["implicit-flow", "train", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seed", "-1"), "--seed"),
        (("--steps", "0"), "--steps"),
        (("--data", "imagenet"), "imagenet"),
        (("--learning-rate", "nan"), "`--learning-rate` must be positive, but is nan"),
        (("--learning-rate", "inf"), "`--learning-rate` must be positive, but is inf"),
        (("--data-dir", "data"), "`--data-dir` must be left out with --data digits"),
        (("--data", "mnist"), "`--data-dir` must be given"),
        (("--data", "mnist", "--data-dir", "nowhere"), "folder that exists, but nowhere is none"),
        (("--network", "rnn", "--dropout", "0.5"), "`--dropout` must be left out"),
        (("--network", "lstm", "--depth", "3"), "`--depth` must be left out"),
        (("--length", "30"), "`--length` must be left out unless --data is text"),
        (("--network", "lstm"), "`--optimizer` must be sgd, adagrad or adam with --network lstm"),
    ],
)
def test_what_cannot_be_or_would_be_ignored(monkeypatch, capsys, words, said):
    assert said in refusal(monkeypatch, capsys, *words)


def test_a_folder_in_use_or_no_folder(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file is a file" in refusal(
        monkeypatch, capsys, "--width", 2, "--out", tmp_path / "file"
    )
    with _train_folder.training_folder(tmp_path / "run"):
        said = refusal(monkeypatch, capsys, "--width", 2, "--out", tmp_path / "run")
    assert "another process is training in" in said
    with _train_folder.training_folder(tmp_path / "run"):
        pass
