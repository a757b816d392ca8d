"""Axes of a grid: named values, checked before anything is computed."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np


# Names that the Dataset or the call uses for itself.
RESERVED = ("attempt", "key", "result", "seconds")


@final
@dataclass(frozen=True)
class Axis:
    """Values of one axis, with their units and what they mean.

    A plain sequence will do wherever an `Axis` will; this class adds the labels that end up as
    attributes of the Dataset's coordinate.

    Args:
        values: numbers, booleans or (for static axes) strings, all different.
        units: the unit, such as `"s"`; empty for a pure number.
        description: one line.

    Example:
        >>> from implicit_flow.sweeps import Axis
        >>> Axis([1e-2, 1e-4], description="scale of X0").description
        'scale of X0'
    """

    values: Any
    units: str = ""
    description: str = ""


@final
@dataclass(frozen=True)
class GridAxis:
    """A checked axis."""

    name: str
    values: np.ndarray
    static: bool
    units: str
    description: str

    @property
    def traced_values(self) -> np.ndarray:
        """The values as the function receives them, in JAX's current precision."""
        kind = {"b": bool, "i": int, "f": float}[self.values.dtype.kind]
        # What overflows or vanishes is found by `_check_representable`.
        with np.errstate(over="ignore", under="ignore"):
            return self.values.astype(jnp.result_type(kind))


def check_axes(
    function: Callable[..., Any], axes: Mapping[str, Any], static: Iterable[str] | None
) -> tuple[GridAxis, ...]:
    """Checks names and values, and that the function takes them.

    Args:
        function: the function to be swept.
        axes: name -> values or `Axis`.
        static: names of the axes that are passed as Python values, if any.

    Returns:
        The axes in the order given.

    Raises:
        ValueError: if a name or a value cannot be used.
        TypeError: if the function does not take the axes.
    """
    if not isinstance(axes, Mapping):
        raise TypeError(
            f"Argument `axes` must be a mapping from names to values, but is {axes!r}. "
            'Pass for example {"seed": range(10)}.'
        )
    if not axes:
        raise ValueError(
            "Argument `axes` must name at least one axis, but is empty. "
            'Pass for example {"seed": range(10)}.'
        )
    static = () if static is None else tuple(static)
    for name in static:
        if name not in axes:
            raise ValueError(
                f"Argument `static` must hold names of axes, but holds {name!r}; the axes are "
                f"{', '.join(axes)}. Correct the name, or add the axis."
            )
    checked = tuple(
        _check_axis(name, values, static=name in static) for name, values in axes.items()
    )
    _check_signature(function, tuple(axes))
    return checked


def _check_axis(name: Any, given: Any, *, static: bool) -> GridAxis:
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(
            f"Argument `axes` must be keyed by names that can be keyword arguments, but holds "
            f"{name!r}. Rename the axis."
        )
    if name in RESERVED:
        raise ValueError(
            f"Argument `axes` must not use the reserved names {', '.join(RESERVED)}, but holds "
            f"{name!r}. Rename the axis; random keys are passed by `sweep` itself."
        )
    axis = given if isinstance(given, Axis) else Axis(given)
    values = _as_array(name, axis.values)
    where = f'Argument `axes["{name}"]`'
    if values.size == 0:
        raise ValueError(f"{where} must hold at least one value, but is empty. Add a value.")
    if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(
            f"{where} must hold finite values, but holds {values[bad]} at position {bad}. "
            "A nan labels no cell: remove it."
        )
    _check_distinct(where, values)
    if values.dtype.kind == "U" and not static:
        raise ValueError(
            f"{where} must hold numbers, but holds strings. JAX cannot trace a string: "
            f"pass static=({name!r},)."
        )
    checked = GridAxis(name, values, static, axis.units, axis.description)
    if not static:
        _check_representable(where, checked)
    return checked


