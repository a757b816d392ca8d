"""Kinds of arguments that the doors of this package share."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh

from ._outputs import Output
from ._progress import AbstractProgress
from ._strategy import AbstractStrategy


_KINDS: dict[str, tuple[Any, str, str]] = {
    "mesh": (Mesh, "a jax.sharding.Mesh", "Leave it out to use all devices."),
    "strategy": (AbstractStrategy, "Loop() or Lanes()", "Both are in implicit_flow.sweeps."),
    "outputs": (Mapping, "a mapping from names to Output", 'Pass {"gap": Output(units="")}.'),
    "store": ((str, os.PathLike), "a path", 'Pass for example "runs/gap.zarr".'),
    "progress": (
        (bool, AbstractProgress),
        "True, False or an AbstractProgress",
        "False says nothing; ProgressLine(stream) writes elsewhere than to standard error.",
    ),
    "resume": (bool, "True or False", "True goes on with a store that exists."),
    "force_resume": (bool, "True or False", "True goes on with another version's store."),
}
_COUNTS = {
    "chunk_size": "Leave it out to have it measured.",
    "threads": "Leave it out for one for each core.",
}


def check_arguments(**given: Any) -> None:
    """Refuses arguments of the wrong kind; None stands for one that was left out.

    Args:
        **given: name -> value.

    Raises:
        TypeError: if one is of another kind.
        ValueError: if a count is no positive integer.
    """
    for name, value in given.items():
        if value is None:
            continue
        if name in _COUNTS:
            _check_count(name, value)
        elif name == "static":
            _check_names(value)
        elif name == "cost":
            _check_cost(value)
        else:
            kind, must, cure = _KINDS[name]
            if not isinstance(value, kind):
                raise TypeError(f"Argument `{name}` must be {must}, but is {value!r}. {cure}")
    for name, output in (given.get("outputs") or {}).items():
        if not isinstance(output, Output):
            raise TypeError(
                f'Argument `outputs["{name}"]` must be an Output, but is {output!r}. '
                f"Pass Output(description=...)."
            )


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(
            f"Argument `{name}` must be a positive integer, but is {value!r}. {_COUNTS[name]}"
        )


def _check_names(static: object) -> None:
    if isinstance(static, str):
        raise TypeError(
            f"Argument `static` must be a sequence of names, but is the string {static!r}. "
            f"Pass static=({static!r},)."
        )
    if not isinstance(static, Iterable):
        raise TypeError(
            f"Argument `static` must be a sequence of names, but is {static!r}. "
            'Pass for example ("size",), or leave it out.'
        )


def _check_cost(cost: object) -> None:
    if not callable(cost):
        raise TypeError(
            f"Argument `cost` must be a function of the named axes, but is {cost!r}. "
            "Return a relative running time, or leave it out."
        )
