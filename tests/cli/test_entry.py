"""The entry point: help, version, info; light to start; errors are lines."""

import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from implicit_flow import __version__
from implicit_flow.cli import _group
from implicit_flow.cli._interruptible import interruptible


def entry(*arguments, code="from implicit_flow.cli import main; main()"):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120
    )


def test_help_imports_nothing_heavy():
    code = """
import sys
from implicit_flow.cli import app
for arguments in (["--help"], ["limit", "--help"]):
    try:
        app(arguments)
    except SystemExit as end:
        assert not end.code
heavy = {"jax", "numpy", "matplotlib", "xarray", "diffrax"} & set(sys.modules)
assert not heavy, heavy
"""
    done = entry(code=code)
    assert done.returncode == 0, done.stderr
    assert "limit" in done.stdout
    assert "info" in done.stdout


def test_real_entry_point_ends_with_the_code_and_one_line(tmp_path):
    done = entry("limit", str(tmp_path / "no.npz"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "does not exist" in done.stderr


def test_a_reader_that_leaves_early_is_no_fault():
    command = f"{sys.executable} -m implicit_flow info | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.stderr == ""


def test_the_package_is_a_command_too():
    words = [sys.executable, "-X", "importtime", "-m", "implicit_flow", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == f"implicit-flow {__version__}\n"
    assert "implicit_flow.cli" in done.stderr
    assert not re.search(r"\| +(jax|numpy)$", done.stderr, re.MULTILINE)


def test_version(run):
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout == f"implicit-flow {__version__}\n"


def test_no_command_is_help(run):
    result = run()
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_info(run):
    result = run("info")
    assert result.exit_code == 0
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["implicit_flow"].startswith(__version__)
    assert lines["precision"].startswith("float64")
    assert "device" in lines
    assert {"jax", "diffrax", "clarabel", "matplotlib"} <= set(lines)


@pytest.mark.parametrize("name", list(_group.available()))
def test_the_line_in_the_table_is_that_of_the_command(name):
    assert _group.load(name).help.splitlines()[0] == _group.available()[name].help


@pytest.fixture
def heeds_control_c():
    """What a shell starts in the background inherits deafness to SIGINT; Python then keeps it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_control_c")
def test_interrupt_is_heard_while_work_is_done():
    release = threading.Event()
    sent = []

    def interrupt():
        time.sleep(0.3)
        sent.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    def work():
        # Stands for compiled code: deaf to signals, as every thread but the main one is.
        release.wait(30)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        interruptible(work)
    assert sent
    assert not release.is_set()
    release.set()


def test_errors_of_the_work_arrive():
    def work():
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        interruptible(work)
    assert interruptible(lambda: 7) == 7