def _as_array(name: str, values: Any) -> np.ndarray:
    where = f'Argument `axes["{name}"]`'
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(
            f"{where} must be a sequence of values, but is {values!r}. Pass [{values!r}]."
        )
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"{where} must hold a value at every place, but is masked at some. "
            "Pass `values.compressed()`."
        )
    if isinstance(values, np.ndarray | jax.Array):
        array = np.asarray(values)
    else:
        items = list(values)
        if any(isinstance(item, str) for item in items) and not all(
            isinstance(item, str) for item in items
        ):
            raise ValueError(
                f"{where} must hold values of one kind, but mixes strings and numbers. "
                "Write all of them as strings, or none."
            )
        try:
            array = np.asarray(items) if items else np.zeros(0)
        except ValueError:
            array = np.asarray(items, dtype=object)
    if array.ndim != 1:
        raise ValueError(
            f"{where} must be one-dimensional, but has shape {array.shape}. An axis is a list of "
            "scalars: sweep over an index, and look the array up inside the function."
        )
    if array.dtype.kind in "iu":
        if array.dtype == np.uint64 and np.any(array > np.uint64(np.iinfo(np.int64).max)):
            raise ValueError(
                f"{where} must hold integers below 2^63, but holds {array.max()}. Use smaller ones."
            )
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        # Minus zero equals zero, and would be a second label for one cell.
        return array.astype(np.float64) + 0.0
    if array.dtype.kind in "bU":
        return array
    raise ValueError(
        f"{where} must hold numbers, booleans or strings, but holds {array.dtype} values. "
        "Sweep over an index or a name, and look the object up inside the function."
    )


def _check_distinct(where: str, values: np.ndarray) -> None:
    distinct, counts = np.unique(values, return_counts=True)
    if distinct.size < values.size:
        twice = distinct[counts > 1][0]
        raise ValueError(
            f"{where} must hold each value once, but holds {twice!s} "
            f"{counts[counts > 1][0]} times. Remove the copies; for repetitions add an axis, "
            'such as {"repetition": range(3)}.'
        )


def _check_representable(where: str, axis: GridAxis) -> None:
    """What JAX's precision would make of the values must still be the values."""
    traced = axis.traced_values
    if traced.dtype.kind == "i":
        changed = traced.astype(np.int64) != axis.values
    elif traced.dtype.kind == "f":
        vanished = (traced == 0) & (axis.values != 0)
        changed = vanished | ~np.isfinite(traced)
        if not np.any(changed) and np.unique(traced).size < traced.size:
            raise ValueError(
                f"{where} must hold values that {traced.dtype} can tell apart, but some of its "
                "values are equal there. Turn on float64 "
                '(`jax.config.update("jax_enable_x64", True)`), or space them wider.'
            )
    else:
        return
    if np.any(changed):
        bad = int(np.flatnonzero(changed)[0])
        raise ValueError(
            f"{where} must hold values that {traced.dtype} can hold, but holds "
            f"{axis.values[bad]}, which becomes {traced[bad]}. Turn on float64 "
            '(`jax.config.update("jax_enable_x64", True)`), or sweep over the logarithm.'
        )


def accepts_key(function: Callable[..., Any]) -> bool:
    """Whether the function has a parameter named `key`.

    Args:
        function: any callable.

    Returns:
        True if `key=` is one of its named parameters, and not given by `functools.partial`.
    """
    given = getattr(function, "keywords", None)
    if isinstance(given, Mapping) and "key" in given:
        return False
    try:
        return "key" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def _check_signature(function: Callable[..., Any], names: tuple[str, ...]) -> None:
    if not callable(function):
        raise TypeError(
            f"Argument `function` must be callable, but is {function!r}. "
            "Pass a function of the named axes."
        )
    with_key = (*names, "key") if accepts_key(function) else names
    _check_parameters(function, "function", names, with_key)


def check_cost(cost: Callable[..., Any] | None, names: tuple[str, ...]) -> None:
    """Checks that a cost takes the axes.

    Args:
        cost: the expected relative cost of a cell, or None.
        names: names of the axes.

    Raises:
        TypeError: if it does not.
    """
    if cost is not None:
        _check_parameters(cost, "cost", names, names)


def _check_parameters(
    function: Callable[..., Any], argument: str, names: tuple[str, ...], given: tuple[str, ...]
) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(**dict.fromkeys(given))
    except TypeError as error:
        raise TypeError(
            f"Argument `{argument}` must take the axes {', '.join(names)} as keyword arguments, "
            f"but has the signature {signature} ({error}). Rename the axes or the parameters, or "
            "bind the others with functools.partial."
        ) from None
