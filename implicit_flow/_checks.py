"""Every check of an argument, and the one form of its message.

A message says which argument, what it must be, what it is, and what to do. Checks look at concrete
values only: under `jit` a value is unknown, and a bad one becomes `RESULTS.invalid_input` instead.
"""

import numbers
import reprlib
from collections.abc import Sequence
from typing import Any, NoReturn, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike


# What `array` reads, and so what every door takes: nested lists too.
RealArrayLike: TypeAlias = ArrayLike | Sequence[Any]

# Indices into X are kept in 32 bits.
LARGEST_INDEX = 2**31 - 1


def refuse(argument: str, must: str, but: str, cure: str = "") -> NoReturn:
    """Raise the `ValueError` that every door raises.

    Args:
        argument: the name of the argument.
        must: what it must do, continuing "Argument `name` must ...".
        but: what is the case instead, continuing "but ...".
        cure: what to do about it; a sentence.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        f"Argument `{argument}` must {must}, but {but}." + (f" {cure}" if cure else "")
    )


def concrete(value: Any) -> np.ndarray | None:
    """The value as a NumPy array, or None where it is being traced."""
    if isinstance(value, Tracer):
        return None
    return np.asarray(value)


def array(value: Any, name: str, dtype: Any = None) -> Array:
    """Convert to a real floating-point array, whatever was given.

    Args:
        value: anything that NumPy or JAX reads as an array of real numbers.
        name: of the argument, for the message.
        dtype: of the result; by default that of `value`, in 32 bits at least, or JAX's default
            for integers.

    Returns:
        The array, in the nearest type that JAX is set to hold.

    Raises:
        ValueError: if it is not a numeric array, is complex, or is outside the range of the type.
    """
    value = numeric(value, name)
    kind = np.dtype(value.dtype)
    if jnp.issubdtype(kind, jnp.complexfloating):
        refuse(name, "be real", f"has the complex dtype {kind}", "Pass its real part.")
    if dtype is None:
        floating = jnp.issubdtype(kind, jnp.floating)
        dtype = jnp.result_type(float)
        if floating and kind.itemsize <= 4:
            dtype = jnp.float32
        elif floating:
            dtype = jnp.float64
    dtype = np.dtype(jax.dtypes.canonicalize_dtype(dtype))
    with np.errstate(over="ignore", under="ignore"):
        converted = value.astype(dtype)
    if kind.itemsize > dtype.itemsize:
        _kept(value, converted, name)
    # With its type, or JAX compiles a program for each shape.
    return jnp.asarray(converted, dtype)


def numeric(value: Any, name: str) -> Array | np.ndarray:
    """Read as an array of numbers of any kind: real, complex, integer or boolean.

    Args:
        value: anything.
        name: of the argument, for the message.

    Returns:
        The array; a JAX array where one was given, or traced values in a list.

    Raises:
        ValueError: if it is not a rectangular array of numbers.
    """
    must = "be an array of real numbers"
    if value is None:
        refuse(name, must, "is None")
    if np.ma.is_masked(value):
        refuse(name, must, "has masked entries", "Leave out what was not measured.")
    leaves = jax.tree.leaves(value) if isinstance(value, list | tuple) else ()
    try:
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            value = jnp.asarray(value)
        elif not isinstance(value, jax.Array):
            value = np.asarray(value)
    except (TypeError, ValueError, OverflowError):
        if isinstance(value, list | tuple):
            refuse(name, must, "has rows of unequal length, or holds something else")
        refuse(name, must, f"is of type {type(value).__name__}")
    if value.dtype == object:
        items = list(np.ravel(value))
        culprits = [item for item in items if not isinstance(item, numbers.Real)]
        culprit = reprlib.repr((culprits or items)[0])
        refuse(name, must, f"{'holds' if value.ndim else 'is'} {culprit}")
    if not (jnp.issubdtype(value.dtype, jnp.number) or jnp.issubdtype(value.dtype, jnp.bool_)):
        refuse(name, must, f"has dtype {value.dtype}")
    return value


def _kept(before: Any, after: Any, name: str) -> None:
    """Refuse numbers that a narrower type turns into infinity, or all of them into zero."""
    wide, narrow = concrete(before), concrete(after)
    if wide is None or narrow is None:
        return
    lost = np.isfinite(wide) & ~np.isfinite(narrow)
    if not np.any(narrow):
        lost = wide != 0
    if np.any(lost):
        refuse(
            name,
            f"be within the range of {narrow.dtype}",
            f"holds {wide[lost].flat[0]:.6g}",
            "Rescale it, or use float64: `jax.config.update('jax_enable_x64', True)`.",
        )


def shape(value: Any, name: str, expected: Sequence[int | str]) -> None:
    """Refuse a value whose shape is not the expected one.

    Args:
        value: an array.
        name: of the argument.
        expected: one entry a dimension: a size, or a letter where any size will do; the same
            letter stands for the same size.

    Raises:
        ValueError: if the shape differs.
    """
    actual = tuple(value.shape)
    sizes: dict[int | str, int] = {}
    fits = len(actual) == len(expected) and all(
        (sizes.setdefault(want, have) if isinstance(want, str) else want) == have
        for want, have in zip(expected, actual, strict=True)
    )
    if not fits:
        refuse(name, f"have shape {_bracket(expected)}", f"has shape {actual}")


def nonempty(value: Any, name: str, expected: Sequence[str]) -> None:
    """Refuse an array in which a dimension has size zero.

    Args:
        value: an array.
        name: of the argument.
        expected: one letter a dimension, for the message.

    Raises:
        ValueError: if it has no entries.
    """
    if 0 in value.shape:
        letters = ", ".join(dict.fromkeys(expected))
        refuse(
            name,
            f"have shape {_bracket(expected)} with {letters} >= 1",
            f"has shape {tuple(value.shape)}",
        )


def _bracket(sizes: Sequence[int | str]) -> str:
    return "(" + ", ".join(str(size) for size in sizes) + (",)" if len(sizes) == 1 else ")")


def finite(value: Any, name: str) -> None:
    """Refuse nan and infinity, and say where the first one stands."""
    known = concrete(value)
    if known is None or np.all(np.isfinite(known)):
        return
    where = np.argwhere(~np.isfinite(known))[0]
    place = f"at index {tuple(int(i) for i in where)}" if where.size else "as its value"
    refuse(name, "be finite", f"has {known[tuple(where)]} {place}")


def positive(value: Any, name: str, cure: str = "") -> None:
    """Refuse a scalar or array with an entry that is not strictly positive (nan included)."""
    known = concrete(value)
    if known is not None and not np.all(known > 0):
        worst = known if known.ndim == 0 else known[~(known > 0)][0]
        refuse(name, "be positive", f"is {worst}" if known.ndim == 0 else f"contains {worst}", cure)


def between(value: Any, name: str, least: float | int, below: float | int) -> None:
    """Refuse what is not one number of at least `least` and less than `below` (nan included)."""
    known = concrete(value)
    if known is None:
        return
    is_number = known.ndim == 0 and (
        known.dtype.kind in "iu" or jnp.isdtype(known.dtype, "real floating")
    )
    if not (is_number and least <= known < below):
        top = "finite" if np.isinf(below) else f"less than {below}"
        refuse(name, f"be a number, at least {least} and {top}", f"is {reprlib.repr(value)}")


def at_least(value: Any, name: str, least: int) -> None:
    """Refuse a count that is not an integer, or is too small."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        refuse(name, "be an integer", f"is {reprlib.repr(value)}")
    if value < least:
        refuse(name, f"be at least {least}", f"is {value}")


def number(value: Any, name: str) -> float:
    """Read one real number, whatever holds it.

    Args:
        value: a Python number, or an array of shape ().
        name: of the argument.

    Returns:
        The number; nan and infinity are numbers here.

    Raises:
        ValueError: something else.
    """
    read = np.asarray(numeric(value, name))
    shape(read, name, ())
    if np.iscomplexobj(read):
        refuse(name, "be a real number", f"is {read}")
    return float(read)


def positive_number(value: Any, name: str) -> None:
    """Refuse what is not one positive, finite Python number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < np.inf:
        refuse(name, "be a positive number", f"is {reprlib.repr(value)}")


def probability(value: Any, name: str) -> None:
    """Refuse what is no probability below one."""
    if not isinstance(value, int | float) or not 0 <= value < 1:
        refuse(name, "be a number from 0 to below 1", f"is {reprlib.repr(value)}")


def seed(value: Any, name: str, *, bits: int = 63) -> None:
    """Refuse what no generator of random numbers can be started from, or no file can hold."""
    at_least(value, name, 0)
    if value >= 2**bits:
        refuse(name, f"lie between 0 and 2^{bits} - 1", f"is {value}")


def random_key(value: Any, name: str = "key") -> Any:
    """Refuse what is not one random key of JAX.

    Args:
        value: anything.
        name: of the argument.

    Returns:
        The key.

    Raises:
        ValueError: a number, several keys, or one of the old kind, an array of integers.
    """
    typed = jnp.issubdtype(getattr(value, "dtype", np.dtype(float)), jax.dtypes.prng_key)
    if not typed or value.shape != ():
        got = (
            f"has dtype {value.dtype} and shape {value.shape}" if hasattr(value, "dtype") else None
        )
        cure = "Make one with `jax.random.key(seed)`; for many keys use `jax.vmap`."
        refuse(name, "be one JAX random key", got or f"is {value!r}", cure)
    return value


def floating(kind: np.dtype, name: str) -> None:
    """Refuse a type that does not hold real numbers."""
    if not jnp.issubdtype(kind, jnp.floating):
        refuse(name, "be a floating-point type", f"is {kind}")


def sides(value: Any, name: str) -> tuple[int, int]:
    """Check the shape of a rectangular matrix.

    Args:
        value: (p, q).
        name: of the argument.

    Returns:
        The two sides, as Python integers.

    Raises:
        ValueError: not a pair of positive integers, or too large for an index.
    """
    if not isinstance(value, list | tuple) or len(value) != 2:
        refuse(name, "be a pair (p, q) of integers", f"is {reprlib.repr(value)}")
    for side, size in enumerate(value):
        at_least(size, f"{name}[{side}]", 1)
    p, q = int(value[0]), int(value[1])
    if p + q > LARGEST_INDEX:
        refuse(name, f"have a sum of at most {LARGEST_INDEX}", f"is {(p, q)}")
    return p, q


def instance(value: Any, name: str, kind: Any, cure: str = "") -> None:
    """Refuse a value that is not an instance of the class that is asked for."""
    if not isinstance(value, kind):
        got = "is None" if value is None else f"is of type {type(value).__name__}"
        if isinstance(value, type):
            got = f"is the class {value.__name__}"
            cure = f"Call it: `{value.__name__}(...)`." if issubclass(value, kind) else cure
        wanted = kind.__name__ if isinstance(kind, type) else " or ".join(k.__name__ for k in kind)
        refuse(name, f"be an instance of {wanted}", got, cure)


def needs_float64(what: str) -> NoReturn:
    """Say that float64 is needed, and how to turn it on.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        f"{what} needs float64, but JAX is set to float32. Turn it on before the first array is "
        "made: `jax.config.update('jax_enable_x64', True)`, or set JAX_ENABLE_X64=1."
    )
