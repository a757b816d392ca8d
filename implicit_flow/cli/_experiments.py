"""`implicit-flow experiments`: list the claims of the theory, and run one."""

import enum
from pathlib import Path
from typing import Annotated, Any

import typer


class Setting(enum.StrEnum):
    """How large a run is."""

    tiny = "tiny"
    quick = "quick"
    full = "full"


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _experiments() -> None:
    """List and run the experiments of the theory."""


@app.command("list")
def list_experiments() -> None:
    """Name every experiment, with a line about it."""
    from .. import experiments

    names = experiments.names()
    width = max(map(len, names))
    for name in names:
        typer.echo(f"{name:<{width}}  {experiments.summary(name)}")


@app.command()
def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `experiments list` shows it.")],
    *,
    setting: Annotated[
        Setting | None, typer.Option(help="How large the run is. (default: quick)")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Minutes on two cores; short for --setting quick.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="As published; short for --setting full.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of everything that is random.")] = 0,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Another value for an argument of the experiment, such as width=64; may be given "
            "several times.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results. (default: runs/NAME)")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the results in a folder that exists.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="The outcome only.")] = False,
) -> None:
    """Run an experiment: its claim, a table, a figure, and whether the claim held.

    The folder holds the outcome (outcome.json), the table (table.csv), the figure (figure.png) and
    all numbers (data.nc). A claim that fails is an answer: the exit code is 0.
    """
    from ._claim import Request, answer

    asked: list[Any] = [
        setting,
        Setting.quick if quick else None,
        Setting.full if full else None,
    ]
    answer(
        Request(
            name=name,
            settings=tuple(str(value) for value in asked if value is not None),
            seed=seed,
            changes=tuple(changes or ()),
            out=out,
            force=force,
            quiet=quiet,
        )
    )
