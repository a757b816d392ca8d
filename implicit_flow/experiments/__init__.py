"""Claims of the theory, each a module that runs them and says what came out.

An experiment is a module of this folder whose name has no leading underscore. It is found by that
name and registered nowhere: `path_sgd_rnn.py` is `implicit_flow.experiments.path_sgd_rnn` in Python
and `implicit-flow experiments run path-sgd-rnn` on the command line. It offers:

- a docstring whose first line is the finding or the question, for `implicit-flow experiments list`;
- `CLAIM`, `HYPOTHESES` and `SOURCE`: what is claimed, under which hypotheses, and by whom. One
  string each; what was published is told apart from what is found here;
- `SETTINGS`, a dictionary of dictionaries: "tiny" runs in seconds, for the tests; "quick" in 20 to
  60 s of processor time; "full" is as published, or as large as a good machine carries;
- `run(*, setting="quick", seed=0, ...) -> xarray.Dataset`, keyword-only, where every further
  argument has a default (None for "as the setting says"). Its names become
  `--set NAME=VALUE`; `_sizes.sizes` merges what was given with the setting, and refuses sizes that
  are impossible. It may take `say`, a function that is called with a line of progress. `finish`
  puts the facts that every experiment states into the attributes of the dataset: `claim`,
  `hypotheses`, `source`, `setting`, `seed`, `outcome` and `outcome_text`;
- `plot(ds) -> matplotlib.figure.Figure`, made without pyplot, from the dataset alone;
- `table(ds) -> xarray.Dataset`, if what is worth reading as a table is not the whole dataset at
  its last `step`.

The outcome is "holds", "fails" or "undecided", for this run and its hypotheses; `outcome_text` is
one line with the numbers that decide it. "holds" and "fails" need evidence beyond the error that
the run knows of itself (rounding, error estimates, spread over seeds): where there is less, and
where a run diverged or ended at a limit that was set for it, the outcome is "undecided". It is
computed from the data, so that a run may disagree with what was published, and then says so.

Nothing happens at import, and neither xarray nor matplotlib is imported at the top of a module.
`tests/experiments` runs the tiny setting of every module and holds it to this page, and its numbers
to `tests/experiments/claims/NAME.py`, whose `check(ds)` asserts what a theorem fixes, against the
oracles.
"""

import ast
import difflib
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

from ._finish import OUTCOMES as OUTCOMES, finish as finish


def names() -> tuple[str, ...]:
    """The experiments, as they are called on the command line.

    Returns:
        Names with hyphens, in alphabetical order.
    """
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name.replace("_", "-") for name in modules if not name.startswith("_")))


def load(name: str) -> ModuleType:
    """Finds an experiment by its name.

    Args:
        name: with hyphens or underscores.

    Returns:
        Its module.

    Raises:
        ValueError: if there is no such experiment; the message offers the nearest names.

    Example:
        >>> from implicit_flow import experiments
        >>> experiments.load("network-size").__name__
        'implicit_flow.experiments.network_size'
    """
    known, wanted = names(), name.replace("_", "-")
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
        guess = f"Did you mean {' or '.join(f'`{one}`' for one in near)}? " if near else ""
        raise ValueError(
            f"Argument `name` must be the name of an experiment, but is {name!r}. {guess}"
            "`implicit-flow experiments list` shows all of them."
        )
    return importlib.import_module(f".{wanted.replace('-', '_')}", __name__)


def summary(name: str) -> str:
    """What an experiment is about, without importing it.

    Args:
        name: with hyphens, one of `names()`.

    Returns:
        The first line of its docstring.
    """
    file = Path(__path__[0]) / f"{name.replace('-', '_')}.py"
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def facts(name: str) -> dict[str, str]:
    """What an experiment states about itself, without importing it.

    Args:
        name: with hyphens.

    Returns:
        `summary`, `claim`, `hypotheses` and `source`; empty where there is no such experiment.
    """
    if name not in names():
        return {}
    file = Path(__path__[0]) / f"{name.replace('-', '_')}.py"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = {"summary": (ast.get_docstring(tree) or "").partition("\n")[0]}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            target = node.targets[0].id
            if target in ("CLAIM", "HYPOTHESES", "SOURCE"):
                found[target.lower()] = ast.literal_eval(node.value)
    return found


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name.replace("_", "-") not in names():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    own = (name for name in globals() if not name.startswith("_"))
    return sorted({*own, *(name.replace("-", "_") for name in names())})
