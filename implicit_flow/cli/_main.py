"""The root of the command line: its options, its commands and its entry point."""

import os
import sys
from typing import Annotated

import typer

from .._version import __version__
from ._group import Group


INTERRUPTED = 130


def _version(*, asked: bool) -> bool:
    if asked:
        typer.echo(f"implicit-flow {__version__}")
        raise typer.Exit
    return asked


app = typer.Typer(
    name="implicit-flow",
    cls=Group,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            callback=lambda value: _version(asked=value),
            is_eager=True,
        ),
    ] = False,
    traceback: Annotated[
        bool,
        typer.Option(
            "--traceback",
            envvar="IMPLICIT_FLOW_TRACEBACK",
            help="Show the Python traceback of an error.",
        ),
    ] = False,
) -> None:
    """Where does gradient flow on a factorization go as its initialization shrinks to zero?

    Start with [bold]implicit-flow limit[/bold]: it needs no file and takes about a minute.
    """


def main() -> None:
    """Run the command line and leave with its exit code."""
    # Matrices of some hundred rows: the threads of OpenBLAS wait for each other longer than they
    # work, and on a busy machine a hundred times longer. Read when it is loaded, which is later.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        app(prog_name="implicit-flow")
    except SystemExit as end:
        if end.code == INTERRUPTED:
            # A computation may still run in its thread, and could not be joined.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise
