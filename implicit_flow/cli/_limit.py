"""`implicit-flow limit`: the main job."""

from pathlib import Path
from typing import Annotated

import typer

from ._built_in import DEFAULT_ALPHAS, BuiltIn


def limit(
    *,
    problem: Annotated[
        Path | None,
        typer.Argument(
            metavar="PROBLEM",
            help="A .npz with stack (m, n, n) and targets (m,), or a .csv of row,col,value. "
            "Without it: a problem that is built in.",
        ),
    ] = None,
    name: Annotated[
        BuiltIn | None,
        typer.Option(
            "--problem",
            help="Which built-in problem: sensing (n = 20, rank 2, m = 120; the default) or hard "
            "(m = 60).",
        ),
    ] = None,
    alphas: Annotated[
        str,
        typer.Option(
            help="Scales of the start, comma-separated; also below the range of floats, such as "
            "1e-3000."
        ),
    ] = DEFAULT_ALPHAS,
    rectangular: Annotated[
        bool, typer.Option("--rectangular", help="The .csv holds entries of a rectangular matrix.")
    ] = False,
    dim: Annotated[
        int | None, typer.Option(help="Size of a symmetric .csv whose last rows are unseen.")
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(metavar="P,Q", help="Shape of a rectangular .csv with unseen last rows."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the built-in problem. (default: 0)")] = None,
    rtol: Annotated[
        float | None,
        typer.Option(help="Relative error of X asked for at each alpha. (default: 1e-6)"),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Relative misfit up to which noisy targets count as met."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("limit-report"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace the report in a folder that exists.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and nothing else, to stdout.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress and no table: the verdict only.")
    ] = False,
) -> None:
    """Where does the flow go as alpha -> 0, with a proof.

    Walks a ladder of alphas, certifies where it ends, and writes a folder with a report
    (report.html), its pictures, and the numbers (result.json, result.nc).

    Exit codes: 0 answered (the verdict may be "undecided"), 2 bad input, 3 not converged.
    """
    from ._job import Options, run

    run(
        Options(
            path=problem,
            name=name,
            alphas=alphas,
            rectangular=rectangular,
            dim=dim,
            shape=shape,
            seed=seed,
            rtol=rtol,
            tolerance=tolerance,
            out=out,
            force=force,
            json=json,
            quiet=quiet,
        )
    )
