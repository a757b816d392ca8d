"""The main job of the command line, from its options to its report."""

import shlex
from pathlib import Path
from typing import NamedTuple

import jax
import typer

from .. import _checks
from .._simulate import tolerance as refuse_rtol_out_of_reach
from ._alphas import read_alphas, show_alpha
from ._built_in import DEFAULT_ALPHAS, BuiltIn
from ._folder import OutputFolder
from ._interruptible import interruptible
from ._report import PAGE, as_json, check_extras, write_report
from ._source import Source, built_in, from_file
from ._table import print_table
from ._walk import walk
from ._words import capitalized, headline


NOT_CONVERGED = 3


class Options(NamedTuple):
    """The options of `implicit-flow limit`, as they were given; None where they were not."""

    path: Path | None
    name: BuiltIn | None
    alphas: str
    rectangular: bool
    dim: int | None
    shape: str | None
    seed: int | None
    rtol: float | None
    tolerance: float | None
    out: Path
    force: bool
    json: bool
    quiet: bool


def run(options: Options) -> None:
    """Do the main job.

    Args:
        options: of the command.

    Raises:
        ValueError: bad input; the message says what is wrong and what to do.
        ImportError: the report needs a package that is not installed.
        Exit: (Typer's) with code 3 where a rung did not converge. The report is written.
    """
    jax.config.update("jax_enable_x64", True)
    ladder = read_alphas(options.alphas)
    tolerance = options.tolerance
    if tolerance is not None and not 0 < tolerance < 1:
        _checks.refuse("--tolerance", "lie between 0 and 1", f"is {tolerance:g}")
    if options.rtol is not None:
        refuse_rtol_out_of_reach(options.rtol, jax.numpy.float64)
    check_extras()
    source = _source(options)
    command = _command(options, source, ladder)
    talks = not (options.quiet or options.json)
    say = _silent if options.quiet else _progress
    with OutputFolder(options.out, force=options.force) as folder:
        say(f"{source.title}: {len(ladder)} values of alpha")
        answer = interruptible(
            lambda: walk(source.problem, ladder, rtol=options.rtol, tolerance=tolerance, say=say)
        )
        if talks:
            print_table(answer)
        facts = write_report(answer, source, folder.draft, command=command)
        folder.publish()
    typer.echo(
        as_json(facts) if options.json else f"Verdict: {answer.limit.verdict}. {headline(answer)}"
    )
    if talks:
        typer.echo(f"{capitalized(answer.limit.explanation)}\n\nReport: {options.out / PAGE}")
    if answer.failed:
        typer.echo(f"Error: Not converged. {' '.join(answer.failed[0].split())}", err=True)
        raise typer.Exit(NOT_CONVERGED)


def _progress(line: str) -> None:
    typer.echo(line, err=True)


def _silent(line: str) -> None:
    del line


def _source(options: Options) -> Source:
    """The problem that was asked for; refuses options that do not go together."""
    if options.path is not None:
        for option, value in (("--problem", options.name), ("--seed", options.seed)):
            if value is not None:
                _checks.refuse(option, "be left out where a file is given", f"is {value}")
        return from_file(
            options.path,
            rectangular=options.rectangular,
            dim=options.dim,
            shape=_sides(options.shape),
        )
    for option, value in (
        ("--rectangular", options.rectangular or None),
        ("--dim", options.dim),
        ("--shape", options.shape),
    ):
        if value is not None:
            _checks.refuse(option, "come with a .csv file", "no file is given")
    return built_in(options.name or BuiltIn.SENSING, seed=options.seed or 0)


def _sides(shape: str | None) -> tuple[int, int] | None:
    if shape is None:
        return None
    try:
        p, q = (int(side) for side in shape.split(","))
    except ValueError:
        _checks.refuse("--shape", "be two integers such as 30,20", f"is {shape!r}")
    return p, q


def _command(options: Options, source: Source, ladder: list[float]) -> str:
    """The command that makes this report again."""
    words = ["implicit-flow", "limit", *source.arguments]
    if options.alphas != DEFAULT_ALPHAS:
        words += ["--alphas", ",".join(show_alpha(value) for value in ladder)]
    for option, value in (("--rtol", options.rtol), ("--tolerance", options.tolerance)):
        if value is not None:
            words += [option, repr(value)]
    return shlex.join([*words, "--out", str(options.out)])
