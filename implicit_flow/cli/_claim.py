"""An experiment of the command line, from its options to its folder of results."""

import ast
import difflib
import inspect
import json
import math
import platform
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import typer

from .. import _checks, experiments
from .._version import __version__
from ..experiments._sizes import of_their_kinds
from ._folder import OutputFolder
from ._interruptible import interruptible
from ._report import check_extras


if TYPE_CHECKING:
    import xarray


# Rows of the table that are shown; the file has all of them.
_SHOWN = 40


class Request(NamedTuple):
    """The options of `implicit-flow experiments run`, as they were given."""

    name: str
    setting: str
    seed: int
    changes: tuple[str, ...]
    out: Path | None
    force: bool
    quiet: bool


def answer(request: Request) -> None:
    """Run an experiment and write what came out.

    Args:
        request: the options of the command.

    Raises:
        ValueError: bad input; the message says what is wrong and what to do.
        ImportError: a package for the results is missing.
    """
    jax.config.update("jax_enable_x64", True)
    setting = request.setting
    module = experiments.load(request.name)
    name = module.__name__.rpartition(".")[2].replace("_", "-")
    arguments = of_their_kinds(module.SETTINGS, _arguments(module.run, request.changes))
    check_extras()
    if "say" in inspect.signature(module.run).parameters and not request.quiet:
        arguments["say"] = _progress
    if not request.quiet:
        typer.echo(f"Claim: {module.CLAIM}\nUnder: {module.HYPOTHESES}\nSource: {module.SOURCE}\n")
    with OutputFolder(request.out or Path("runs") / name, force=request.force) as folder:
        start = time.perf_counter()
        ds = interruptible(lambda: module.run(setting=setting, seed=request.seed, **arguments))
        seconds = time.perf_counter() - start
        table = _table(module, ds)
        if not request.quiet:
            typer.echo(table.head(_SHOWN).to_string(float_format=lambda x: f"{x:.5g}"))
            if len(table) > _SHOWN:
                typer.echo(f"... {len(table) - _SHOWN} more rows are in table.csv")
            typer.echo("")
        table.to_csv(folder.draft / "table.csv", float_format="%.10g")
        module.plot(ds).savefig(folder.draft / "figure.png", dpi=150)
        ds.to_netcdf(folder.draft / "data.nc", engine="scipy")
        facts = _facts(name, request, setting, ds, seconds)
        text = json.dumps(facts, indent=2, allow_nan=False, ensure_ascii=False)
        (folder.draft / "outcome.json").write_text(text + "\n", encoding="utf-8")
        folder.publish()
    typer.echo(f"Outcome: {ds.attrs['outcome']}. {ds.attrs['outcome_text']}")
    if not request.quiet:
        typer.echo(f"\nResults: {folder.path}")


def _progress(line: str) -> None:
    typer.echo(line, err=True)


def _arguments(run: Any, changes: tuple[str, ...]) -> dict[str, Any]:
    """The arguments that `--set` names, as Python values; words need no quotes."""
    fixed = {"setting", "seed", "say"}
    known = [name for name in inspect.signature(run).parameters if name not in fixed]
    found: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            guess = f"Did you mean {near[0]}?" if near else f"It can be: {', '.join(known)}."
            _checks.refuse(
                "--set", "be NAME=VALUE for an argument of the experiment", f"is {change}", guess
            )
        try:
            found[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[name] = text
    return found


def _table(module: Any, ds: "xarray.Dataset") -> Any:
    """What is worth reading, as a data frame."""
    if hasattr(module, "table"):
        ds = module.table(ds)
    elif "step" in ds.dims:
        ds = ds.isel(step=-1)
    return ds.to_dataframe() if ds.dims else ds.expand_dims("run").to_dataframe()


def _facts(
    name: str, request: Request, setting: str, ds: "xarray.Dataset", seconds: float
) -> dict[str, Any]:
    """What was asked and what came out, as JSON values."""
    words = ["implicit-flow", "experiments", "run", name, "--setting", setting]
    words += ["--seed", str(request.seed)]
    for change in request.changes:
        words += ["--set", change]
    device = jax.devices()[0]
    return {
        "experiment": name,
        **{key: _plain(value) for key, value in ds.attrs.items()},
        "command": shlex.join(words),
        "seconds": round(seconds, 1),
        "device": f"{device.device_kind} ({device.platform})",
        "implicit_flow": __version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
    }


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
