"""One line, right in its numbers, on terminals and off them."""

import io

import pytest

from implicit_flow.sweeps import NoProgress, ProgressLine, _progress, sweep


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_when_not_a_terminal(clock):
    stream = io.StringIO()
    line = ProgressLine(stream)
    line.start(100, 20, 1)
    for _ in range(40):
        clock[0] += 0.5
        line.update(1, 0)
    line.update(2, 1)
    line.close()
    assert stream.getvalue().splitlines() == [
        "sweep: 20 of 100 cells (20%), 1 failed",
        # 20 cells in 10 seconds, 60 to go.
        "sweep: 40 of 100 cells (40%), 1 failed, 2 cells/s, 0:30 left",
        "sweep: 60 of 100 cells (60%), 1 failed, 2 cells/s, 0:20 left",
        "sweep: 62 of 100 cells (62%), 2 failed, 2.1 cells/s, 0:18 left",
    ]


def test_a_terminal_line_is_rewritten(clock):
    stream = Terminal()
    line = ProgressLine(stream)
    line.start(4, 0, 0)
    clock[0] += 3600.0
    line.update(1, 0)
    line.note("Interrupted.")
    line.close()
    assert stream.getvalue() == (
        "\r\x1b[2Ksweep: 0 of 4 cells (0%), 0 failed"
        "\r\x1b[2Ksweep: 1 of 4 cells (25%), 0 failed, 0.000278 cells/s, 3:00:00 left"
        "\nInterrupted.\n\n"
    )


def test_sweep_reports_on_standard_error_only(capsys):
    sweep(lambda a: a, {"a": [1.0, -1.0]})
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == "sweep: 0 of 2 cells (0%), 0 failed"
    assert lines[-1].startswith("sweep: 2 of 2 cells (100%), 0 failed, ")


def test_silence(capsys):
    sweep(lambda a: a, {"a": [1.0]}, progress=False)
    sweep(lambda a: a, {"a": [1.0]}, progress=NoProgress())
    assert capsys.readouterr() == ("", "")
