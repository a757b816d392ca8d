"""A group of commands that are imported when called, and whose errors are single lines."""

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from .._version import __version__


BAD_INPUT = 2
UNEXPECTED = 1

# Typer keeps its own copy of Click in some versions and imports it in others.
_ClickException: Any = typer.BadParameter.__mro__[2]


class Entry(NamedTuple):
    """Where a command lives, and the line that describes it before it is imported."""

    module: str
    attribute: str
    help: str


COMMANDS = {
    "limit": Entry("_limit", "limit", "Where does the flow go as alpha -> 0, with a proof."),
    "sweep": Entry("_sweep", "app", "Run a study over many values, resumably, into a store."),
    "experiments": Entry("_experiments", "app", "List and run the experiments of the theory."),
    "train": Entry(
        "_train",
        "train",
        "Train a network, with curves; started again after a kill, it goes on.",
    ),
    "info": Entry("_info", "info", "Show versions, devices and precision."),
}


def available() -> dict[str, Entry]:
    """The commands whose modules are part of this installation.

    Returns:
        Name -> entry, in the order of the help page.
    """
    return {
        name: entry
        for name, entry in COMMANDS.items()
        if importlib.util.find_spec(f"{__package__}.{entry.module}") is not None
    }


class Group(TyperGroup):
    """The root group. Help pages are drawn from the table; a command is loaded to be run."""

    def __init__(self, **arguments: Any):
        """Register a light stand-in for each command."""
        super().__init__(**arguments)
        for name, entry in available().items():
            self.add_command(TyperCommand(name, help=entry.help))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; none at all ask for help."""
        return super().parse_args(ctx, args or ["--help"])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments name, and import it."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in COMMANDS:
            command = load(name)
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; turn an exception into one line and an exit code."""
        if ctx.params.get("traceback"):
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except (_ClickException, typer.Exit, typer.Abort):
            raise
        except Exception as error:
            _explain(error)

    def main(self, *arguments: Any, standalone_mode: bool = True, **named: Any) -> Any:
        """Parse and run; a mistake in the arguments becomes one line and exit code 2."""
        if not standalone_mode:
            return super().main(*arguments, standalone_mode=False, **named)
        try:
            code = super().main(*arguments, standalone_mode=False, **named)
        except _ClickException as error:
            context = getattr(error, "ctx", None)
            cure = f" See `{context.command_path} --help`." if context is not None else ""
            message = error.format_message().replace("?.", "?").strip()
            if not message and context is not None:
                # No arguments at all: the help has been printed.
                raise SystemExit(error.exit_code) from None
            end = "" if message.endswith((".", "?")) else "."
            fail(f"{message}{end}{cure}", error.exit_code)
        except typer.Abort:
            fail("Stopped.", UNEXPECTED)
        if code == 130:
            typer.echo("Interrupted. No report was written.", err=True)
        raise SystemExit(code if isinstance(code, int) else 0)


def load(name: str) -> Any:
    """Import a command.

    Args:
        name: of the command, a key of `COMMANDS`.

    Returns:
        The command, ready to be invoked.
    """
    entry = COMMANDS[name]
    found = getattr(importlib.import_module(f".{entry.module}", __package__), entry.attribute)
    if not isinstance(found, typer.Typer):
        function, found = found, typer.Typer(add_completion=False, rich_markup_mode="markdown")
        found.command(name)(function)
    return typer.main.get_command(found)


def fail(message: str, code: int) -> NoReturn:
    """Print one line to stderr and leave.

    Args:
        message: what is wrong, and what to do.
        code: exit code.

    Raises:
        SystemExit: always.
    """
    typer.echo("Error: " + " ".join(message.split()), err=True)
    raise SystemExit(code)


def _explain(error: Exception) -> NoReturn:
    """One line for an exception: a refusal of the library, or something nobody foresaw."""
    refusal = isinstance(error, ValueError) or (
        # One that names a module comes from an `import` statement: a fault, not a refusal.
        isinstance(error, ImportError) and error.name is None
    )
    if refusal and _is_ours(error):
        fail(str(error), BAD_INPUT)
    if isinstance(error, BrokenPipeError):
        # Whoever reads, such as `head`, has had enough. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(UNEXPECTED)
    if isinstance(error, OSError) and error.filename is not None:
        fail(f"{error.filename}: {error.strerror}.", BAD_INPUT)
    exhausted = ("RESOURCE_EXHAUSTED", "Out of memory allocating")
    if isinstance(error, MemoryError) or any(words in str(error) for words in exhausted):
        fail("The machine has too little memory for this problem.", UNEXPECTED)
    first = (str(error).strip().splitlines() or ["no message"])[0]
    fail(
        f"Unexpected {type(error).__name__}: {first} -- This is a fault of implicit_flow "
        f"{__version__}, not of your input: please report it with the output of the same command "
        "after `implicit-flow --traceback`.",
        UNEXPECTED,
    )


def _is_ours(error: Exception) -> bool:
    """Whether a refusal was raised by this package, and not deep inside another."""
    frames = traceback.extract_tb(error.__traceback__)
    home = Path(__file__).resolve().parent.parent
    return bool(frames) and home in Path(frames[-1].filename).resolve().parents
