"""Compilation, which is most of what a first call costs."""

import functools
import os
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

from ._transformed import is_transformed


# On a CPU the programs of this library are hundreds of small operations, which LLVM optimizes for
# long and to no effect. Measured on `simulate` with n = 20: 3.6 instead of 6.6 s to compile, and
# 0.08 s to run with both (docs/decisions/compilation.md).
QUICK = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 1}


def compiled(function: Callable[..., Any], *, donate: Any = "none") -> Callable[..., Any]:
    """`equinox.filter_jit`, quick to compile where nothing is compiled around it.

    A program is compiled with the options of the outermost one. Those of a user hold, be it that
    `function` is called under `jax.jit`, or that `XLA_FLAGS` names one of ours.

    Args:
        function: to be compiled.
        donate: arguments whose memory may be used again; see `equinox.filter_jit`.

    Returns:
        The compiled function.
    """
    plain = eqx.filter_jit(function, donate=donate)
    # Made when it is first called: before that the backend is not to be asked for.
    quick: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_transformed():
            return plain(*args, **kwargs)
        if not quick:
            options = quick_options()
            jitted: Any = eqx.filter_jit(donate=donate, compiler_options=options)  # pyright: ignore[reportCallIssue]
            quick.append(jitted(function) if options else plain)
        return quick[0](*args, **kwargs)

    return call


def quick_options() -> dict[str, Any]:
    """The options of a quick compilation, for `jax.jit(compiler_options=...)`.

    Returns:
        The values by name; none where they do not apply.
    """
    chosen = os.environ.get("XLA_FLAGS", "")
    if jax.default_backend() != "cpu" or not _are_known():
        return {}
    return {name: value for name, value in QUICK.items() if name not in chosen}


@functools.cache
def _are_known() -> bool:
    """Whether this version of XLA still has the options."""
    try:
        jax.jit(lambda: 0, compiler_options=QUICK)()
    except jax.errors.JaxRuntimeError:
        return False
    return True
