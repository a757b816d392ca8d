"""A fingerprint of what a function computes, the same in every process.

Source text alone does not tell two studies apart: a function also closes over data and calls
helpers. The traced program holds all of them.
"""

import contextlib
import functools
import hashlib
import inspect
from collections.abc import Callable
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from ._source import function_source


def fingerprint(program: core.ClosedJaxpr) -> str:
    """Hashes a traced program: its operations, their parameters, and every constant.

    Printing the program would be slower and would contain addresses of this process.

    Args:
        program: the result of `jax.make_jaxpr`.

    Returns:
        64 hexadecimal digits.
    """
    digest = _Digest()
    digest.add(program)
    return digest.hexdigest()


@final
class _Digest:
    """Feeds a hash with the structure of programs; a program met twice is hashed once."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._seen: dict[int, str] = {}
        self._kept: list[Any] = []

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def text(self, text: str) -> None:
        self._hash.update(text.encode())
        self._hash.update(b"\0")

    def add(self, value: Any) -> None:
        if isinstance(value, core.ClosedJaxpr):
            self._once(value, self._closed)
        elif isinstance(value, core.Jaxpr):
            self._once(value, self._open)
        elif isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            self.add(np.asarray(jax.random.key_data(value)))
        elif isinstance(value, np.ndarray | np.generic | jax.Array):
            array = np.asarray(value)
            self.text(f"array {array.dtype} {array.shape}")
            self._hash.update(np.ascontiguousarray(array).tobytes())
        elif isinstance(value, bool | int | float | complex | str | bytes | None):
            self.text(f"{type(value).__name__} {value!r}")
        elif isinstance(value, tuple | list):
            self.text(f"sequence {len(value)}")
            for item in value:
                self.add(item)
        elif isinstance(value, dict):
            self.text(f"mapping {len(value)}")
            for key in sorted(value, key=str):
                self.text(str(key))
                self.add(value[key])
        elif hasattr(value, "callback_func"):
            self._host(value.callback_func)
        else:
            self._opaque(value)

    def _host(self, function: Callable[..., Any]) -> None:
        """A function that a program calls outside of itself: its text, and what it closes over."""
        self.text(function_source(function))
        held: list[Any] = []
        while isinstance(function, functools.partial):
            held += [*function.args, *function.keywords.values()]
            function = function.func
        inner: Any = inspect.unwrap(function)
        held += getattr(inner, "__defaults__", None) or ()
        for cell in getattr(inner, "__closure__", None) or ():
            # An empty one belongs to a name that is not assigned yet.
            with contextlib.suppress(ValueError):
                held.append(cell.cell_contents)
        for leaf in jax.tree.leaves(held):
            if inspect.isfunction(leaf):
                self.text(function_source(leaf))
            elif isinstance(leaf, np.ndarray | np.generic | jax.Array | bool | int | float | str):
                self.add(leaf)

    def _opaque(self, value: Any) -> None:
        """Objects of JAX's own: their text if it holds no address, else their kind and name."""
        name = getattr(value, "__qualname__", getattr(value, "__name__", ""))
        text = "" if callable(value) else str(value)
        self.text(f"{type(value).__name__} {name} {'' if ' at 0x' in text else text}")

    def _once(self, program: Any, walk: Callable[[Any], None]) -> None:
        known = self._seen.get(id(program))
        if known is None:
            outer, self._hash = self._hash, hashlib.sha256()
            walk(program)
            known, self._hash = self._hash.hexdigest(), outer
            self._seen[id(program)] = known
            # Held, so that no other program is given the same id.
            self._kept.append(program)
        self.text(known)

    def _closed(self, program: core.ClosedJaxpr) -> None:
        self.add(program.jaxpr)
        for constant in program.consts:
            self.add(constant)

    def _open(self, program: core.Jaxpr) -> None:
        numbers: dict[Any, int] = {}

        def bind(variables: Any) -> None:
            for variable in variables:
                numbers[variable] = len(numbers)
                self.text(str(variable.aval))

        def use(atoms: Any) -> None:
            for atom in atoms:
                if isinstance(atom, core.Literal):
                    self.text(str(atom.aval))
                    self.add(atom.val)
                else:
                    self.text(f"%{numbers[atom]}")

        bind(program.constvars)
        bind(program.invars)
        for equation in program.eqns:
            self.text(str(equation.primitive))
            use(equation.invars)
            for key in sorted(equation.params):
                self.text(key)
                self.add(equation.params[key])
            bind(equation.outvars)
        use(program.outvars)
