"""Every experiment, each in a process of its own, and one page about all of them."""

import csv
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import typer

from .. import _checks, experiments
from .._cores import cores
from .._version import __version__
from ._folder import refuse_used
from ._laboratory_page import NOT_RUN, WAITING, Result, page, symbol
from ._report import check_extras


if TYPE_CHECKING:
    from ..sweeps._interrupt import Interruption


PAGE = "index.html"
SUMMARY = "index.json"
LOGS = "logs"
# What one experiment leaves in its folder.
_FILES = ("outcome.json", "table.csv", "figure.png", "data.nc")
# Seconds that a process has to end by itself before it is killed.
_PATIENCE = 5.0
# Seconds between two looks at whether the user wants to stop.
_TICK = 0.05
_TABLE_ROWS = 8
FAILED_TO_RUN = 1


class Course(NamedTuple):
    """The options of `implicit-flow experiments run --all`."""

    setting: str
    seed: int
    out: Path
    force: bool
    quiet: bool
    jobs: int | None


def run_all(course: Course, names: Sequence[str] | None = None) -> None:
    """Run every experiment, and write the page about all of them.

    The page is written anew whenever an experiment ends, so that it can be read on the way and is
    there after an interruption. One that fails to run stops no other.

    Args:
        course: the options of the command.
        names: of the experiments; all of them by default.

    Raises:
        ValueError: bad input; the message says what is wrong and what to do.
        ImportError: a package for the results is missing.
        SystemExit: with 1, when all is written, if an experiment failed to run; with 130 after an
            interruption.
    """
    # Not an exception out of the handler: it could strike while a lock of the pool is held.
    from ..sweeps._interrupt import counted_interrupts

    names = tuple(experiments.names() if names is None else names)
    # One process a core: much of an experiment is compilation, which uses one.
    jobs = cores() if course.jobs is None else course.jobs
    _checks.at_least(jobs, "--jobs", 1)
    check_extras()
    _prepare(course)
    start, results = time.perf_counter(), {name: _waiting(name) for name in names}
    running: set[subprocess.Popen[bytes]] = set()

    def write() -> None:
        _write(course, list(results.values()), time.perf_counter() - start)

    write()
    pool = ThreadPoolExecutor(min(jobs, len(names)))
    try:
        with _sigterm_is_an_interrupt(), counted_interrupts() as heard:
            pending = {pool.submit(_run_one, name, course, running) for name in names}
            while pending and not heard.times:
                done, pending = wait(pending, _TICK, return_when=FIRST_COMPLETED)
                for result in (future.result() for future in done):
                    results[result.name] = result
                    write()
                    if not course.quiet:
                        ended = sum(r.outcome != WAITING for r in results.values())
                        typer.echo(f"{ended:>3}/{len(names)}  {_line(result)}", err=True)
            if pending:
                pool.shutdown(wait=False, cancel_futures=True)
                _end(pending, running, heard)
                write()
    finally:
        pool.shutdown(cancel_futures=True)
    if pending:
        typer.echo(f"Interrupted. What was done is in {course.out / PAGE}", err=True)
        raise SystemExit(130)
    counts = _counts(results.values())
    typer.echo(", ".join(f"{count} {words}" for words, count in counts.items()) + ".")
    typer.echo(f"Results: {course.out / PAGE}")
    lost = [result for result in results.values() if result.outcome == NOT_RUN]
    if lost:
        named = ", ".join(result.name for result in lost)
        typer.echo(f"Failed to run: {named}. Why stands in {course.out / LOGS}.", err=True)
        raise SystemExit(FAILED_TO_RUN)


def _end(
    pending: set[Future[Result]], running: set[subprocess.Popen[bytes]], heard: "Interruption"
) -> None:
    """End every process, also one that is only just starting, or that does not listen."""
    begin = time.monotonic()
    while not all(future.done() for future in pending):
        patient = time.monotonic() - begin < _PATIENCE and heard.times == 1
        for process in list(running):
            process.terminate() if patient else process.kill()
        time.sleep(_TICK)


def _prepare(course: Course) -> None:
    """Refuse a folder in use, make it, and learn now whether it can be written."""
    refuse_used(course.out, force=course.force)
    try:
        (course.out / LOGS).mkdir(parents=True, exist_ok=True)
        (course.out / PAGE).write_text("", encoding="utf-8")
    except OSError as error:
        _checks.refuse(
            "--out",
            "name a folder that can be written",
            f"{course.out} cannot be: {error.strerror or error}",
        )


