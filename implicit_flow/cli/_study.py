"""A study in a TOML file: what to run, over which axes, and where to."""

import functools
import inspect
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import _checks, sweeps
from ._measures import DEFAULT_MEASURES, MEASURES, measure
from ._study_function import known, own_function


_SECTIONS = ("problem", "flow", "function", "axes", "output")
_RANGE_KEYS = ("from", "to", "count", "spacing")
# Axes that hold real numbers, also where all of them are whole.
_REAL = ("alpha", "log10_alpha", "noise", "rtol", "t1")
# What a problem of a file may say of it.
_OF_FILES = ("file", "dim", "rectangular", "shape")
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
        source: the user's own file, or None.
    """

    function: Callable[..., Any]
    axes: dict[str, sweeps.Axis]
    static: tuple[str, ...]
    outputs: dict[str, sweeps.Output]
    store: str | None
    chunk_size: int | None
    cost: Callable[..., float] | None
    source: Path | None


@dataclass(frozen=True)
class _Beside:
    """Where the study lies. It is the same study wherever that is, so its text leaves that out."""

    folder: Path = field(repr=False)


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
    known(text, _SECTIONS, "STUDY")
    for section, content in text.items():
        if not isinstance(content, dict):
            _checks.refuse(
                f"[{section}]", "be a table", f"is {content!r}", "Write it as a section."
            )
    if "axes" not in text:
        _checks.refuse("STUDY", "have a section [axes]", "has none", "Add for example seed = [0].")
    axes = {name: _axis(name, given) for name, given in text["axes"].items()}
    output = dict(text.get("output", {}))
    known(output, ("store", "chunk_size", "variables"), "[output]")
    if ("function" in text) == ("problem" in text):
        _checks.refuse(
            "STUDY", "have either [problem] or [function]", "has both or none", "Keep one of them."
        )
    if "function" in text:
        for idle, is_there in (
            ("[flow]", "flow" in text),
            ("[output] variables", "variables" in output),
        ):
            if is_there:
                _checks.refuse(
                    "STUDY",
                    f"have no {idle} beside [function]",
                    "has one",
                    "The function alone says what is computed and returned: remove it.",
                )
        function, static = own_function(text["function"], path)
        outputs: dict[str, sweeps.Output] = {}
        cost = None
        source = path.parent / text["function"]["file"]
    else:
        wanted = output.get("variables", DEFAULT_MEASURES)
        if not isinstance(wanted, list | tuple):
            _checks.refuse(
                "[output] variables", "be a list", f"is {wanted!r}", 'Write for example ["gap"].'
            )
        variables = tuple(wanted)
        known(variables, tuple(MEASURES), "[output] variables")
        axes = {name: _counted(name, axis) for name, axis in axes.items()}
        function, static = _flow_function(
            text["problem"], text.get("flow", {}), axes, variables, _Beside(path.parent)
        )
        outputs = {name: MEASURES[name].output for name in variables}
        axes = {
            name: sweeps.Axis(axis.values, description=_MEANINGS.get(name, ""))
            for name, axis in axes.items()
        }
        cost, source = flow_cost, None
    store, chunk_size = output.get("store"), output.get("chunk_size")
    if store is not None and not isinstance(store, str):
        _checks.refuse("[output] store", "be a path in quotes", f"is {store!r}")
    return StudyFile(function, axes, static, outputs, store, chunk_size, cost, source)


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
    known(given, _RANGE_KEYS, where)
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
    return sweeps.Axis(_spaced(where, first, last, count, spacing))


def _counted(name: str, axis: sweeps.Axis) -> sweeps.Axis:
    """Seeds and sizes of an equally spaced range as the integers that they are."""
    values = axis.values
    counts = name not in _REAL and isinstance(values, np.ndarray) and values.dtype.kind == "f"
    whole = counts and bool(np.all(values == np.round(values)))
    return sweeps.Axis(values.astype(np.int64)) if whole else axis


def _spaced(
    where: str, first: float | int, last: float | int, count: int, spacing: Any
) -> np.ndarray:
    if spacing == "linear":
        return np.linspace(first, last, count)
    if spacing != "log":
        _checks.refuse(where, 'have a spacing of "linear" or "log"', f"has {spacing!r}")
    if min(first, last) <= 0:
        _checks.refuse(
            where, "be positive for a logarithmic spacing", f"goes to {min(first, last)}"
        )
    return np.geomspace(first, last, count)


def _flow_function(
    problem: Mapping[str, Any],
    flow: Mapping[str, Any],
    axes: Mapping[str, Any],
    variables: tuple[str, ...],
    beside: _Beside,
) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """`simulate` on a problem, with each axis given to whom it belongs."""
    from .. import flows, problems

    problem, flow = dict(problem), dict(flow)
    if "file" in problem:
        generator, of_problem = problems.load, _OF_FILES
        if not isinstance(problem["file"], str):
            _checks.refuse("[problem] file", "be a path in quotes", f"is {problem['file']!r}")
    else:
        generator = _named(problems, problem.pop("kind", None), "[problem] kind", _is_generator)
        # The key comes from the seed.
        parameters = inspect.signature(generator).parameters
        of_problem = (*(name for name in parameters if name != "key"), "seed")
    if "file" in problem and "truth_error" in variables:
        _checks.refuse(
            "[output] variables",
            "hold what the problem can tell",
            'holds "truth_error", and a problem of a file has no planted X',
            "Remove it.",
        )
    _whole_seeds(problem, axes)
    kind = _named(flows, flow.pop("kind", "FactorFlow"), "[flow] kind", _is_flow)
    of_flow = tuple(name for name in inspect.signature(kind).parameters if name != "seed")
    of_simulate = ("alpha", "log10_alpha", "t1", "rtol", "max_steps")
    known(problem, of_problem, "[problem]")
    known(flow, (*of_flow, *of_simulate), "[flow]")
    known(axes, (*of_problem, *of_flow, *of_simulate), "[axes]")
    for where, made, given in (("[problem]", generator, problem), ("[flow]", kind, flow)):
        for name, parameter in inspect.signature(made).parameters.items():
            needed = parameter.default is inspect.Parameter.empty and name not in ("key", "path")
            if needed and name not in given and name not in axes:
                _checks.refuse(where, f"have `{name}`", "has none, nor has [axes]")
    traced = ("seed", "noise", "alpha", "log10_alpha", "t1")
    function = functools.partial(
        flow_cell,
        problem={"of": generator.__name__, **problem},
        flow={"of": kind.__name__, **{name: flow[name] for name in flow if name in of_flow}},
        options={name: flow[name] for name in flow if name in of_simulate},
        variables=variables,
        **({"beside": beside} if "file" in problem else {}),
    )
    return function, tuple(name for name in axes if name not in traced)


def _whole_seeds(problem: Mapping[str, Any], axes: Mapping[str, Any]) -> None:
    of_axis = list(axes["seed"].values) if "seed" in axes else []
    for where, seeds in (("[problem]", [problem.get("seed", 0)]), ("[axes]", of_axis)):
        for seed in seeds:
            if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
                _checks.refuse(f"{where} seed", "be an integer, 0 at least", f"is {seed!r}")


def _is_generator(value: Any) -> bool:
    return inspect.isfunction(value) and "key" in inspect.signature(value).parameters


def _is_flow(value: Any) -> bool:
    from .. import flows

    if not inspect.isclass(value) or not issubclass(value, flows.AbstractFlow):
        return False
    # A potential or a steering is an object, which no line of TOML can be.
    return not inspect.isabstract(value) and value not in (flows.MirrorFlow, flows.SteeredFlow)


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
    beside: _Beside | None = None,
    **axes: Any,
) -> dict[str, Any]:
    """One cell of a study: make the problem, run the flow, measure the end.

    Args:
        problem: `of`, the generator, and its arguments.
        flow: `of`, the flow, and its arguments.
        options: further arguments of `simulate`.
        variables: names of measures.
        beside: the folder of the study, where it names a file.
        axes: values of the axes; they take precedence.

    Returns:
        The measures, and the result code.
    """
    from .. import flows, problems, simulate

    made = dict(problem)
    generator = getattr(problems, made.pop("of"))
    flow_made = dict(flow)
    kind = getattr(flows, flow_made.pop("of"))
    of_problem = (*inspect.signature(generator).parameters, "seed", "file")
    of_flow = tuple(name for name in inspect.signature(kind).parameters if name != "seed")
    asked = dict(options)
    for name, value in axes.items():
        home = made if name in of_problem else flow_made if name in of_flow else asked
        home[name] = value
    if beside is not None:
        if isinstance(made.get("shape"), list):
            made["shape"] = tuple(made["shape"])
        posed = generator(beside.folder / made.pop("file"), **made)
    else:
        key = jax.random.key(made.pop("seed", 0))
        posed = generator(**made, key=key)
    solution = simulate(posed, kind(**flow_made), **asked, throw=False)
    return measure(posed, solution, variables)
