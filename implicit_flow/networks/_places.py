"""Where in a network an operation stands, for messages."""

import inspect
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.tree_util as jtu


# Tracebacks of an operation and of the loops that it stands in, the innermost first.
Site = tuple[Any, ...]


class Operation(NamedTuple):
    """An operation of a network's program.

    Attributes:
        label: what to call it.
        site: where it was written.
    """

    label: str
    site: Site = ()


def traceback_of(eqn: Any) -> Any:
    """The lines of Python that an equation comes from; None where JAX does not say."""
    return getattr(getattr(eqn, "source_info", None), "traceback", None)


def place_of(network: Any, site: Site) -> tuple[tuple[str, ...], str] | None:
    """The module whose method an operation was written in.

    Args:
        network: the network.
        site: where the operation was written.

    Returns:
        The paths of the modules that it can be (several instances of one class look alike), and
        their class; None if there is none.
    """
    modules = list(_modules(network, ""))
    for frame in _frames(site):
        found = [(path, node) for path, node in modules if _is_method(type(node), frame)]
        if found:
            return tuple(path for path, _ in found), type(found[0][1]).__name__
    return None


def function_of(site: Site) -> str | None:
    """The function of `jax.nn` that an operation belongs to; None if there is none."""
    file = inspect.getsourcefile(inspect.unwrap(jax.nn.gelu))
    for frame in reversed(list(_frames(site))):
        if frame.file_name == file and hasattr(jax.nn, frame.function_name):
            return frame.function_name
    return None


def _frames(site: Site) -> Iterator[Any]:
    for traceback in site:
        yield from getattr(traceback, "frames", ())


def _modules(node: Any, path: str) -> Iterator[tuple[str, eqx.Module]]:
    """All modules inside a tree, the outer before the inner."""
    if isinstance(node, eqx.Module):
        yield path, node

    def is_inner(part: Any) -> bool:
        return isinstance(part, eqx.Module) and part is not node

    for keys, part in jtu.tree_flatten_with_path(node, is_leaf=is_inner)[0]:
        if is_inner(part):
            yield from _modules(part, path + jtu.keystr(keys))


def _is_method(kind: type, frame: Any) -> bool:
    for owner in kind.__mro__:
        if owner in (eqx.Module, object):
            break
        file = getattr(sys.modules.get(owner.__module__), "__file__", None)
        is_same_file = file is None or file == frame.file_name
        if is_same_file and frame.function_name.startswith(f"{owner.__qualname__}."):
            return True
    return False
