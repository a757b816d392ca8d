"""The source text of a function, as the record of what a store was made by."""

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import jax


def function_name(function: Callable[..., Any]) -> str:
    """A name for people: module and qualified name of what is under the wrappers.

    Args:
        function: any callable.

    Returns:
        Such as `study.gap`.
    """
    inner = _unwrapped(function)
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    return f"{getattr(inner, '__module__', type(inner).__module__)}.{name}"


def function_source(function: Callable[..., Any]) -> str:
    """The text of a function, without `functools.partial` and the wrappers of `jax.jit`.

    What the text does not show (data closed over, helpers called) is in the fingerprint of the
    traced program.

    Args:
        function: any callable.

    Returns:
        The text, dedented; empty where Python does not know it.
    """
    bound = ""
    while isinstance(function, functools.partial):
        # A line each, so that a difference shows the one that differs.
        arguments = "".join(f"    {_text(value)}\n" for value in function.args)
        keywords = "".join(
            f"    {name}={_text(value)}\n" for name, value in function.keywords.items()
        )
        bound += f"partial of the next with\n{arguments}{keywords}"
        function = function.func
    inner = _unwrapped(function)
    if not (inspect.isfunction(inner) or inspect.ismethod(inner)):
        inner = type(inner)
    try:
        if getattr(inner, "__name__", "") == "<lambda>":
            return bound + _lambda_text(inner)
        return bound + textwrap.dedent(inspect.getsource(inner))
    except (OSError, TypeError, SyntaxError):
        return bound


def _unwrapped(function: Callable[..., Any]) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.unwrap(function)


def _lambda_text(function: Any) -> str:
    """The lambda alone: `inspect` would give the whole statement that it stands in."""
    lines, _ = inspect.findsource(function)
    whole = "".join(lines)
    line = function.__code__.co_firstlineno
    found = [
        ast.get_source_segment(whole, node) or ""
        for node in ast.walk(ast.parse(whole))
        if isinstance(node, ast.Lambda) and node.lineno == line
    ]
    return "\n".join(found)


def _text(value: Any) -> str:
    """Arrays by shape only: their values are in the fingerprint."""
    leaves = jax.tree.leaves(value)
    if any(hasattr(leaf, "shape") for leaf in leaves):
        return f"{type(value).__name__}{[getattr(leaf, 'shape', ()) for leaf in leaves]}"
    text = repr(value)
    return type(value).__qualname__ if " at 0x" in text else text
