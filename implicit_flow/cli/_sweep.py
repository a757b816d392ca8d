"""`implicit-flow sweep`: run a study from a file, look at its store, draw it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup


_INTERRUPTED = 130
_BAD_INPUT = 2
_UNWRITABLE = 1


class _StudyFirst(TyperGroup):
    """`sweep study.toml` is short for `sweep run study.toml`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `run` unless a command or a plea for help comes first."""
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_StudyFirst,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _sweep() -> None:
    """Run a study over many values, resumably, into a store.

    `implicit-flow sweep study.toml` runs the study; the word `run` may be left out.
    """


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="The study, a TOML file.", show_default=False)],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Time a few cells and say what would be done.")
    ] = False,
    store: Annotated[
        str | None, typer.Option(help="Where the results go, instead of [output] store.")
    ] = None,
    chunk_size: Annotated[
        int | None, typer.Option(help="Cells in a chunk; measured if left out.")
    ] = None,
    force_resume: Annotated[
        bool, typer.Option("--force-resume", help="Go on though the function has changed.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress line.")] = False,
    threads: Annotated[
        int | None, typer.Option(help="Host threads; one for each core if left out.")
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of process 0, where several processes share the sweep."),
    ] = None,
    processes: Annotated[int | None, typer.Option(help="How many processes there are.")] = None,
    process: Annotated[int | None, typer.Option(help="Which of them this is, from 0.")] = None,
) -> None:
    """Run a study; run it again to go on after an interruption."""
    import jax

    jax.config.update("jax_enable_x64", True)
    _join(coordinator, processes, process)
    # Imported when the processes have met: JAX must not start before.
    from .. import sweeps
    from ._study import read_study
    from ._study_function import errors_of

    with _one_line_errors():
        read = read_study(study)
        where = store or read.store or f"runs/{study.stem}.zarr"
        common: dict[str, Any] = {
            "static": read.static,
            "chunk_size": read.chunk_size if chunk_size is None else chunk_size,
            "cost": read.cost,
            "threads": threads,
        }
        if dry_run:
            with errors_of(read.source):
                found = sweeps.estimate(read.function, read.axes, **common)
            typer.echo(str(found))
            typer.echo(f"store     {where} ({'exists' if Path(where).exists() else 'new'})")
            return
        with errors_of(read.source):
            sweeps.sweep(
                read.function,
                read.axes,
                store=where,
                outputs=read.outputs,
                progress=not quiet,
                force_resume=force_resume,
                **common,
            )
        if jax.process_count() == 1:
            typer.echo(_summary(where))
        else:
            share = f"process {jax.process_index() + 1} of {jax.process_count()}"
            typer.echo(
                f"{share} has done its share. When all have: implicit-flow sweep status {where}"
            )


@app.command()
def status(
    store: Annotated[Path, typer.Argument(help="A store made by `sweep`.", show_default=False)],
) -> None:
    """Say how far a store is, what failed, and whether its files are whole."""
    with _one_line_errors():
        typer.echo(_summary(store))


@app.command()
def plot(
    store: Annotated[Path, typer.Argument(help="A store made by `sweep`.", show_default=False)],
    *,
    variable: Annotated[
        str | None, typer.Option(help="What to draw; the gap, or the first, if left out.")
    ] = None,
    x: Annotated[
        str | None, typer.Option(help="Horizontal axis; the longest but `seed` if left out.")
    ] = None,
    y: Annotated[
        str | None, typer.Option(help="Second axis: one curve each, and the height of the map.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pictures; that of the store if left out.")
    ] = None,
) -> None:
    """Draw medians with bands, and a heat map where there are two axes; failed cells marked."""
    from .. import sweeps

    with _one_line_errors():
        dataset = sweeps.load(store)
        drawn = variable or _first_variable(dataset)
        rest = [
            str(name)
            for name in sorted(dataset["result"].dims, key=lambda name: -dataset.sizes[name])
            if name not in {"seed", x, y} and dataset.sizes[name] > 1
        ]
        along = x or (rest.pop(0) if rest else str(dataset["result"].dims[0]))
        by = y or (rest[0] if rest else None)
        figures = {"curves": sweeps.curves(dataset, drawn, along, by)}
        if by is not None:
            figures["map"] = sweeps.heat_map(dataset, drawn, along, by)
        folder = out or store.parent
        folder.mkdir(parents=True, exist_ok=True)
        for kind, figure in figures.items():
            file = folder / f"{store.stem}-{drawn}-{kind}.png"
            figure.savefig(file, dpi=150)
            typer.echo(str(file))


def _first_variable(dataset: Any) -> str:
    from .. import _checks

    cells = set(dataset["result"].dims)
    found = [
        str(name)
        for name, variable in dataset.data_vars.items()
        if name not in {"result", "seconds", "attempt"} and set(variable.dims) == cells
    ]
    if not found:
        _checks.refuse("STORE", "hold a variable with one value for each cell", "holds none")
    return "gap" if "gap" in found else found[0]


def _summary(store: str | Path) -> str:
    from .. import sweeps
    from ..sweeps._progress import counted

    found = sweeps.status(store)
    cells = counted(found.cells, "cell")
    lines = [f"{store}: {found.done:,} of {cells} done, {found.failed:,} failed"]
    lines += [
        f"  {count:>9,}  {name}"
        for name, count in found.outcomes.items()
        if count < found.cells or name != "successful"
    ]
    if found.damaged:
        damaged = counted(found.damaged, "damaged chunk")
        lines.append(f"  {damaged}; the next run computes them again")
    if found.done < found.cells and not found.damaged:
        lines.append("  run the study again to compute the rest")
    lines += [f"  {text}" for text in found.errors[:5]]
    if found.runs:
        last = found.runs[-1]
        runs = counted(len(found.runs), "run")
        lines.append(f"  {runs}, the last {last['started']} on {', '.join(last['devices'])}")
    return "\n".join(lines)


def _join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Meet the other processes: as told, or as SLURM tells."""
    import jax

    from .. import _checks

    given = (coordinator, processes, process)
    if any(value is not None for value in given):
        if any(value is None for value in given):
            _checks.refuse(
                "--coordinator",
                "come with --processes and --process",
                "they do not come together",
                "Give all three, or none.",
            )
        if processes is None or processes < 1:
            _checks.refuse("--processes", "be 1 at least", f"is {processes}")
        if process is None or not 0 <= process < processes:
            _checks.refuse("--process", f"lie in 0 ... {processes - 1}", f"is {process}")
        host, _, port = (coordinator or "").rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 2**16:
            _checks.refuse("--coordinator", "be HOST:PORT", f"is {coordinator!r}")
        jax.distributed.initialize(coordinator, processes, process)
    elif int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        # Set by `srun` alone, so that a command in the batch script itself does not wait.
        jax.distributed.initialize()


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Say what is wrong without a traceback, and keep the lines of a difference apart."""
    previous = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        yield
    except KeyboardInterrupt as stop:
        early = "Interrupted before anything new was computed. Run the same command again."
        typer.echo(str(stop) or early, err=True)
        raise SystemExit(_INTERRUPTED) from None
    except (ValueError, TypeError) as error:
        refused = isinstance(error, TypeError) and str(error).startswith("Argument `")
        if "\n" not in str(error) and not refused:
            raise
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(_BAD_INPUT) from None
    except (MemoryError, OSError) as error:
        text = (error.strerror if isinstance(error, OSError) else None) or str(error)
        where = error.filename if isinstance(error, OSError) else None
        typer.echo(f"Error: {where}: {text}" if where else f"Error: {text}", err=True)
        raise SystemExit(_UNWRITABLE) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


def _as_interrupt(*_: object) -> NoReturn:
    """A scheduler's SIGTERM is heard like Ctrl-C: what is under way is stored."""
    raise KeyboardInterrupt
