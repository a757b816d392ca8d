"""The sizes of a run: those of its setting, and what was asked for instead, checked."""

import difflib
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import _checks


# Of an integer. No machine carries as many of anything, and the square of more overflows in XLA.
_LARGEST = 10**8


def sizes(
    settings: Mapping[str, Mapping[str, Any]],
    setting: str,
    given: Mapping[str, Any],
    *,
    least: Mapping[str, float | int] | None = None,
    most: Mapping[str, float | int] | None = None,
    seed: Any = 0,
) -> dict[str, Any]:
    """Merge the sizes of a setting with those that were given.

    Args:
        settings: of the experiment.
        setting: a key of `settings`.
        given: name -> value, None where the setting decides. A value must be of the kind that the
            setting has: an integer, a number, a word, or several of them.
        least: name -> the smallest value that an entry may have.
        most: name -> the largest.
        seed: of the run.

    Returns:
        Name -> value; tuples where the setting has tuples.

    Raises:
        ValueError: an unknown setting, a value of another kind, one that is too small, too large
            or beyond any machine, or a seed that is none.

    Example:
        >>> from implicit_flow.experiments._sizes import sizes
        >>> settings = {"tiny": {"dim": 4, "alphas": (0.1, 0.2)}}
        >>> sizes(settings, "tiny", {"dim": 8, "alphas": None})
        {'dim': 8, 'alphas': (0.1, 0.2)}
    """
    if setting not in settings:
        near = difflib.get_close_matches(str(setting), settings, n=1)
        cure = f"Did you mean {near[0]!r}?" if near else ""
        _checks.refuse("setting", f"be one of {', '.join(settings)}", f"is {setting!r}", cure)
    # NetCDF, in which results are kept, has integers of 32 bits.
    _checks.seed(seed, "seed", bits=31)
    chosen = dict(settings[setting])
    for name, value in given.items():
        if value is not None:
            known = [own[name] for own in settings.values() if own.get(name) is not None]
            chosen[name] = _of_kind(value, name, _sample(known)) if known else value
    for bounds, words, sign in ((least or {}, "at least", 1), (most or {}, "at most", -1)):
        for name, bound in bounds.items():
            value = chosen.get(name)
            if value is None:
                continue
            several = isinstance(value, list | tuple)
            if not all(sign * x >= sign * bound for x in (value if several else (value,))):
                must = f"{'hold' if several else 'be'} {words} {bound:g}"
                _checks.refuse(name, must, f"is {reprlib.repr(value)}")
    return chosen


def of_their_kinds(
    settings: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Refuse values of another kind than the settings have.

    Args:
        settings: of the experiment.
        given: name -> value; names that no setting has are left alone.

    Returns:
        The values; one that is given where several are taken stands alone in a tuple.

    Raises:
        ValueError: naming the first such value.
    """
    merged = sizes(settings, next(iter(settings)), given)
    return {name: merged[name] if value is not None else None for name, value in given.items()}


def _sample(known: Sequence[Any]) -> Any:
    """A value that shows the kind: where some are whole numbers and others not, one of these."""
    if not isinstance(known[0], list | tuple):
        return next((one for one in known if isinstance(one, float)), known[0])
    entries = [entry for one in known for entry in one]
    return (_sample(entries),) if entries else ()


def _of_kind(value: Any, name: str, sample: Any) -> Any:
    """The value as the kind of the sample; a single one where several are taken makes one."""
    if isinstance(sample, list | tuple):
        several = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
        entries = list(value) if several else [value]
        if not entries:
            _checks.refuse(name, "hold at least one value", "is empty")
        return tuple(_of_kind(entry, name, sample[0]) for entry in entries) if sample else value
    truth = isinstance(value, bool | np.bool_)
    if isinstance(sample, bool):
        fits, kind = truth, "True or False"
    elif isinstance(sample, str):
        fits, kind = isinstance(value, str), "a word"
    elif isinstance(sample, int):
        fits, kind = isinstance(value, int | np.integer) and not truth, "an integer"
        if fits and value > _LARGEST:
            _checks.refuse(name, f"be at most {_LARGEST:,}", f"is {value}")
    elif isinstance(sample, float):
        number = isinstance(value, int | float | np.integer | np.floating) and not truth
        fits, kind = number and bool(np.isfinite(value)), "a finite number"
    else:
        return value
    if not fits:
        _checks.refuse(name, f"be {kind}", f"is {reprlib.repr(value)}")
    return value
