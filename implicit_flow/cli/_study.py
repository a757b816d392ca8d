"""A study in a TOML file: what to run, over which axes, and where to."""

import functools
import importlib.util
import inspect
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import _checks, sweeps
from ._measures import DEFAULT_MEASURES, MEASURES, measure


_SECTIONS = ("problem", "flow", "function", "axes", "output")
_RANGE_KEYS = ("from", "to", "count", "spacing")
# What pictures say at the axes of a study of flows.
_MEANINGS = {
    "alpha": "α, scale of X0",
    "log10_alpha": "log10 α, scale of X0",
    "depth": "depth",
    "dim": "n, dimension",
    "max_steps": "most steps of the solver",
    "noise": "noise of the targets",
    "num_measurements": "m, number of measurements",
    "rank": "rank",
    "rtol": "tolerance of X, relative",
    "seed": "seed of the problem",
    "t1": "flow time",
}


@dataclass(frozen=True)
class StudyFile:
    """A study, ready for `sweeps.sweep`.

    Attributes:
        function: of the named axes.
        axes: name -> `sweeps.Axis`.
        static: names of the axes that are sizes or kinds.
        outputs: labels of what the function returns.
        store: where the results go, or None.
        chunk_size: cells in a chunk, or None.
        cost: relative cost of a cell, or None where nothing is known.
    """

    function: Callable[..., Any]
    axes: dict[str, sweeps.Axis]
    static: tuple[str, ...]
    outputs: dict[str, sweeps.Output]
    store: str | None
    chunk_size: int | None
    cost: Callable[..., float] | None


# Values of one axis: as many cells as no sweep has.
_MOST = 10**8


def read_study(path: Path) -> StudyFile:
    """Read a study.

    Either `[problem]` (with `kind`, a generator of `implicit_flow.problems`, or `file`) and
    `[flow]` (with `kind`, and arguments of the flow and of `simulate`), or `[function]` (with
    `file` and `name`). An axis is a list, or a table with `from`, `to`, `count`, `spacing`.

    Args:
        path: of the TOML file.

    Returns:
        The study.

    Raises:
        ValueError: the file says something that cannot be; the message says where.
    """
    if not path.is_file():
        _checks.refuse("STUDY", "be a file", f"there is no file {path}")
    try:
        text = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        _checks.refuse("STUDY", "be a TOML file", f"{path} is not: {error}")
    _known(text, _SECTIONS, "STUDY")
    for section, content in text.items():
        if not isinstance(content, dict):
            _checks.refuse(
                f"[{section}]", "be a table", f"is {content!r}", "Write it as a section."
            )
    if "axes" not in text:
        _checks.refuse("STUDY", "have a section [axes]", "has none", "Add for example seed = [0].")
    axes = {name: _axis(name, given) for name, given in text["axes"].items()}
    output = dict(text.get("output", {}))
    _known(output, ("store", "chunk_size", "variables"), "[output]")
    if ("function" in text) == ("problem" in text):
        _checks.refuse(
            "STUDY", "have either [problem] or [function]", "has both or none", "Keep one of them."
        )
    if "function" in text:
        function, static = _own_function(text["function"], path)
        outputs: dict[str, sweeps.Output] = {}
        cost = None
    else:
        wanted = output.get("variables", DEFAULT_MEASURES)
        if isinstance(wanted, str):
            _checks.refuse(
                "[output] variables", "be a list", f"is {wanted!r}", f'Write ["{wanted}"].'
            )
        variables = tuple(wanted)
        _known(variables, tuple(MEASURES), "[output] variables")
        function, static = _flow_function(text["problem"], text.get("flow", {}), axes, variables)
        outputs = {name: MEASURES[name].output for name in variables}
        axes = {
            name: sweeps.Axis(axis.values, description=_MEANINGS.get(name, ""))
            for name, axis in axes.items()
        }
        cost = flow_cost
    store, chunk_size = output.get("store"), output.get("chunk_size")
    if store is not None and not isinstance(store, str):
        _checks.refuse("[output] store", "be a path in quotes", f"is {store!r}")
    return StudyFile(function, axes, static, outputs, store, chunk_size, cost)


def _known(given: Any, known: tuple[str, ...], where: str) -> None:
    for name in given:
        if name not in known:
            _checks.refuse(where, f"hold only {', '.join(known)}", f"holds {name!r}")


def _axis(name: str, given: Any) -> sweeps.Axis:
    where = f"[axes] {name}"
    if isinstance(given, list):
        return sweeps.Axis(given)
    if not isinstance(given, dict) or "from" not in given or "to" not in given:
        _checks.refuse(
            where,
            "be a list, or a table with `from` and `to`",
            f"is {given!r}",
            "Write for example [1, 2, 3] or {from = -1, to = -12, count = 12}.",
        )
    _known(given, _RANGE_KEYS, where)
    first, last, spacing = given["from"], given["to"], given.get("spacing", "linear")
    for end in (first, last):
        if isinstance(end, bool) or not isinstance(end, int | float) or not np.isfinite(end):
            _checks.refuse(where, "have numbers as `from` and `to`", f"goes to {end!r}")
    if "count" not in given:
        if not (isinstance(first, int) and isinstance(last, int)) or spacing != "linear":
            _checks.refuse(where, "have a `count`", "has none", "Without one, it counts by ones.")
        if abs(last - first) >= _MOST:
            _checks.refuse(where, f"have at most {_MOST:,} values", f"goes to {last}")
        step = 1 if last >= first else -1
        return sweeps.Axis(range(first, last + step, step))
    count = given["count"]
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MOST:
        _checks.refuse(where, f"have a count from 1 to {_MOST:,}", f"has {count!r}")
    if spacing == "linear":
        return sweeps.Axis(np.linspace(first, last, count))
    if spacing != "log":
        _checks.refuse(where, 'have a spacing of "linear" or "log"', f"has {spacing!r}")
    if min(first, last) <= 0:
        _checks.refuse(
            where, "be positive for a logarithmic spacing", f"goes to {min(first, last)}"
        )
    return sweeps.Axis(np.geomspace(first, last, count))


