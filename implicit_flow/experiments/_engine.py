"""The solvers that an experiment may be asked to use, by name."""

from typing import Any

import diffrax

from .. import _checks
from ..solvers import ResidualRadau


_ENGINES = {
    "radau": ResidualRadau,
    "dopri8": diffrax.Dopri8,
    "kvaerno5": diffrax.Kvaerno5,
    "tsit5": diffrax.Tsit5,
}


def engine(name: str) -> Any:
    """A solver by its name.

    Args:
        name: "radau" is the library's own; "kvaerno5" is implicit too, "dopri8" (explicit) compiles
            in half of its time and "tsit5" (explicit, of lower order) in a third. Rounding spoils
            what these three find at alphas below some 1e-12.

    Returns:
        The solver.

    Raises:
        ValueError: another name.

    Example:
        >>> from implicit_flow.experiments._engine import engine
        >>> type(engine("radau")).__name__
        'ResidualRadau'
    """
    if name not in _ENGINES:
        _checks.refuse("engine", f"be one of {', '.join(_ENGINES)}", f"is {name!r}")
    return _ENGINES[name]()
