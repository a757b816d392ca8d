"""What the function returns: a name, a shape and labels for every array, and the result code."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from ._axes import RESERVED
from ._outcomes import Item


# Of file names, with room for what Zarr and we append.
_LONGEST_NAME = 200


@final
@dataclass(frozen=True)
class Output:
    """Labels for one returned array.

    Args:
        units: the unit; empty for a pure number.
        description: one line.
        dims: names of the array's own dimensions, `NAME_dim0`, ... by default.
        may_be_nonfinite: whether nan or inf is an answer here rather than a failure.

    Example:
        >>> from implicit_flow.sweeps import Output
        >>> Output(units="s", description="flow time").units
        's'
    """

    units: str = ""
    description: str = ""
    dims: tuple[str, ...] | None = None
    may_be_nonfinite: bool = False

    def __post_init__(self):
        dims = self.dims
        if dims is not None and not (
            isinstance(dims, tuple | list) and all(isinstance(dim, str) for dim in dims)
        ):
            raise TypeError(
                f"Argument `dims` must be a tuple of names, but is {dims!r}. "
                'Pass for example ("time",).'
            )


@final
@dataclass(frozen=True)
class Variable:
    """One array that the function returns, as it is stored."""

    name: str
    position: int
    shape: tuple[int, ...]
    dtype: np.dtype
    dims: tuple[str, ...]
    output: Output

    def describe(self) -> str:
        return f"{self.dtype}{list(self.shape)}"

    def describe_output(self) -> str:
        nonfinite = "an answer" if self.output.may_be_nonfinite else "a failure"
        return (
            f"in units {self.output.units!r}, {self.output.description!r}, over "
            f"{list(self.dims)}, nan and inf {nonfinite}"
        )


@final
@dataclass(frozen=True)
class Returned:
    """All that a function returns."""

    variables: tuple[Variable, ...]
    result_position: int | None
    enumeration: Any

    def described_outputs(self) -> dict[str, str]:
        """What the labels say, and what counts as a failure."""
        return {variable.name: variable.describe_output() for variable in self.variables}

    def describe(self) -> dict[str, str]:
        described = {variable.name: variable.describe() for variable in self.variables}
        if self.enumeration is not None:
            # Codes are positions, so an enumeration with other items would misread the store.
            names = ",".join(self.enumeration._name_to_item)
            digest = hashlib.sha256(names.encode()).hexdigest()[:12]
            described["result"] = f"{self.enumeration.__qualname__} (sha256 {digest})"
        return described


def describe_returned(
    shapes: Any, outputs: Mapping[str, Output], axis_names: tuple[str, ...]
) -> Returned:
    """Names the leaves of what a function returns.

    Args:
        shapes: the returned pytree, of `jax.ShapeDtypeStruct`.
        outputs: labels by name.
        axis_names: names that are taken.

    Returns:
        The variables and the place of the result code among the leaves.

    Raises:
        ValueError: if names collide, or something returned cannot be stored.
    """
    leaves = jax.tree_util.tree_flatten_with_path(
        shapes, is_leaf=lambda leaf: isinstance(leaf, Item)
    )[0]
    variables: list[Variable] = []
    result_position, enumeration = None, None
    for position, (path, leaf) in enumerate(leaves):
        name = ".".join(part_name(key) for key in path) or "value"
        if isinstance(leaf, Item):
            if enumeration is not None:
                raise ValueError(
                    "Argument `function` must return at most one result code, but returns several, "
                    f"the second as {name!r}. Return the one that counts."
                )
            result_position, enumeration = position, leaf._enumeration
            leaf = leaf._value
            if leaf.shape:
                raise ValueError(
                    "Argument `function` must return one result code for a cell, but returns an "
                    f"array of them of shape {leaf.shape}. Reduce it to the one that counts."
                )
            continue
        _check_name(name, [*axis_names, *(variable.name for variable in variables)])
        variables.append(_variable(name, position, leaf, outputs.get(name, Output())))
    if not variables and enumeration is None:
        raise ValueError(
            "Argument `function` must return arrays, but returns none. "
            'Return for example {"gap": gap}.'
        )
    known = {variable.name for variable in variables}
    for name in outputs:
        if name not in known:
            raise ValueError(
                f"Argument `outputs` must be keyed by names that the function returns, but holds "
                f"{name!r}; the function returns {', '.join(sorted(known))}. Correct the name."
            )
    _check_dims(variables, axis_names)
    return Returned(tuple(variables), result_position, enumeration)


def part_name(key: Any) -> str:
    """The text of one step of a path into a pytree.

    Args:
        key: as in the paths of `jax.tree_util`.

    Returns:
        A key, a field's name, or a number.
    """
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _check_name(name: str, taken: list[str]) -> None:
    if name in RESERVED:
        raise ValueError(
            f"Argument `function` must not return an array named {name!r}: the names "
            f"{', '.join(RESERVED)} are reserved. Rename it; a result code must be an item of an "
            "`equinox.Enumeration`, such as `implicit_flow.RESULTS`."
        )
    if name in taken:
        raise ValueError(
            f"Argument `function` must return names of its own, but {name!r} is also the name of "
            "an axis or of another array. Rename one of them."
        )
    if (
        not name
        or name.startswith(".")
        or any(letter in name for letter in "/\\\0")
        or name == "zarr.json"
        or len(name.encode()) > _LONGEST_NAME
    ):
        raise ValueError(
            "Argument `function` must return names that can be those of folders (no slash or "
            f"backslash, no leading '.', not 'zarr.json', at most {_LONGEST_NAME} bytes), but "
            f"returns {name[:80]!r}. Rename it."
        )


def _check_dims(variables: list[Variable], axis_names: tuple[str, ...]) -> None:
    """Names of dimensions label one thing each, and one length."""
    taken = {*axis_names, *RESERVED, *(variable.name for variable in variables)}
    lengths: dict[str, tuple[int, str]] = {}
    for variable in variables:
        where = f'Argument `outputs["{variable.name}"].dims`'
        for position, (dim, length) in enumerate(zip(variable.dims, variable.shape, strict=True)):
            if dim in taken:
                raise ValueError(
                    f"{where} must name dimensions of the array's own, but holds {dim!r}, which is "
                    "an axis, an array or a reserved name. Name them otherwise, with "
                    f'outputs={{"{variable.name}": Output(dims=(...))}}.'
                )
            if dim in variable.dims[:position]:
                raise ValueError(
                    f"{where} must name each dimension once, but holds {dim!r} twice. "
                    "Rename one of them."
                )
            known, other = lengths.setdefault(dim, (length, variable.name))
            if known != length:
                raise ValueError(
                    f"{where} must give a name to one length only, but {dim!r} has length {length} "
                    f"here and {known} in {other!r}. Rename one of them."
                )


def _variable(name: str, position: int, leaf: Any, output: Output) -> Variable:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.extended) or np.dtype(leaf.dtype).kind == "V":
        raise ValueError(
            f"Argument `function` must return numbers, but `{name}` is {leaf.dtype}. Convert it, "
            "for keys with jax.random.key_data, for bfloat16 with astype(jnp.float32)."
        )
    dims = tuple(output.dims or ()) or tuple(f"{name}_dim{axis}" for axis in range(len(leaf.shape)))
    if len(dims) != len(leaf.shape):
        raise ValueError(
            f'Argument `outputs["{name}"].dims` must have {len(leaf.shape)} names, one for each '
            f"dimension of the shape {leaf.shape}, but has {len(dims)}. Name each dimension once."
        )
    return Variable(name, position, tuple(leaf.shape), np.dtype(leaf.dtype), dims, output)
