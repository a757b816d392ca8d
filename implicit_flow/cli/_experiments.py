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
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="As `experiments list` shows it.", show_default=False
        ),
    ] = None,
    *,
    every: Annotated[
        bool,
        typer.Option("--all", help="Run every experiment, and write one page about all of them."),
    ] = False,
    setting: Annotated[
        Setting | None, typer.Option(help="How large the run is. (default: quick)")
    ] = None,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Seconds, to try things; short for --setting tiny.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Under a minute each; short for --setting quick.")
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
        Path | None,
        typer.Option(help="Folder for the results. (default: runs/NAME; with --all runs/all)"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the results in a folder that exists.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="The outcome only.")] = False,
    jobs: Annotated[
        int | None,
        typer.Option(help="Processes at a time, with --all. (default: one for each core)"),
    ] = None,
) -> None:
    """Run an experiment: its claim, a table, a figure, and whether the claim held.

    The folder holds the outcome (outcome.json), the table (table.csv), the figure (figure.png) and
    all numbers (data.nc). A claim that fails is an answer: the exit code is 0.

    With --all there is such a folder for each experiment, and a page about all of them
    (index.html). One that cannot be run stops no other; the exit code is then 1.
    """
    from .. import _checks

    asked: list[Any] = [
        setting,
        Setting.tiny if tiny else None,
        Setting.quick if quick else None,
        Setting.full if full else None,
    ]
    chosen = _one(tuple(str(value) for value in asked if value is not None))
    _one_or_all(name, every=every, changes=changes, jobs=jobs)
    _checks.seed(seed, "--seed", bits=31)
    if name is None:
        from ._laboratory import Course, run_all

        where = out or Path("runs") / "all"
        run_all(Course(chosen, seed, where, force=force, quiet=quiet, jobs=jobs))
        return
    from ._claim import Request, answer

    answer(
        Request(
            name=name,
            setting=chosen,
            seed=seed,
            changes=tuple(changes or ()),
            out=out,
            force=force,
            quiet=quiet,
        )
    )


def _one(settings: tuple[str, ...]) -> str:
    """The setting, which may be given in two ways, but not twice in different ones."""
    from .. import _checks

    if len(set(settings)) > 1:
        _checks.refuse("--setting", "be given once", f"is {' and '.join(settings)}", "Choose one.")
    return settings[0] if settings else "quick"


def _one_or_all(
    name: str | None, *, every: bool, changes: list[str] | None, jobs: int | None
) -> None:
    """Refuse a name together with --all, neither of them, and options of the other one."""
    from .. import _checks

    if name is not None and every:
        cure = "Leave out one of them."
        _checks.refuse("NAME", "be left out with --all", f"is {name!r}", cure)
    if name is None and not every:
        cure = "Give a name that `implicit-flow experiments list` shows, or --all."
        _checks.refuse("NAME", "be given, unless --all is", "neither is given", cure)
    if every and changes:
        cure = "Run that experiment by its name."
        _checks.refuse("--set", "belong to one experiment", f"is {changes[0]!r} for all", cure)
    if jobs is not None and not every:
        _checks.refuse("--jobs", "come with --all", "there is one experiment to run")