def _run_one(name: str, course: Course, running: set[subprocess.Popen[bytes]]) -> Result:
    """Run an experiment in its own process, and read what it left behind."""
    folder, log = course.out / name, course.out / LOGS / f"{name}.txt"
    if course.force:
        # What stands there is of another run, and must not pass for this one.
        for file in _FILES:
            (folder / file).unlink(missing_ok=True)
    words = ["experiments", "run", name, "--setting", course.setting, "--seed", str(course.seed)]
    words += ["--out", str(folder)] + (["--force"] if course.force else [])
    # Several processes share one accelerator, if there is one.
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
    start = time.perf_counter()
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "implicit_flow.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        running.add(process)
        try:
            code = process.wait()
        finally:
            running.discard(process)
    seconds = time.perf_counter() - start
    try:
        if code == 0:
            return read(name, folder, seconds)
        why = _reason(log, code)
    except (OSError, ValueError, KeyError) as error:
        why = f"Its results cannot be read: {error}"
    return _waiting(name)._replace(outcome=NOT_RUN, outcome_text=why, seconds=seconds)


def read(name: str, folder: Path, seconds: float) -> Result:
    """What an experiment left in its folder.

    Args:
        name: of the experiment.
        folder: of its results.
        seconds: that its process took.

    Returns:
        The entry of the page.

    Raises:
        OSError: a file is missing.
        ValueError: `outcome.json` is damaged.
        KeyError: `outcome.json` lacks a fact.
    """
    facts: dict[str, Any] = json.loads((folder / "outcome.json").read_text("utf-8"))
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return Result(
        name=name,
        summary=experiments.facts(name).get("summary", ""),
        claim=facts["claim"],
        hypotheses=facts["hypotheses"],
        source=facts["source"],
        outcome=facts["outcome"],
        outcome_text=facts["outcome_text"],
        seconds=seconds,
        command=facts["command"],
        figure=(folder / "figure.png").read_bytes(),
        table=tuple(tuple(row) for row in rows[: _TABLE_ROWS + 1]),
        num_rows=len(rows) - 1,
    )


def _waiting(name: str) -> Result:
    """An experiment of which there are no results."""
    stated = experiments.facts(name)
    return Result(
        name=name,
        summary=stated.get("summary", ""),
        claim=stated.get("claim", ""),
        hypotheses=stated.get("hypotheses", ""),
        source=stated.get("source", ""),
        outcome=WAITING,
        outcome_text="It has not been run to its end.",
    )


def _reason(log: Path, code: int) -> str:
    """Why a process failed: its own last word, or the signal that ended it."""
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    errors = [line for line in lines if line.startswith("Error: ")]
    if code < 0:
        return f"Its process was ended by signal {-code} ({signal.Signals(-code).name})."
    return (errors or lines or [f"Exit code {code}."])[-1].removeprefix("Error: ")


def _line(result: Result) -> str:
    words = "failed to run" if result.outcome == NOT_RUN else result.outcome
    return f"{symbol(result.outcome)} {words:<13}  {result.name}  ({result.seconds:.0f} s)"


def _counts(results: Any) -> dict[str, int]:
    words = {"holds": "hold", "fails": "fail", "undecided": "undecided", NOT_RUN: "failed to run"}
    found = [result.outcome for result in results]
    counted = {label: found.count(outcome) for outcome, label in words.items()}
    return {label: count for label, count in counted.items() if count or label == "hold"}


def _write(course: Course, results: list[Result], seconds: float) -> None:
    """Write the page and its numbers, each whole or not at all."""
    words = ["implicit-flow", "experiments", "run", "--all", "--setting", course.setting]
    words += ["--seed", str(course.seed)]
    facts = {
        "setting": course.setting,
        "seed": course.seed,
        "command": shlex.join(words),
        "seconds": round(seconds, 1),
        "implicit_flow": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "cores": os.cpu_count(),
    }
    entries = [
        {name: value for name, value in r._asdict().items() if name not in ("figure", "table")}
        for r in results
    ]
    text = json.dumps({**facts, "experiments": entries}, indent=1, ensure_ascii=False)
    for name, content in ((SUMMARY, text + "\n"), (PAGE, page(results, facts))):
        draft = course.out / f".{name}"
        draft.write_text(content, encoding="utf-8")
        draft.replace(course.out / name)


@contextmanager
def _sigterm_is_an_interrupt() -> Iterator[None]:
    """A scheduler's SIGTERM is heard like Ctrl-C: no process is left behind."""
    before: Callable[..., Any] | int | None = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
