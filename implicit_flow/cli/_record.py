"""The numbers of a report: `result.json` for programs, `result.nc` for analysis."""

import math
import platform
from typing import TYPE_CHECKING, Any

import numpy as np

from .._version import __version__
from ._alphas import show_alpha
from ._info import versions
from ._source import Source
from ._walk import Answer, Rung
from ._words import block_norm, headline


if TYPE_CHECKING:
    import xarray

FORMAT = "implicit_flow.limit/1"


def record(answer: Answer, source: Source, *, command: str, files: dict[str, str]) -> dict:
    """What was asked and what was found, as JSON values.

    Args:
        answer: of the main job.
        source: the problem.
        command: that makes this report again.
        files: name -> file, of the report.

    Returns:
        A dictionary for `json.dumps(..., allow_nan=False)`: a number that does not exist or is
        not finite is null.
    """
    found, certificate = answer.limit, answer.limit.certificate
    problem, last = source.problem, found.solutions[-1]
    return {
        "format": FORMAT,
        "verdict": found.verdict,
        "headline": headline(answer),
        "explanation": found.explanation,
        "converged": not answer.failed,
        "failures": list(answer.failed),
        "problem": {
            "title": source.title,
            "dim": problem.dim,
            "num_measurements": problem.num_measurements,
            **source.facts,
        },
        "flow": last.flow,
        "solver": last.solver,
        "limit": {
            "nuclear_norm": _finite(answer.rungs[-1].nuclear_norm),
            "rectangular_nuclear_norm": _finite(block_norm(answer)),
            "rank": answer.rungs[-1].rank,
            "error_estimate": _finite(found.error_estimate),
        },
        "certificate": {
            "verdict": certificate.verdict,
            "explanation": certificate.explanation,
            **{
                name: _finite(getattr(certificate, name))
                for name in (
                    "primal_value",
                    "dual_bound",
                    "upper_bound",
                    "gap",
                    "excess_at_least",
                    "feasibility",
                    "slack",
                    "own_gap",
                    "reach",
                )
            },
            **{
                name: [_finite(entry) for entry in np.asarray(getattr(certificate, name))]
                for name in ("dual", "contradiction")
            },
        },
        "lower_bound": _finite(answer.lower_bound),
        "rungs": [_rung(rung) for rung in answer.rungs],
        "seconds": _finite(answer.seconds),
        "command": command,
        "files": files,
        "versions": {
            "implicit_flow": __version__,
            "python": platform.python_version(),
            **versions(),
        },
        "platform": platform.platform(terse=True),
    }


def _rung(rung: Rung) -> dict:
    values = rung._asdict()
    exponents = values.pop("log10_eigenvalues")
    return {
        "alpha": show_alpha(rung.log10_alpha),
        **{
            name: _finite(value) if isinstance(value, float) else value
            for name, value in values.items()
        },
        "log10_eigenvalues": [_finite(exponent) for exponent in exponents],
    }


def _finite(value: Any) -> float | None:
    """A float that JSON has, or None."""
    value = math.nan if value is None else float(np.asarray(value))
    return value if math.isfinite(value) else None


def dataset(answer: Answer, source: Source, *, command: str) -> "xarray.Dataset":
    """The numbers with their axes.

    Args:
        answer: of the main job.
        source: the problem.
        command: that makes this report again.

    Returns:
        A dataset over the rungs of the ladder; `implicit_flow.plotting` draws it.
    """
    import xarray

    found, certificate = answer.limit, answer.limit.certificate
    columns = {
        name: (("rung",), np.array([getattr(rung, name) for rung in answer.rungs]))
        for name in (
            "residual_norm",
            "nuclear_norm",
            "nuclear_norm_error",
            "error",
            "own_lower_bound",
            "gap",
            "rank",
            "num_steps",
            "seconds",
            "error_estimate",
            "converged",
        )
    }
    variables: dict[str, Any] = {
        **columns,
        "log10_eigenvalues": (
            ("rung", "eigenvalue"),
            np.stack([rung.log10_eigenvalues for rung in answer.rungs]),
        ),
        "X": (("rung", "row", "col"), np.asarray(found.Xs)),
        "targets": (("measurement",), np.asarray(source.problem.targets)),
        "certificate_dual": (("measurement",), np.asarray(certificate.dual)),
        "certificate_contradiction": (("measurement",), np.asarray(certificate.contradiction)),
        "limit_error_estimate": float(found.error_estimate),
        "lower_bound": answer.lower_bound,
        "upper_bound": float(certificate.upper_bound),
        "excess_at_least": float(certificate.excess_at_least),
    }
    for path in answer.paths:
        name = f"path_{show_alpha(float(path.log10_alpha))}"
        Xs = np.asarray(path.Xs)
        variables[f"{name}_eigenvalues"] = (
            (f"{name}_time", "eigenvalue"),
            np.linalg.eigvalsh((Xs + np.swapaxes(Xs, 1, 2)) / 2),
        )
        variables[f"{name}_residual"] = (
            (f"{name}_time", "measurement"),
            np.asarray(path.residuals),
        )
        variables[f"{name}_error_estimates"] = (
            (f"{name}_time",),
            np.asarray(path.error_estimates),
        )
        variables[f"{name}_time"] = (
            (f"{name}_time",),
            np.asarray(path.ts),
            {"long_name": "time of dU/dt = -A*(r) U"},
        )
    return xarray.Dataset(
        variables,
        {"log10_alpha": (("rung",), np.array([rung.log10_alpha for rung in answer.rungs]))},
        {
            "format": FORMAT,
            "title": source.title,
            "verdict": found.verdict,
            "explanation": found.explanation,
            "command": command,
            "implicit_flow": __version__,
        },
    )
