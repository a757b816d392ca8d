"""What a store was made by: enough to tell another study apart, and to say how it differs."""

import datetime
import difflib
import hashlib
import importlib.metadata
import platform
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np

from .._version import __version__
from ._axes import GridAxis
from ._grid import Grid
from ._outputs import Returned
from ._source import function_name, function_source


# JSON: nested dictionaries, lists, strings and numbers.
Record: TypeAlias = dict[str, Any]

# Differences in these sections change the shape of the store; no insistence helps there.
_FIXED = ("axes", "returns", "outputs")


def identity(
    function: Callable[..., Any], grid: Grid, returned: Returned, programs: Mapping[str, str]
) -> Record:
    """All that must be the same for two runs to fill one store.

    Args:
        function: the function swept.
        grid: the grid.
        returned: what the function returns.
        programs: fingerprint of the traced program, for each setting of the static axes.

    Returns:
        Sections of plain values.
    """
    return {
        "axes": {axis.name: _axis_record(axis) for axis in grid.axes},
        "returns": returned.describe(),
        "outputs": returned.described_outputs(),
        # Not the module: a script and an import of it are the same study.
        "source": {
            "name": function_name(function).rpartition(".")[2],
            "text": function_source(function),
        },
        "program": dict(programs),
        "precision": {
            "x64": str(jax.config.values["jax_enable_x64"]),
            "matmul": str(jax.config.values["jax_default_matmul_precision"]),
            "random": str(jax.config.values["jax_default_prng_impl"]),
        },
        "versions": {
            "implicit_flow": __version__,
            "jax": jax.__version__,
            "jaxlib": importlib.metadata.version("jaxlib"),
        },
    }


def _axis_record(axis: GridAxis) -> str:
    values = axis.values.tolist()
    shown = values if len(values) <= 6 else [*values[:3], "...", *values[-2:]]
    digest = hashlib.sha256(repr(values).encode()).hexdigest()[:12]
    kind = "static " if axis.static else ""
    return f"{len(values)} {kind}{axis.values.dtype} values {shown} (sha256 {digest})"


def differences(stored: Record, current: Record) -> tuple[list[str], list[str]]:
    """How two identities differ, in words.

    Args:
        stored: of the store.
        current: of this call.

    Returns:
        Differences that cannot be overridden, and differences that can.
    """
    fixed: list[str] = []
    open_to_force: list[str] = []
    for section, new in current.items():
        old = stored.get(section, {})
        # Order counts too: the order of the axes is the layout of the arrays.
        if list(old.items()) == list(new.items()):
            continue
        (fixed if section in _FIXED else open_to_force).extend(_section(section, old, new))
    return fixed, open_to_force


def _section(section: str, old: Record, new: Record) -> list[str]:
    if section == "source" and old.get("text") != new["text"]:
        diff = difflib.unified_diff(
            old.get("text", "").splitlines(),
            new["text"].splitlines(),
            "store",
            "this call",
            "",
            "",
            2,
            "",
        )
        return ["source of the function:\n" + textwrap.indent("\n".join(diff), "    ")]
    if section == "program":
        changed = [label for label in new if old.get(label) != new[label]]
        where = f" (at {changed[0]})" if changed and changed[0] else ""
        return [
            f"program: the function now traces to other operations or constants{where}: a value "
            "that it closes over, a default, or something that it calls has changed"
        ]
    lines = [
        f"{section}: `{name}` was {old.get(name, 'absent')}, and is {new.get(name, 'absent')}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
    return lines or [f"{section}: the order was {', '.join(old)}, and is {', '.join(new)}"]


def run_record(devices: list[Any], process: int, processes: int) -> Record:
    """Who computes, with what, and by which command; recorded, but not compared.

    Args:
        devices: the devices of this process.
        process: index of this process.
        processes: how many there are.

    Returns:
        Plain values.
    """
    versions = {"python": platform.python_version(), "implicit_flow": __version__}
    for package in ("jax", "jaxlib", "diffrax", "equinox", "numpy", "xarray", "zarr"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "git": _git_commit(),
        "versions": versions,
        "devices": [f"{device.platform}: {device.device_kind}" for device in devices],
        "process": process,
        "processes": processes,
    }


def _git_commit() -> str | None:
    """The commit that the working directory stands on, with a plus where files have changed."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def plain(value: Any) -> Any:
    """NumPy scalars as Python numbers, for JSON.

    Args:
        value: anything that JSON knows, or a NumPy scalar.

    Returns:
        The same without NumPy.
    """
    return value.item() if isinstance(value, np.generic) else value
