"""X_t = Phi X0 Phi' with a time-ordered exponential: where the order of the factors matters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks
from ._engine import engine as named_engine
from ._finish import conclude, finish
from ._ordered_products import product_errors, simulated_errors
from ._residual_steering import PROBLEMS, residual_steering
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "The flow is X_t = Phi X0 Phi' with dPhi/dt = -A*(r_t) Phi: products of exponentials converge "
    "to it with their order, in the order of time only. Along residual steering the commutator "
    "terms vanish if the measurement matrices commute, and do not otherwise, though the total "
    "variation of r stays bounded as alpha -> 0. With s the dual, X = A*(nu) X, A*(nu) <= I comes "
    "to hold along the way in the commuting case, and not at the end of a counterexample."
)
HYPOTHESES = (
    "m = 2; X0 = alpha I; a rotating steering with a known propagator, a commuting problem, and "
    "the 3 x 3 problem whose limit is 0.25% above the minimum trace; nu = s / lambda_max(A*(s))."
)
SOURCE = (
    "Gunasekar et al. (2017), Implicit regularization in matrix factorization, section 5; Blanes "
    "et al. (2009), The Magnus expansion and some of its applications."
)

# "tsit5" compiles in a third of the time of "radau"; see `_engine`.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "log10_alphas": (-2.0, -8.0, -32.0, -64.0),
        "num_times": 401,
        "most_factors": 64,
        "engine": "tsit5",
    },
    "quick": {
        "log10_alphas": (-1, -2, -4, -8, -16, -32, -64),
        "num_times": 4001,
        "most_factors": 1024,
        "engine": "radau",
    },
    "full": {
        "log10_alphas": (-1, -2, -4, -8, -16, -32, -64, -100),
        "num_times": 40_001,
        "most_factors": 8192,
        "engine": "radau",
    },
}
# The rotating steering: speeds below and above 1, where growth ends; the time.
_SPEEDS, _TIME = (0.5, 1.0, 2.0), 2.0
_PRODUCTS = ("midpoint_error", "magnus_error", "unordered_error", "reversed_error")
# The minimum trace and the limit of the counterexample, to the digits that are known.
_MINIMUM, _LIMIT = 1.674316024366309, 1.678507352080517


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    log10_alphas: Sequence[float | int] | None = None,
    num_times: int | None = None,
    most_factors: int | None = None,
    engine: str | None = None,
) -> "xarray.Dataset":
    """Compares products of exponentials with flows, prescribed and driven by their residual.

    Args:
        setting: "tiny", "quick" or "full".
        seed: not used: nothing is random.
        log10_alphas: decreasing, two at least, for the residual steering.
        num_times: equally spaced times along each flow; made odd.
        most_factors: of a product with prescribed steering; a power of 2 from 8 on.
        engine: of the residual steering, "radau", "dopri8", "kvaerno5" or "tsit5".

    Returns:
        Errors of products over the number of factors; commutator terms, total variation and dual
        gaps over alpha.
    """
    import xarray

    given = {
        "log10_alphas": log10_alphas,
        "num_times": num_times,
        "most_factors": most_factors,
        "engine": engine,
    }
    chosen = sizes(SETTINGS, setting, given, seed=seed)
    _check(chosen)
    factors = 2 ** np.arange(3, int(np.log2(chosen["most_factors"])) + 1)
    errors = np.array(
        [[product_errors(_TIME, speed, int(n)) for n in factors] for speed in _SPEEDS]
    )
    variables: dict[str, Any] = {
        name: (("speed", "factors"), errors[..., k]) for k, name in enumerate(_PRODUCTS)
    }
    variables["steered_error"] = ("speed", simulated_errors(_TIME, _SPEEDS))
    solver = named_engine(chosen["engine"])
    variables |= residual_steering(chosen["log10_alphas"], chosen["num_times"], solver)
    ds = xarray.Dataset(
        variables,
        coords={
            "speed": list(_SPEEDS),
            "factors": factors,
            "log10_alpha": np.array(chosen["log10_alphas"], float),
            "problem": list(PROBLEMS),
        },
        attrs={"minimum_trace": _MINIMUM, "limit_trace": _LIMIT},
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _check(chosen: dict[str, Any]) -> None:
    _checks.at_least(chosen["num_times"], "num_times", 101)
    _checks.at_least(chosen["most_factors"], "most_factors", 16)
    alphas = np.atleast_1d(np.asarray(chosen["log10_alphas"], float))
    if alphas.size < 2 or np.any(np.diff(alphas) >= 0) or alphas[0] > 0 or alphas[-1] < -150:
        _checks.refuse(
            "log10_alphas",
            "hold two or more values that fall from 0 to -150, where products stay in range",
            f"is {chosen['log10_alphas']}",
        )


def orders(ds: "xarray.Dataset", name: str) -> np.ndarray:
    """The order of a product, from errors above rounding.

    Args:
        ds: what `run` returned.
        name: of the errors, over speed and factors.

    Returns:
        One for each speed; nan where fewer than two errors are above rounding.
    """
    found = []
    for errors in ds[name].values:
        # Rounding of a product of thousands of factors: 1e-11 is well above it.
        use = np.flatnonzero(errors > 1e-11)[-2:]
        if len(use) < 2:
            found.append(np.nan)
            continue
        found.append(np.log2(errors[use[0]] / errors[use[1]]) / (use[1] - use[0]))
    return np.array(found)


def gap_limits(ds: "xarray.Dataset") -> np.ndarray:
    """Dual gaps at the end as alpha -> 0: with s finite they approach it like 1 / log(1/alpha).

    Args:
        ds: what `run` returned.

    Returns:
        One for each problem, from the two smallest alphas.
    """
    scale = -ds.log10_alpha.values[-2:]
    return np.diff(ds.end_gap.values[:, -2:] * scale, axis=1)[:, 0] / (scale[1] - scale[0])


def _order_along(one: "xarray.Dataset") -> float:
    """Of the midpoint rule along a flow, where its error is furthest above the interpolant's."""
    half, whole = one.flow_ordered_error_of_half.values, one.flow_ordered_error.values
    place = int(np.argmax(whole))
    return float(np.log2(half[place] / whole[place]))


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    second, fourth = orders(ds, "midpoint_error"), orders(ds, "magnus_error")
    unordered, backwards = (
        float(ds[name][:, -1].min()) for name in ("unordered_error", "reversed_error")
    )
    commuting, other = (ds.sel(problem=name) for name in PROBLEMS)
    area = (other.flow_second_term / other.flow_first_term).values
    level = float(commuting.flow_second_term.max())
    variation = other.flow_variation.values / 5.0
    grows = float(variation[-1] / variation[-2] - 1)
    along = _order_along(other)
    least = 1 - _MINIMUM / _LIMIT
    limits = gap_limits(ds)
    right = (
        bool(np.all(np.abs(second - 2) < 0.1) and np.all(np.abs(fourth - 4) < 0.2))
        and float(ds.steered_error.max()) < 1e-7
        and min(unordered, backwards) > 1e-2
        and level < 1e-9
        and float(area[-1]) > 1e-3
        and abs(along - 2) < 0.3
        and abs(grows) < 0.02
        and abs(limits[0]) < 0.1 * least
        and limits[1] > 0.9 * least
    )
    # Products along the flow of a commuting problem are exact but for the integral of r.
    decided = float(ds.flow_misfit.max()) < 1e-5
    outcome = "undecided" if not decided else "holds" if right else "fails"
    text = (
        f"Orders {', '.join(f'{x:.2f}' for x in second)} (midpoint) and "
        f"{', '.join(f'{x:.2f}' for x in fourth)} (Magnus) for speeds {_SPEEDS}; without order the "
        f"error stays {unordered:.2f}, in reverse {backwards:.2f}; simulator "
        f"{float(ds.steered_error.max()):.0e}. Residual steering, counterexample: order "
        f"{along:.2f}; second over first term {area[-1]:.3f} at "
        f"alpha = 1e{float(ds.log10_alpha[-1]):g} (commuting: second at most {level:.0e}); total "
        f"variation of r over |y| {variation[0]:.3f} to {variation[-1]:.3f}, last change "
        f"{grows:.1e}. Dual gap at the end: commuting {float(commuting.end_gap[0]):.1e} to "
        f"{float(commuting.end_gap[-1]):.1e}, in the limit {limits[0]:.1e}; counterexample "
        f"{float(other.end_gap[-1]):.1e}, in the limit {limits[1]:.4f} (no less than {least:.4f})."
    )
    names = [*_PRODUCTS, "steered_error"]
    names += ["flow_first_term", "flow_second_term", "flow_variation", "flow_misfit", "end_gap"]
    names += ["flow_ordered_error", "flow_ordered_error_of_half"]
    return conclude(outcome, text, ds[names])


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """What is worth reading: commutator terms, variation and gaps over alpha.

    Args:
        ds: what `run` returned.

    Returns:
        Those variables.
    """
    return ds[
        ["flow_ordered_error", "flow_unordered_error", "flow_first_term", "flow_second_term"]
        + ["flow_variation", "end_gap", "end_trace"]
    ]


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws errors of products, and the dual gap along flows.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of two panels.
    """
    from ..plotting._style import COLORS, GRAY, figure, power

    with figure(1, 2, width=12.5, height=5.0) as (drawn, (left, right)):
        names = (
            ("reversed_error", "v", "midpoint, reversed"),
            ("unordered_error", "^", "one exponential"),
            ("midpoint_error", "o", "midpoint product"),
            ("magnus_error", "s", "Magnus product"),
        )
        for k, (name, marker, label) in enumerate(names):
            errors = ds[name].sel(speed=2.0)
            left.plot(ds.factors, errors, marker + "-", color=COLORS[k], label=label)
        for order in (2, 4):
            start = float(ds[names[order // 2 + 1][0]].sel(speed=2.0)[0])
            line = 0.4 * start * (ds.factors.values / ds.factors.values[0]) ** -order
            left.plot(ds.factors, line, ":", color=GRAY, linewidth=1.4)
        left.set_xscale("log", base=2)
        left.set(
            yscale="log",
            xlabel="number of factors",
            ylabel=r"relative error of $\Phi$",
            ylim=(1e-13, None),
        )
        left.set_title("rotating steering, speed 2 (dotted: orders 2, 4)")
        left.legend(loc="lower left")
        ends = [0, len(ds.log10_alpha) // 2, -1]
        for k, name in enumerate(PROBLEMS):
            for style, end in zip((":", "--", "-"), ends, strict=True):
                row = ds.dual_gap.sel(problem=name)[end]
                right.plot(
                    ds.share,
                    np.maximum(row, 1e-17),
                    style,
                    color=COLORS[k],
                    label=rf"{name}, $\alpha$ = {power(float(ds.log10_alpha[end]))}",
                )
        right.set(
            yscale="log",
            xlabel="time, as a share of the end",
            ylabel=r"$1 - \langle A^*(\nu_t), X_t\rangle \,/\, \mathrm{tr}\, X_t$",
            ylim=(1e-5, 1),
            # Later nothing moves.
            xlim=(0, 0.45),
        )
        right.set_title("the dual condition along the flow")
        right.legend(fontsize=11, loc="lower right")
    return drawn
