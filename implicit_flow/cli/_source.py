"""Which problem a command works on: one of two that are built in, or a file."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import jax

from .. import _checks
from ..problems import Problem, gaussian_sensing, load
from ._built_in import BuiltIn


# The number of measurements of a planted 20 x 20 matrix of rank 2, which has 39 degrees of freedom.
_NUM_MEASUREMENTS = {BuiltIn.SENSING: 120, BuiltIn.HARD: 60}


class Source(NamedTuple):
    """A problem and where it came from.

    Attributes:
        problem: what to fit.
        title: one line for a reader.
        facts: name -> value, what is needed to have the same problem again.
        arguments: the part of the command line that names it.
    """

    problem: Problem
    title: str
    facts: dict[str, str | int]
    arguments: list[str]


def built_in(name: BuiltIn, *, seed: int) -> Source:
    """A problem that needs no file.

    Args:
        name: which.
        seed: of its random numbers.

    Returns:
        The problem.

    Raises:
        ValueError: a seed that is no seed.
    """
    _checks.seed(seed, "--seed")
    m = _NUM_MEASUREMENTS[name]
    problem = gaussian_sensing(20, 2, m, key=jax.random.key(seed))
    arguments = ([] if name is BuiltIn.SENSING else ["--problem", name.value]) + (
        ["--seed", str(seed)] if seed else []
    )
    return Source(
        problem,
        f"{m} Gaussian measurements of a planted 20 × 20 matrix of rank 2 (seed {seed})",
        {"kind": f"built in: {name.value}", "seed": seed},
        arguments,
    )


def from_file(
    path: Path, *, rectangular: bool, dim: int | None, shape: tuple[int, int] | None
) -> Source:
    """A problem from a file.

    Args:
        path: of a `.npz` or `.csv`.
        rectangular: the `.csv` holds entries of a rectangular matrix.
        dim: n, for a symmetric `.csv`.
        shape: (p, q), for a rectangular one.

    Returns:
        The problem.

    Raises:
        ValueError: whatever is wrong with the file.
    """
    problem = load(path, dim=dim, rectangular=rectangular, shape=shape)
    n, m = problem.dim, problem.num_measurements
    facts: dict[str, str | int] = {
        "kind": "file",
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    arguments = [str(path)]
    if rectangular:
        arguments.append("--rectangular")
        p, q = problem.measurement.block  # pyright: ignore[reportAttributeAccessIssue]
        what = f"{m} entries of a {p} × {q} matrix"
    elif path.suffix.lower() == ".csv":
        what = f"{m} entries of a symmetric {n} × {n} matrix"
    else:
        what = f"{m} measurements of a symmetric {n} × {n} matrix"
    if dim is not None:
        arguments += ["--dim", str(dim)]
    if shape is not None:
        arguments += ["--shape", f"{shape[0]},{shape[1]}"]
    return Source(problem, f"{what} ({path.name})", facts, arguments)
