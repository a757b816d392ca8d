"""From the kernel to the rich regime: large starts find least l2 norms, small ones least l1."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import diffrax
import jax.numpy as jnp
import numpy as np

from .. import _checks, closed_forms
from .._compiled import compiled
from .._results import RESULTS
from .._simulate import simulate
from ..convex import min_l1, min_l2
from ..flows import SignedHadamardFlow
from ..measurements import DiagonalMeasurement
from ..problems import Problem
from ._double import require_float64
from ._finish import conclude, finish
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "The flow of x = u^D - v^D from u = v with u^D = alpha ends at b = alpha h_D(A'nu): the "
    "minimizer of a potential that goes from the l2 norm (alpha large, the kernel regime) to the "
    "l1 norm (alpha small, the rich regime). The deeper, the earlier: at depth 2 the excess of the "
    "l1 norm is alpha^g with a g that may be small, at depth 3 and more it is of order alpha."
)
HYPOTHESES = (
    "Squared loss, consistent targets, fewer equations than unknowns, unique least l1 norm."
)
SOURCE = (
    "Woodworth et al., Kernel and rich regimes in overparametrized models (2020), Theorems 1, 3."
)

# n unknowns, m equations, k nonzero entries. `log10_alphas`: of the closed forms, on which the
# curves are drawn; `flow_log10_alphas`, `flow_depths`: where the flow itself is integrated. At
# alpha far above x the difference u^D - v^D loses the digits that the solver gives to u and v.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "dim": 6,
        "num_measurements": 3,
        "sparsity": 1,
        "depths": (2, 3),
        "flow_depths": (2,),
        "log10_alphas": (4.0, 0.0, -4.0, -8.0),
        "flow_log10_alphas": (1.0, -3.0),
    },
    "quick": {
        "dim": 20,
        "num_measurements": 10,
        "sparsity": 2,
        "depths": (2, 3, 4),
        "flow_depths": (2, 3, 4),
        "log10_alphas": tuple(4.0 - 0.5 * j for j in range(33)),
        "flow_log10_alphas": (2.0, 1.0, 0.0, -1.0, -2.0, -4.0, -6.0),
    },
    "full": {
        "dim": 100,
        "num_measurements": 50,
        "sparsity": 10,
        "depths": (2, 3, 4),
        "flow_depths": (2, 3, 4),
        "log10_alphas": tuple(4.0 - 0.25 * j for j in range(81)),
        "flow_log10_alphas": (2.0, 1.0, 0.0, -1.0, -2.0, -4.0, -6.0, -8.0),
    },
}


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    dim: int | None = None,
    num_measurements: int | None = None,
    sparsity: int | None = None,
    depths: Sequence[int] | None = None,
    flow_depths: Sequence[int] | None = None,
    log10_alphas: Sequence[float | int] | None = None,
    flow_log10_alphas: Sequence[float | int] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> "xarray.Dataset":
    """Follows the end of the flow from large to small alpha, at several depths.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of the instance.
        dim: n, the number of unknowns.
        num_measurements: m, below n.
        sparsity: k, the number of nonzero entries of the planted vector, at most m.
        depths: D, each at least 2.
        flow_depths: those of them at which the flow is integrated.
        log10_alphas: decreasing logarithms of alpha, within 10 ... -100, for the closed
            forms.
        flow_log10_alphas: the same, at which the flow is integrated.
        say: called with lines of progress.

    Returns:
        Ends, their norms and distances over depth and log10_alpha; ends and errors of the flows.
    """
    import xarray

    require_float64("kernel-and-rich")
    given = {
        "dim": dim,
        "num_measurements": num_measurements,
        "sparsity": sparsity,
        "depths": depths,
        "flow_depths": flow_depths,
        "log10_alphas": log10_alphas,
        "flow_log10_alphas": flow_log10_alphas,
    }
    least: dict[str, float | int] = {"dim": 2, "num_measurements": 1, "sparsity": 1, "depths": 2}
    # Ends of what floats hold: potentials are squares, quotients and powers of alpha.
    ladders = ("log10_alphas", "flow_log10_alphas")
    least |= dict.fromkeys(ladders, -100)
    most: dict[str, float | int] = dict.fromkeys(ladders, 10)
    size = sizes(SETTINGS, setting, given, least=least, most=most, seed=seed)
    n, m, k = size["dim"], size["num_measurements"], size["sparsity"]
    if m >= n:
        _checks.refuse("num_measurements", f"be below dim = {n}", f"is {m}")
    if k > m:
        _checks.refuse("sparsity", f"be at most num_measurements = {m}", f"is {k}")
    for name in ladders:
        if np.any(np.diff(size[name]) >= 0):
            _checks.refuse(name, "decrease strictly", f"is {size[name]}")
    if not set(size["flow_depths"]) <= set(size["depths"]):
        _checks.refuse("flow_depths", f"be among {size['depths']}", f"is {size['flow_depths']}")
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(m, n)) / np.sqrt(m)
    truth = np.zeros(n)
    truth[rng.choice(n, k, replace=False)] = np.sign(rng.normal(size=k)) * (1 + rng.random(k))
    problem = Problem(DiagonalMeasurement(A), A @ truth)
    l1, l2 = min_l1(problem), min_l2(problem)
    exact = np.zeros((len(size["depths"]), len(size["log10_alphas"]), n))
    shape = len(size["depths"]), len(size["flow_log10_alphas"])
    distance, reported = np.full(shape, np.nan), np.full(shape, np.nan)
    ends = np.full((*shape, n), np.nan)
    for j, depth in enumerate(size["depths"]):
        form = _closed_form(problem, depth)
        exact[j] = [form(value) for value in size["log10_alphas"]]
        if depth not in size["flow_depths"]:
            continue
        flow = _flow(problem, depth)
        for i, value in enumerate(size["flow_log10_alphas"]):
            sol = flow(jnp.asarray(value))
            if bool(sol.result == RESULTS.successful):
                x = form(value)
                distance[j, i] = np.linalg.norm(sol.x - x) / np.linalg.norm(x)
                reported[j, i], ends[j, i] = sol.error_estimate, sol.x
        say(f"depth {depth}: {int(np.isfinite(distance[j]).sum())} flows came to rest")
    ds = xarray.Dataset(
        {
            "x": (("depth", "log10_alpha", "coordinate"), exact),
            "l1_excess": (
                ("depth", "log10_alpha"),
                np.sum(np.abs(exact), axis=2) / l1.value - 1,
            ),
            "l2_excess": (
                ("depth", "log10_alpha"),
                np.linalg.norm(exact, axis=2) / l2.value - 1,
            ),
            "flow_x": (("depth", "flow_log10_alpha", "coordinate"), ends),
            "flow_distance": (("depth", "flow_log10_alpha"), distance),
            "flow_error_estimate": (("depth", "flow_log10_alpha"), reported),
            "x_l1": ("coordinate", np.asarray(l1.x)),
            "x_l2": ("coordinate", np.asarray(l2.x)),
            "rows": (("measurement", "coordinate"), A),
            "targets": ("measurement", A @ truth),
        },
        coords={
            "depth": list(size["depths"]),
            "log10_alpha": list(size["log10_alphas"]),
            "flow_log10_alpha": list(size["flow_log10_alphas"]),
        },
        attrs={
            "dim": n,
            "num_measurements": m,
            "l1_gap": l1.gap,
            "num_flows": len(size["flow_depths"]) * len(size["flow_log10_alphas"]),
        },
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """Excess of both norms along alpha.

    Args:
        ds: what `run` returned.

    Returns:
        The two excesses over depth and log10_alpha.
    """
    return ds[["l1_excess", "l2_excess"]]


def _closed_form(problem: Problem, depth: int) -> Callable[[float], np.ndarray]:
    def form(value: Any) -> Any:
        return jnp.diagonal(closed_forms.signed_hadamard(problem, depth=depth, log10_alpha=value))

    of = compiled(form)
    return lambda value: np.asarray(of(jnp.asarray(value)))


def _flow(problem: Problem, depth: int) -> Callable[[Any], Any]:
    flow = SignedHadamardFlow(depth)
    follow = partial(simulate, problem, flow, adjoint=diffrax.ForwardMode(), throw=False)
    return compiled(lambda value: follow(log10_alpha=value))


def least_l1_bound(ds: "xarray.Dataset") -> Any:
    """How far above the least l1 norm the minimizer of the potential of depth 2 may be.

    Args:
        ds: what `run` returned.

    Returns:
        log n / (log(|x|_1 / alpha) - 1 - log n) over log10_alpha, infinite where it says nothing.
    """
    n = ds.attrs["dim"]
    size = float(np.abs(ds.x_l1).sum())
    depth = np.log(size) - np.log(10) * ds.log10_alpha - 1 - np.log(n)
    # 3 n alpha / |x| is what the potential itself has at 0.
    rest = 3 * n * 10.0**ds.log10_alpha / size
    return ((np.log(n) + rest) / depth).where(depth > 0, np.inf)


def slope(ds: "xarray.Dataset", *, below: float = 0.03) -> dict[int, float]:
    """The exponent g with which the excess of the l1 norm decays like alpha^g, for each depth.

    Args:
        ds: what `run` returned.
        below: an excess that is small.

    Returns:
        Depth -> the exponent between the last alphas at which the excess is small and above
        rounding; nan where fewer than two are.
    """
    found = {}
    for depth in ds.depth.values:
        excess = ds.l1_excess.sel(depth=depth)
        clear = (excess.values > max(1e-8, 100 * ds.attrs["l1_gap"])) & (excess.values < below)
        places, values = ds.log10_alpha.values[clear], excess.values[clear]
        last = slice(-3, None)
        enough = clear.sum() > 1
        steep = np.polyfit(places[last], np.log10(values[last]), 1)[0] if enough else np.nan
        found[int(depth)] = float(steep)
    return found


def _exponent(depth: int, exponent: float) -> str:
    seen = f"{exponent:.2f}" if math.isfinite(exponent) else "unknown, too few alphas show it,"
    return f"{seen} at depth {depth}"


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    solved = ds.flow_distance.notnull()
    within = bool(((ds.flow_distance <= ds.flow_error_estimate + 1e-9) | ~solved).all())
    kernel = float(np.abs(ds.l2_excess.isel(log10_alpha=0)).max())
    rich = ds.l1_excess.isel(log10_alpha=-1)
    order = bool((rich.diff("depth") <= 1e-9).all())
    # The path need not be monotone while it is near the l2 norm.
    small = ds.l1_excess.sel(log10_alpha=ds.log10_alpha[ds.log10_alpha <= 0])
    falls = bool((small.diff("log10_alpha") <= 1e-7).all())
    exponents = slope(ds)
    text = (
        f"{int(solved.sum())} of {ds.attrs['num_flows']} flows agree with the closed form within "
        f"{float(ds.flow_distance.max()):.1g}; the l2 norm at alpha = "
        f"1e{float(ds.log10_alpha[0]):g} is above the least by {kernel:.1g}, the l1 norm at "
        f"alpha = 1e{float(ds.log10_alpha[-1]):g} by "
        + ", ".join(f"{float(rich.sel(depth=d)):.1g} at depth {int(d)}" for d in ds.depth.values)
        + "; it decays like alpha to the power "
        + ", ".join(_exponent(d, g) for d, g in exponents.items())
        + "."
    )
    # Of the flows, those that are missing are counted below.
    numbers = {**ds[["l1_excess", "l2_excess"]]}
    numbers["flow_error_estimate"] = ds.flow_error_estimate.values[solved.values]
    unseen = any(math.isnan(g) for d, g in exponents.items() if d > 2)
    most = int(solved.sum()) >= 0.75 * ds.attrs["num_flows"] > 0
    if not most or ds.log10_alpha[0] < 2 or ds.log10_alpha[-1] > -4 or unseen:
        return conclude("undecided", text, numbers)
    # Exponents are read off where the excess is small, which takes a few powers of ten.
    deep = all(0.8 < g < 1.2 for d, g in exponents.items() if d > 2)
    rest = within and kernel < 1e-3 and falls and order and float(rich.max()) < 0.2
    # Between two alphas, at one of which the excess has only begun to fall, a slope is no evidence.
    late = slope(ds, below=1e-3)
    wrong = any(not 0.8 < late[d] < 1.2 for d in late if d > 2 and math.isfinite(late[d]))
    outcome = "holds" if rest and deep else "fails" if not rest or wrong else "undecided"
    return conclude(outcome, text, numbers)


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws the excess of both norms, and the entries of x, along alpha.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of two panels.
    """
    from ..plotting._style import BLACK, COLORS, GRAY, figure, power

    places = -ds.log10_alpha.values
    with figure(1, 2, height=5.0, width=13.0) as (drawn, (left, right)):
        for depth, color in zip(ds.depth.values, COLORS, strict=False):
            here = ds.sel(depth=depth)
            label = f"depth {int(depth)}"
            left.plot(places, np.maximum(here.l1_excess, 1e-12), color=color, label=label)
            left.plot(places, np.maximum(here.l2_excess, 1e-12), "--", color=color)
        left.plot([], [], color=BLACK, label=r"$\|x\|_1$ above its minimum")
        left.plot([], [], "--", color=BLACK, label=r"$\|x\|_2$ above its minimum")
        left.set(yscale="log", ylim=(1e-9, 1e4))
        left.set_ylabel(r"relative excess of the norm")
        left.legend(loc="upper left", ncols=2)
        first = int(ds.depth.values[0])
        for i in range(ds.sizes["coordinate"]):
            wanted = abs(float(ds.x_l1[i])) > 1e-6
            right.plot(
                places,
                ds.x.sel(depth=first)[:, i],
                color=COLORS[0] if wanted else GRAY,
                linewidth=2.2 if wanted else 1.0,
                label=None,
            )
        right.plot([], [], color=COLORS[0], label="entries of the least l1 norm")
        right.plot([], [], color=GRAY, label="all others")
        right.set_ylabel(rf"$x_i$ at depth {first}")
        right.legend(loc="best")
        shown = [value for value in places if abs(value / 2 - round(value / 2)) < 1e-9]
        for axis in (left, right):
            axis.set_xticks(shown, [power(-value) for value in shown])
            axis.set_xlabel(r"scale of the start, $\alpha$:  kernel $\longrightarrow$ rich")
    return drawn