def _own_function(given: Mapping[str, Any], path: Path) -> tuple[Callable[..., Any], tuple]:
    """A function out of a Python file beside the study."""
    _known(given, ("file", "name", "static"), "[function]")
    for needed in ("file", "name"):
        if needed not in given:
            _checks.refuse("[function]", f"have `{needed}`", "has none")
    file = path.parent / given["file"]
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None or not file.is_file():
        _checks.refuse("[function] file", "be a Python file", f"{file} is none")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, given["name"], None)
    if not callable(function):
        _checks.refuse("[function] name", f"be a function of {file.name}", f"is {given['name']!r}")
    return function, tuple(given.get("static", ()))


def _flow_function(
    problem: Mapping[str, Any],
    flow: Mapping[str, Any],
    axes: Mapping[str, Any],
    variables: tuple[str, ...],
) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """`simulate` on a problem, with each axis given to whom it belongs."""
    from .. import flows, problems

    problem, flow = dict(problem), dict(flow)
    if "file" in problem:
        generator, of_problem = problems.load, ("file",)
    else:
        generator = _named(problems, problem.pop("kind", None), "[problem] kind", _is_generator)
        of_problem = (*inspect.signature(generator).parameters, "seed")
    kind = _named(flows, flow.pop("kind", "FactorFlow"), "[flow] kind", _is_flow)
    of_flow = tuple(name for name in inspect.signature(kind).parameters if name != "seed")
    of_simulate = ("alpha", "log10_alpha", "t1", "rtol", "max_steps")
    _known(problem, of_problem, "[problem]")
    _known(flow, (*of_flow, *of_simulate), "[flow]")
    _known(axes, (*of_problem, *of_flow, *of_simulate), "[axes]")
    traced = ("seed", "noise", "alpha", "log10_alpha", "t1")
    function = functools.partial(
        flow_cell,
        problem={"of": generator.__name__, **problem},
        flow={"of": kind.__name__, **{name: flow[name] for name in flow if name in of_flow}},
        options={name: flow[name] for name in flow if name in of_simulate},
        variables=variables,
    )
    return function, tuple(name for name in axes if name not in traced)


def _is_generator(value: Any) -> bool:
    return inspect.isfunction(value) and "key" in inspect.signature(value).parameters


def _is_flow(value: Any) -> bool:
    from .. import flows

    return (
        inspect.isclass(value)
        and issubclass(value, flows.AbstractFlow)
        and not inspect.isabstract(value)
    )


def _named(module: Any, name: Any, where: str, fits: Callable[[Any], bool]) -> Any:
    known = sorted(key for key, value in vars(module).items() if fits(value))
    if name not in known:
        _checks.refuse(where, f"be one of {', '.join(known)}", f"is {name!r}")
    return getattr(module, name)


def flow_cost(**axes: Any) -> float:
    """The relative cost of a cell: a flow takes longer to leave a smaller start.

    From alpha = 1e-1 to 1e-12 the time of a flow on 40 Gaussian measurements (n = 10) grows by half
    (`python -m benchmarks.test_sweeps cost`). How it grows with sizes is left to the order of the
    static axes, which no chunk mixes.

    Args:
        axes: values of the axes.

    Returns:
        A positive number.
    """
    log10_alpha = axes.get("log10_alpha")
    if log10_alpha is None:
        alpha = axes.get("alpha", 1.0)
        log10_alpha = math.log10(alpha) if alpha > 0 else 0.0
    return 20.0 + max(0.0, -log10_alpha)


def flow_cell(
    *,
    problem: Mapping[str, Any],
    flow: Mapping[str, Any],
    options: Mapping[str, Any],
    variables: tuple[str, ...],
    **axes: Any,
) -> dict[str, Any]:
    """One cell of a study: make the problem, run the flow, measure the end.

    Args:
        problem: `of`, the generator, and its arguments.
        flow: `of`, the flow, and its arguments.
        options: further arguments of `simulate`.
        variables: names of measures.
        axes: values of the axes; they take precedence.

    Returns:
        The measures, and the result code.
    """
    from .. import flows, problems, simulate

    made = dict(problem)
    generator = getattr(problems, made.pop("of"))
    flow_made = dict(flow)
    kind = getattr(flows, flow_made.pop("of"))
    of_problem = (*inspect.signature(generator).parameters, "seed")
    of_flow = tuple(name for name in inspect.signature(kind).parameters if name != "seed")
    asked = dict(options)
    for name, value in axes.items():
        home = made if name in of_problem else flow_made if name in of_flow else asked
        home[name] = value
    if "file" in made:
        posed = generator(made["file"])
    else:
        key = jax.random.key(made.pop("seed", 0))
        posed = generator(**made, key=key)
    solution = simulate(posed, kind(**flow_made), **asked, throw=False)
    return measure(posed, solution, variables)
