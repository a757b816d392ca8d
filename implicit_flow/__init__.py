"""Where does gradient flow on a factorization go as the initialization shrinks to zero?

Five nouns: `Problem`, a flow, a solver, `Solution`, `Certificate`. Five verbs: `simulate`,
`descend`, `limit`, `certify`, `sweep`. Parts are loaded on first use, so that importing the package
costs nothing and changes nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__


if TYPE_CHECKING:
    from . import (
        closed_forms as closed_forms,
        convex as convex,
        experiments as experiments,
        flows as flows,
        landscape as landscape,
        linalg as linalg,
        losses as losses,
        measurements as measurements,
        networks as networks,
        parametrizations as parametrizations,
        plotting as plotting,
        problems as problems,
        recovery as recovery,
        solvers as solvers,
        sweeps as sweeps,
    )
    from ._citation import citation as citation
    from ._descend import descend as descend
    from ._limit import Limit as Limit, limit as limit
    from ._results import RESULTS as RESULTS
    from ._simulate import simulate as simulate
    from ._solution import Solution as Solution
    from .convex import Certificate as Certificate, certify as certify
    from .flows import AbstractFlow as AbstractFlow
    from .losses import AbstractLoss as AbstractLoss
    from .measurements import AbstractMeasurement as AbstractMeasurement
    from .problems import Problem as Problem
    from .sweeps import sweep as sweep


# Public name -> the module that holds it; `None` for a sub-package that is itself the name.
_HOME: dict[str, str | None] = {
    "RESULTS": "._results",
    "AbstractFlow": ".flows",
    "AbstractLoss": ".losses",
    "AbstractMeasurement": ".measurements",
    "Problem": ".problems",
    "Solution": "._solution",
    "certify": ".convex",
    "Certificate": ".convex",
    "citation": "._citation",
    "closed_forms": None,
    "convex": None,
    "descend": "._descend",
    "experiments": None,
    "flows": None,
    "landscape": None,
    "limit": "._limit",
    "Limit": "._limit",
    "linalg": None,
    "losses": None,
    "measurements": None,
    "networks": None,
    "parametrizations": None,
    "plotting": None,
    "problems": None,
    "recovery": None,
    "simulate": "._simulate",
    "solvers": None,
    "sweep": ".sweeps",
    "sweeps": None,
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'implicit_flow' has no attribute {name!r}")
    home = _HOME[name]
    if home is None:
        return importlib.import_module(f".{name}", __name__)
    value = getattr(importlib.import_module(home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*_HOME, "__version__"})
