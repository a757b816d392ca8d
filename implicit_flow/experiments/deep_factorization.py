"""Deeper products X = W_N ... W_1: singular values move by N sigma^(2 - 2/N), and ranks fall."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import diffrax
import jax
import numpy as np

from .. import _checks
from .._compiled import compiled
from .._side_by_side import side_by_side
from .._simulate import simulate
from ..flows import DeepFlow
from ..problems import Problem, gaussian_sensing
from ._engine import engine as named_engine
from ._finish import conclude, finish
from ._ladder import escape_time
from ._singular_value_flow import balancedness, singular_values
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "From a balanced start the singular values of W_N ... W_1 obey d sigma/dt = -N sigma^(2 - 2/N) "
    "u' A*(r) v, and W_(j+1)' W_(j+1) - W_j W_j' is conserved by the flow. With few samples "
    "products of more than two factors end at lower effective rank than those of two, and closer "
    "to a planted matrix of low rank."
)
HYPOTHESES = (
    "Balanced start W_j = alpha^(1/N) I, squared loss, Gaussian measurements. The first two are "
    "theorems; the last is an observation at finite alpha, decided here by whether each deeper "
    "product is below the shallowest in more instances than chance explains (sign test, 5%), among "
    "those where they differ by more than the error of X: means would be decided by the one or two "
    "instances that depth 2 misses by far."
)
SOURCE = "Arora, Cohen, Hu and Luo (2019), Implicit regularization in deep matrix factorization."

# An implicit engine: singular values that stay near alpha make for modes of the residual that decay
# at rates like alpha^(2 - 2/N), over which an explicit one takes 10^5 steps and more. At the alpha
# of "tiny" that takes some hundred, and compiles in half the time.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "dim": 4,
        "rank": 1,
        "num_measurements": 6,
        "depths": (2, 3),
        "instances": 2,
        "log10_alpha": -1.5,
        "engine": "dopri8",
    },
    "quick": {
        "dim": 6,
        "rank": 1,
        "num_measurements": 12,
        "depths": (2, 3, 4),
        "instances": 6,
        "log10_alpha": -3.0,
        "engine": "kvaerno5",
    },
    "full": {
        "dim": 20,
        "rank": 2,
        "num_measurements": 80,
        "depths": (2, 3, 4),
        "instances": 30,
        "log10_alpha": -3.0,
        "engine": "kvaerno5",
    },
}
_RTOL, _TIMES = 1e-5, 120
# Of the sign test.
_LEVEL = 0.05


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    dim: int | None = None,
    rank: int | None = None,
    num_measurements: int | None = None,
    depths: Sequence[int] | None = None,
    instances: int | None = None,
    log10_alpha: float | int | None = None,
    engine: str | None = None,
) -> "xarray.Dataset":
    """Runs products of several depths on the same instances.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of the first instance.
        dim: n.
        rank: of the planted matrices.
        num_measurements: m.
        depths: N, increasing from 2.
        instances: their number.
        log10_alpha: the scale of X0, to base 10.
        engine: "kvaerno5", "dopri8" or "tsit5".

    Returns:
        Singular values along one flow with those of the exact equation, effective rank and
        recovery error over depth and instance, balancedness over depth; ends and planted matrices,
        and the measurement matrices of the first instance.
    """
    import xarray

    given = {
        "dim": dim,
        "rank": rank,
        "num_measurements": num_measurements,
        "depths": depths,
        "instances": instances,
        "log10_alpha": log10_alpha,
        "engine": engine,
    }
    chosen = sizes(SETTINGS, setting, given, seed=seed)
    _check(chosen)
    problems = [
        gaussian_sensing(
            chosen["dim"], chosen["rank"], chosen["num_measurements"], key=jax.random.key(seed + k)
        )
        for k in range(chosen["instances"])
    ]
    solver = named_engine(chosen["engine"])
    columns = side_by_side(
        lambda depth: _of_depth(problems, depth, float(chosen["log10_alpha"]), solver),
        chosen["depths"],
    )
    along = ("depth", "time_index", "singular_value")
    variables: dict[str, Any] = {
        "time": (("depth", "time_index"), np.stack([c["time"] for c in columns])),
        "singular_values": (along, np.stack([c["singular_values"] for c in columns])),
        "exact": (along, np.stack([c["exact"] for c in columns])),
    }
    for name in ("effective_rank", "recovery_error", "nuclear_norm", "misfit", "error_estimate"):
        variables[name] = (("depth", "instance"), np.stack([c[name] for c in columns]))
    variables["X"] = (("depth", "instance", "row", "column"), np.stack([c["X"] for c in columns]))
    planted = np.stack([np.asarray(problem.ground_truth) for problem in problems])
    variables["ground_truth"] = (("instance", "row", "column"), planted)
    # Of the first instance, whose path is shown.
    stack = np.asarray(problems[0].measurement.as_stack())
    variables["measurement_matrices"] = (("measurement", "row", "column"), stack)
    starts = ("depth", "start")
    for k, name in enumerate(("balance_moved", "balance_at_start", "balance_moved_by_steps")):
        table = [[values[k] for values in c["balance"]] for c in columns]
        variables[name] = (starts, np.array(table))
    ds = xarray.Dataset(
        variables,
        coords={
            "depth": list(chosen["depths"]),
            "instance": seed + np.arange(chosen["instances"]),
            "start": ["balanced", "random"],
        },
        attrs={name: chosen[name] for name in ("dim", "rank", "num_measurements")}
        | {"log10_alpha": float(chosen["log10_alpha"])},
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _check(chosen: dict[str, Any]) -> None:
    for name, least in (("dim", 2), ("rank", 1), ("num_measurements", 1), ("instances", 1)):
        _checks.at_least(chosen[name], name, least)
    depths = np.atleast_1d(chosen["depths"]).tolist()
    for depth in depths:
        _checks.at_least(depth, "depths", 2)
    if len(depths) < 2 or depths != sorted(set(depths)):
        _checks.refuse("depths", "be two or more increasing integers", f"is {chosen['depths']}")
    if chosen["engine"] == "radau":
        _checks.refuse("engine", "be a stock solver for deep products", "is 'radau'")
    if not -8 <= chosen["log10_alpha"] <= 0:
        _checks.refuse(
            "log10_alpha",
            "lie in -8 ... 0",
            f"is {chosen['log10_alpha']}",
            "Deeper products need a time that grows like alpha^(2/N - 1).",
        )


def _of_depth(
    problems: list[Problem], depth: int, log10_alpha: float, solver: Any
) -> dict[str, Any]:
    flow = DeepFlow(depth)

    @compiled
    def follow(problem: Problem, times: Any) -> Any:
        return simulate(
            problem,
            flow,
            log10_alpha=log10_alpha,
            solver=solver,
            saveat=times,
            rtol=_RTOL,
            adjoint=diffrax.ForwardMode(),
            throw=False,
        )

    ends = [follow(problem, np.linspace(0.0, 1.0, _TIMES)) for problem in problems]
    # Again along times that resolve the first flow, from before its escape until it is at rest.
    end = float(ends[0].time)
    early = min(_escape(problems[0], depth, log10_alpha) / 30, 1e-2 * end)
    times = np.concatenate([[0.0], np.geomspace(early, end, _TIMES - 1)])
    path = follow(problems[0], times)
    values = np.linalg.svd(np.asarray(path.Xs), compute_uv=False)
    Xs = np.stack([np.asarray(sol.X) for sol in ends])
    truths = np.stack([np.asarray(problem.ground_truth) for problem in problems])
    at_ends = np.linalg.svd(Xs, compute_uv=False)
    shares = at_ends / np.sum(at_ends, axis=1, keepdims=True)
    entropy = -np.sum(shares * np.log(np.maximum(shares, 1e-300)), axis=1)
    errors = np.linalg.norm(Xs - truths, axis=(1, 2)) / np.linalg.norm(truths, axis=(1, 2))
    return {
        "time": times,
        "singular_values": values,
        "exact": singular_values(problems[0], depth, 10**log10_alpha, times),
        "effective_rank": np.exp(entropy),
        "recovery_error": errors,
        "X": Xs,
        "nuclear_norm": np.sum(at_ends, axis=1),
        "misfit": np.array([float(sol.residual_norm) for sol in ends]),
        "error_estimate": np.array([float(sol.error_estimate) for sol in ends]),
        "balance": _balance(problems[0], depth, log10_alpha),
    }


def _escape(problem: Problem, depth: int, log10_alpha: float) -> float:
    """When the first singular value leaves the size of the start; see `greedy_low_rank`."""
    rate = max(float(np.linalg.eigvalsh(_force(problem))[-1]), 1e-300)
    if depth == 2:
        return escape_time(log10_alpha, rate) if log10_alpha < 0 else 1 / rate
    return 10 ** (log10_alpha * (2 / depth - 1)) / ((depth - 2) * rate)


def _force(problem: Problem) -> np.ndarray:
    """A*(y)."""
    return np.tensordot(np.asarray(problem.targets), np.asarray(problem.measurement.as_stack()), 1)


def _balance(problem: Problem, depth: int, log10_alpha: float) -> list[tuple[float, float, float]]:
    """From identities, and from Gaussian factors of size 1/2, for a fixed time."""
    flow, n = DeepFlow(depth), problem.dim

    def velocity(W: Any) -> Any:
        X = flow.unknown(W, problem)
        return flow.velocity(W, problem.residual((X + X.T) / 2), problem)

    balanced = np.tile(10 ** (log10_alpha / depth) * np.eye(n), (depth, 1, 1))
    draws = np.random.default_rng(depth).standard_normal((depth, n, n))
    top = float(np.linalg.norm(_force(problem), 2))
    return balancedness(velocity, [balanced, 0.5 * draws / np.sqrt(n)], 10 / top)


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    size = ds.exact.max(("time_index", "singular_value"))
    apart = (
        np.abs(ds.singular_values - ds.exact).max(("time_index", "singular_value")) / size
    ).values
    moved = float(ds.balance_moved.max())
    exact = bool(np.all(apart < 10 * _RTOL)) and moved < 1e-7
    rank, error = (
        ds[name].median("instance").values for name in ("effective_rank", "recovery_error")
    )
    fitted = float(ds.misfit.max()) < 1e-3
    falls, rises, tails = [], [], []
    for value, room in _with_room(ds):
        step, unsure = value[1:] - value[0], room[1:] + room[0]
        below = np.sum(step < -unsure, axis=1).tolist()
        above = np.sum(step > unsure, axis=1).tolist()
        # As in any sign test, ties count for neither side.
        pairs = list(zip(below, above, strict=True))
        tails.append([(low, low + high) for low, high in pairs])
        falls += [_chance(low, low + high) < _LEVEL for low, high in pairs]
        rises += [_chance(high, low + high) < _LEVEL for low, high in pairs]
    if not exact:
        outcome = "fails"
    elif not fitted:
        outcome = "undecided"
    else:
        outcome = "fails" if any(rises) else "holds" if all(falls) else "undecided"
    listed = lambda values, form: ", ".join(format(float(value), form) for value in values)
    counted = lambda pairs: ", ".join(f"{low} of {count}" for low, count in pairs)
    text = (
        f"Depths {', '.join(map(str, ds.depth.values))}: singular values against the exact "
        f"equation within {listed(apart, '.0e')} of the largest; balancedness moves by {moved:.0e} "
        f"along the flow, {float(ds.balance_moved_by_steps.max()):.0e} with finite steps. With "
        f"m = {ds.attrs['num_measurements']}, n = {ds.attrs['dim']}, rank {ds.attrs['rank']}, "
        f"alpha = 1e{ds.attrs['log10_alpha']:g}: median effective rank {listed(rank, '.3f')}, "
        f"below depth {int(ds.depth[0])} in {counted(tails[0])}; median relative error "
        f"{listed(error, '.3f')}, below in {counted(tails[1])}; largest misfit "
        f"{float(ds.misfit.max()):.0e}."
    )
    names = ["singular_values", "exact", "balance_moved", "effective_rank", "recovery_error"]
    return conclude(outcome, text, ds[[*names, "error_estimate", "misfit"]])


def _with_room(ds: "xarray.Dataset") -> list[tuple[np.ndarray, np.ndarray]]:
    """The logarithm of the effective rank and the recovery error, and how far each may be wrong."""
    n, e = ds.attrs["dim"], ds.error_estimate.values
    # Shares of the trace move by t in total variation: their entropy by Audenaert's bound (2007).
    t = np.clip(np.sqrt(n) * e, 1e-300, 1 - 1 / n)
    entropy = t * np.log(max(n - 1, 1)) - t * np.log(t) - (1 - t) * np.log1p(-t)
    error = ds.recovery_error.values
    return [(np.log(ds.effective_rank.values), entropy), (error, e * (1 + error))]


def _chance(number: int, count: int) -> float:
    """Of at least that many heads in so many throws of a coin."""
    return sum(math.comb(count, k) for k in range(number, count + 1)) / 2**count


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """What is worth reading: effective rank and recovery over depth and instance.

    Args:
        ds: what `run` returned.

    Returns:
        Those variables.
    """
    return ds[["effective_rank", "recovery_error", "nuclear_norm", "misfit"]]


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws singular values along the flows, and rank and recovery against depth.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of three panels.
    """
    from ..plotting._style import BLACK, COLORS, figure

    with figure(1, 3, width=17.0, height=5.0) as (drawn, (left, middle, right)):
        for k, depth in enumerate(ds.depth.values):
            times = ds.time[k].values[1:]
            for j in range(min(3, ds.sizes["singular_value"])):
                label = f"depth {depth}" if j == 0 else None
                left.plot(times, ds.exact[k, 1:, j], "-", color=COLORS[k], label=label)
                left.plot(times[::4], ds.singular_values[k, 1::4, j], "o", color=COLORS[k], ms=4)
        left.plot([], [], "o", color=BLACK, ms=4, label="flow (lines: exact)")
        left.set(
            xscale="log",
            xlabel="time $t$",
            ylabel=r"three largest singular values $\sigma_k$",
        )
        left.legend(loc="center right")
        for axis, name, label in (
            (middle, "effective_rank", "effective rank of $X$"),
            (right, "recovery_error", r"$\|X - X^*\|_F / \|X^*\|_F$"),
        ):
            # A line an instance: what is claimed is that they fall.
            axis.plot(ds.depth, ds[name], "o-", color=COLORS[0], ms=4, linewidth=1.2, alpha=0.35)
            median = ds[name].median("instance")
            axis.plot(ds.depth, median, "s-", color=COLORS[1], label="median")
            axis.plot([], [], "o-", color=COLORS[0], ms=4, alpha=0.5, label="an instance")
            axis.set(xlabel="depth $N$", xticks=ds.depth.values, ylabel=label)
            axis.legend()
        right.set_yscale("log")
        middle.set_title(f"$m$ = {ds.attrs['num_measurements']} samples, $n$ = {ds.attrs['dim']}")
    return drawn
