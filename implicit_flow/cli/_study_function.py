"""The function of a study out of a file of the user's own, and errors that are that file's."""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import _checks


def known(given: Any, names: tuple[str, ...], where: str) -> None:
    """Refuse what a section of a study does not know.

    Args:
        given: names.
        names: those that there are.
        where: the section.

    Raises:
        ValueError: another name.
    """
    for name in given:
        if name not in names:
            _checks.refuse(where, f"hold only {', '.join(names)}", f"holds {name!r}")


def own_function(given: Mapping[str, Any], path: Path) -> tuple[Callable[..., Any], tuple]:
    """A function out of a Python file beside the study.

    Args:
        given: the section [function].
        path: of the study.

    Returns:
        The function, and the names of its static axes.

    Raises:
        ValueError: the section or the file says something that cannot be.
    """
    known(given, ("file", "name", "static"), "[function]")
    for needed in ("file", "name"):
        if needed not in given:
            _checks.refuse("[function]", f"have `{needed}`", "has none")
        if not isinstance(given[needed], str):
            _checks.refuse(f"[function] {needed}", "be in quotes", f"is {given[needed]!r}")
    static = given.get("static", [])
    if not isinstance(static, list) or not all(isinstance(name, str) for name in static):
        _checks.refuse("[function] static", "be a list of names of axes", f"is {static!r}")
    file = path.parent / given["file"]
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None or not file.is_file():
        _checks.refuse("[function] file", "be a Python file", f"{file} is none")
    module = importlib.util.module_from_spec(spec)
    # As an import does: dataclasses look their module up, and files beside it are imported.
    sys.modules.setdefault(spec.name, module)
    folder = str(file.parent.resolve())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        _checks.refuse(
            "[function] file",
            "be a Python file that can be imported",
            f"{file} raises {type(error).__name__}: {error}",
        )
    function = getattr(module, given["name"], None)
    if not callable(function):
        _checks.refuse("[function] name", f"be a function of {file.name}", f"is {given['name']!r}")
    return function, tuple(static)


@contextmanager
def errors_of(file: Path | None) -> Iterator[None]:
    """Say of an error that arises in the user's file that it does.

    Args:
        file: the user's file, if there is one.

    Raises:
        ValueError: what was raised from there, with the line.
    """
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = None if file is None else file.resolve()
        own = [frame for frame in frames if Path(frame.filename).resolve() == where]
        if not own:
            raise
        _checks.refuse(
            "[function] file",
            "hold a function that can be traced and run",
            f"line {own[-1].lineno} of {file} raises {type(error).__name__}: {error}",
        )
