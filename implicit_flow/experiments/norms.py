"""Trace norm and max-norm by factors and by cones; rank that grows while the norm falls."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks
from ..plotting._style import COLORS, GRAY, figure
from ._factorizations import matrices_of, two_ways
from ._finish import conclude, finish
from ._norm_ball import descents, shares_above
from ._norm_ends import all_known
from ._rank_path import jester, rank_path, ranks_that_may_fit, synthetic
from ._row_ball import row_descents, rows_above
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "Trace norm, weighted trace norm and max-norm are least norms of factors, W = UV'. For W_k, "
    "the least of loss + lambda ||W||_tr over rank k: where lambda is small and rank k has as many "
    "parameters as there are entries, rank grows while norm and test error fall. Factors of "
    "bounded norm have no spurious local minima once they have enough columns, be it the sum of "
    "squares that is bounded (trace norm) or the longest row (max-norm)."
)
HYPOTHESES = (
    "Norms: any matrix (semidefinite programs in float64). W_k: ratings of users by items with "
    "noise; squared loss; descent from W of the k before; a least lambda well below the noise. "
    "Minima: squared loss on a part of the entries of a p by q matrix; trace norm at most tau and "
    "more than min(p, q) columns, or max-norm at most B and more than p + q."
)
SOURCE = (
    "Srebro, Rennie and Jaakkola (2004) and Srebro and Shraibman (2005) for the norms, "
    "Salakhutdinov and Srebro (2010) for the weighted one; Neyshabur, Tomioka and Srebro (2015) "
    "for rank and norm; Burer and Monteiro (2005) for the minima."
)

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "dim": 4,
        "num_users": 20,
        "num_items": 14,
        "ranks": (1, 2, 4, 6, 8, 11, 14),
        "penalties": (0.03, 3.0),
        "side": 4,
        "columns": (1, 2, 5),
        "row_columns": (1, 2, 9),
        "instances": 2,
        "starts": 4,
        "radii": (0.3,),
    },
    "quick": {
        "dim": 8,
        "num_users": 60,
        "num_items": 40,
        "ranks": (*range(1, 15), 16, 18, 20, 24, 30, 40),
        "penalties": (0.03, 0.3, 3.0),
        "side": 6,
        "columns": (1, 2, 3, 4, 7),
        "row_columns": (1, 2, 3, 4, 13),
        "instances": 3,
        "starts": 4,
        "radii": (0.3,),
    },
    "full": {
        "dim": 16,
        "num_users": 200,
        "num_items": 100,
        "ranks": (*range(1, 21), 25, 30, 35, 40, 50, 60, 80, 100),
        "penalties": (0.03, 0.3, 3.0, 10.0),
        "side": 10,
        "columns": (1, 2, 3, 4, 5, 6, 11),
        "row_columns": (1, 2, 3, 4, 5, 6, 21),
        "instances": 20,
        "starts": 30,
        "radii": (0.3, 0.6, 0.9),
    },
}
_ROWS = ("row_columns", "radius", "instance", "start")
_NORMS = ("trace norm", "weighted trace norm", "max-norm")
# Rank and noise of synthetic ratings of variance 1, and the share that is for training.
_PLANTED, _NOISE, _SHARE = 3, 0.5, 0.5
# A legend that lines may run behind.
_ON_LINES: dict[str, Any] = {"frameon": True, "framealpha": 0.9, "edgecolor": "none"}


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    dim: int | None = None,
    num_users: int | None = None,
    num_items: int | None = None,
    data_dir: str | Path | None = None,
    ranks: Sequence[int] | None = None,
    penalties: Sequence[float | int] | None = None,
    side: int | None = None,
    columns: Sequence[int] | None = None,
    row_columns: Sequence[int] | None = None,
    instances: int | None = None,
    starts: int | None = None,
    radii: Sequence[float | int] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> "xarray.Dataset":
    """Computes norms in two ways, the path of W_k, and where descent over bounded factors ends.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of matrices, ratings, splits and starts.
        dim: side of the matrices whose norms are computed.
        num_users: rows of the ratings.
        num_items: columns of synthetic ratings.
        data_dir: with `jester5k_ratings.npz`, to rate jokes instead; synthetic by default.
        ranks: the k, increasing.
        penalties: the lambda, for ratings of variance 1.
        side: side of the matrices of the problems of bounded norm.
        columns: the d, numbers of columns of factors of bounded trace norm.
        row_columns: the same of bounded max-norm.
        instances: problems of bounded norm, of either kind.
        starts: of descent in each.
        radii: tau, relative to the trace norm of the known entries; B, to the largest of them.
        say: called with lines of progress.

    Returns:
        Norms over matrix and norm; errors and norms over penalty and rank; and shares of descents
        that end above the minimum over columns.
    """
    import xarray

    given = {name: value for name, value in locals().items() if name in SETTINGS["tiny"]}
    least = dict.fromkeys(set(given) - {"penalties", "radii"}, 1)
    size = sizes(SETTINGS, setting, given, least={**least, "dim": 2, "side": 2}, seed=seed)
    _refuse_unfit(size)
    random = np.random.default_rng(seed)
    matrices = matrices_of(size["dim"], random)
    norms = {name: two_ways(W, random) for name, W in matrices.items()}
    say(f"{len(norms)} matrices: norms by factors and by semidefinite programs")
    if data_dir is not None:
        _checks.instance(data_dir, "data_dir", (str, Path))
    if data_dir is None:
        shape = (size["num_users"], size["num_items"])
        ratings = synthetic(shape, min(_PLANTED, *shape), _NOISE, _SHARE, random)
    else:
        ratings = jester(data_dir, size["num_users"], _SHARE, random)
    shape = ratings.values.shape
    ranks_here = tuple(k for k in size["ranks"] if k <= min(shape))
    path = {}
    for penalty in size["penalties"]:
        path[penalty] = rank_path(ratings, ranks_here, penalty, np.random.default_rng(seed))
        last = path[penalty][-1]
        say(f"lambda {penalty:g}: test error {last['test_error']:.3f} at rank {ranks_here[-1]}")
    ends = descents(size, seed)
    say("descents over factors of bounded trace norm")
    row_ends, row_least = row_descents(size, seed)
    say("descents over factors of bounded rows, and their convex program")
    fitting = ranks_that_may_fit(shape, int(ratings.train.sum()))
    above, spurious = shares_above(ends)
    names = ("objective", "lower_bound", "trace_norm", "rank", "train_error", "test_error")
    ds = xarray.Dataset(
        {
            "by_factors": (("matrix", "norm"), _grid(norms, 0)),
            "by_cones": (("matrix", "norm"), _grid(norms, 1)),
            "gap": (("matrix", "norm"), _grid(norms, 2)),
            "missing": (("matrix", "norm"), _grid(norms, 3)),
            "W": (("matrix", "row", "column"), np.stack(list(matrices.values()))),
            **{
                f"{'attained_' if name == 'rank' else ''}{name}": (
                    ("penalty", "k"),
                    np.array([[row[name] for row in rows] for rows in path.values()]),
                )
                for name in names
            },
            "end_value": (("columns", "radius", "instance", "start"), ends["value"]),
            "end_gap": (("columns", "radius", "instance", "start"), ends["gap"]),
            "end_slope": (("columns", "radius", "instance", "start"), ends["slope"]),
            "end_curvature": (("columns", "radius", "instance", "start"), ends["curvature"]),
            "end_escape": (("columns", "radius", "instance", "start"), ends["escape"]),
            "share_above": ("columns", above),
            "share_spurious": ("columns", spurious),
            **{f"row_end_{name}": (_ROWS, value) for name, value in row_ends.items()},
            **{f"row_least_{name}": (_ROWS[1:3], value) for name, value in row_least.items()},
            "row_share_above": ("row_columns", rows_above(row_ends, row_least)),
        },
        coords={
            "matrix": list(matrices),
            "norm": list(_NORMS),
            "penalty": [float(penalty) for penalty in path],
            "k": list(ranks_here),
            "columns": list(size["columns"]),
            "row_columns": list(size["row_columns"]),
            "radius": [float(radius) for radius in size["radii"]],
        },
        attrs={
            "data": "synthetic" if data_dir is None else "jester",
            "num_train": int(ratings.train.sum()),
            "num_test": int(ratings.test.sum()),
            "fitting_rank": fitting,
            "side": size["side"],
            "fall_of_test_error": _fall(path[min(path)], ranks_here, fitting),
        },
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _refuse_unfit(size: dict[str, Any]) -> None:
    """Refuse sizes that no problem has."""
    for name in ("penalties", "radii"):
        for value in size[name]:
            if not value > 0:
                _checks.refuse(name, "be positive", f"holds {value}")
    if max(size["radii"]) >= 1:
        cure = "At 1 and above a matrix within the ball may fit, and the bound does not bind."
        _checks.refuse("radii", "be below 1", f"hold {max(size['radii'])}", cure)
    for name in ("ranks", "columns", "row_columns"):
        if list(size[name]) != sorted(set(size[name])):
            _checks.refuse(name, "increase", f"is {tuple(size[name])}")
    smaller = min(size["num_users"], size["num_items"])
    if min(size["ranks"]) > smaller:
        _checks.refuse("ranks", f"begin at most at {smaller}", f"begins at {min(size['ranks'])}")


def _grid(norms: dict[str, np.ndarray], which: int) -> np.ndarray:
    return np.array([found[which] for found in norms.values()])


def _fall(rows: list[dict[str, Any]], ranks: tuple[int, ...], fitting: int) -> np.ndarray:
    """Mean squared test error at the fitting rank minus that at the last, and its standard error.

    The two are of the same entries, and are compared entry by entry.
    """
    first = next((i for i, k in enumerate(ranks) if k >= fitting), len(ranks) - 1)
    squares = rows[first]["squares"] - rows[-1]["squares"]
    if len(squares) < 2:
        return np.array([np.nan, np.nan])
    return np.array([np.mean(squares), np.std(squares, ddof=1) / np.sqrt(len(squares))])


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    apart = float(np.max(np.abs(ds.by_factors / ds.by_cones - 1)))
    # The cones' own bounds, and what descent over factors leaves: it stops at 1e-11 of a slope.
    room = float(ds.gap.max()) + 1e-8
    small = ds.sel(penalty=float(ds.penalty.min()))
    first, last = _ends_of_growth(ds)
    norm = [float(small.trace_norm.sel(k=k)) for k in (first, last)]
    error = [float(small.test_error.sel(k=k)) for k in (first, last)]
    grew = int(small.attained_rank.sel(k=last)) > int(small.attained_rank.sel(k=first))
    fall, spread = (float(value) for value in ds.attrs["fall_of_test_error"])
    balls = ds.isel(columns=np.flatnonzero(ds.columns > ds.attrs["side"]))
    rows = ds.isel(row_columns=np.flatnonzero(ds.row_columns > 2 * ds.attrs["side"]))
    trapped, trapped_rows = (
        float(share.max()) if share.size else np.nan
        for share in (balls.share_above, rows.row_share_above)
    )
    few, few_rows = float(ds.share_above[0]), float(ds.row_share_above[0])
    best_k = int(small.k[int(np.argmin(small.test_error.values))])
    text = (
        f"{ds.sizes['matrix']} matrices, three norms: factors and cones differ by at most "
        f"{apart:.1e}. Ratings ({ds.attrs['data']}), lambda {float(small.penalty):g}: from k = "
        f"{first}, where rank k may fit, to {last} the trace norm goes {norm[0]:.4g} -> "
        f"{norm[1]:.4g} and the test error {error[0]:.3f} -> {error[1]:.3f} (least "
        f"{float(small.test_error.min()):.3f} at k = {best_k}). Bounded factors: {100 * few:.0f}% "
        f"of descents end above the minimum at d = {int(ds.columns[0])}, {100 * trapped:.0f}% at "
        f"d > {ds.attrs['side']}; bounded rows, against the semidefinite program: "
        f"{100 * few_rows:.0f}% at d = {int(ds.row_columns[0])}, {100 * trapped_rows:.0f}% at d > "
        f"{2 * ds.attrs['side']}."
    )
    trapped = max(trapped, trapped_rows)
    if not all_known(ds, balls, rows):
        outcome, text = "undecided", f"{text} Not all programs and descents came to their end."
    elif apart > room or trapped > 0 or (grew and (norm[1] > norm[0] or fall < -2 * spread)):
        outcome = "fails"
    elif grew and norm[1] < norm[0] and fall > 2 * spread and trapped == 0:
        outcome = "holds"
    else:
        outcome = "undecided"
    numbers = {**ds[["by_factors", "by_cones", "gap"]], "test_error": small.test_error}
    numbers |= {"ends of the growth of k": [*norm, *error, fall, spread]}
    numbers |= {**balls[["end_value", "end_gap", "share_above"]]}
    numbers |= {**rows[["row_end_value", "row_share_above"]]}
    return conclude(outcome, text, numbers | {**ds[["row_least_value", "row_least_gap"]]})


def _ends_of_growth(ds: "xarray.Dataset") -> tuple[int, int]:
    """The first k at which rank k may fit, and the last one."""
    later = [int(k) for k in ds.k.values if k >= ds.attrs["fitting_rank"]]
    last = int(ds.k.values[-1])
    return (later[0] if later else last), last


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """The path of W_k.

    Args:
        ds: what `run` returned.

    Returns:
        Norms and errors over penalty and k.
    """
    return ds[["attained_rank", "trace_norm", "train_error", "test_error", "objective"]]


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws W_k against k, and the share of descents that are trapped against d.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of four panels.
    """
    with figure(2, 2, width=13.0, height=9.6) as (fig, _):
        # The panels have no axis in common.
        fig.clear()
        axes = np.ravel(fig.subplots(2, 2))
        for number, penalty in enumerate(ds.penalty.values):
            rows, color = ds.sel(penalty=penalty), COLORS[number % len(COLORS)]
            label = rf"$\lambda = {penalty:g}$"
            axes[0].plot(ds.k, rows.trace_norm, "o-", color=color, markersize=5, label=label)
            axes[1].plot(ds.k, rows.test_error, "o-", color=color, markersize=5, label=label)
            axes[1].plot(ds.k, rows.train_error, ":", color=color)
        for axis in axes[:2]:
            line = axis.axvline(ds.attrs["fitting_rank"], color=GRAY, linestyle="--")
            line.set(linewidth=1.5, label="rank $k$ may fit")
            axis.set_xlabel("largest rank $k$")
            axis.set_ylim(0, None)
        axes[0].set(ylabel=r"$\|W_k\|_{tr}$", title="the norm of $W_k$")
        axes[0].legend(**_ON_LINES)
        axes[1].set(ylabel="root mean square", title="errors: test (lines), training (dots)")
        for name, color, label in (
            ("share_above", COLORS[1], "above the minimum of any rank"),
            ("share_spurious", COLORS[0], "above the best of the same $d$"),
        ):
            axes[2].plot(ds.columns, 100 * ds[name], "o-", color=color, label=label)
        axes[2].axvline(ds.attrs["side"] + 0.5, color=GRAY, linestyle="--", linewidth=1.5)
        axes[2].set(xlabel="columns $d$ of $U$ and $V$", ylabel="descents, %", ylim=(-4, 104))
        axes[2].set_title(r"local minima, $\|U\|_F^2 + \|V\|_F^2 \leq 2\tau$")
        axes[2].legend(**_ON_LINES)
        label = "above the semidefinite program"
        axes[3].plot(ds.row_columns, 100 * ds.row_share_above, "o-", color=COLORS[1], label=label)
        axes[3].axvline(2 * ds.attrs["side"] + 0.5, color=GRAY, linestyle="--", linewidth=1.5)
        axes[3].set(xlabel="columns $d$ of $U$ and $V$", ylabel="descents, %", ylim=(-4, 104))
        axes[3].set_title(r"local minima, $\|U_i\|^2 \leq B$, $\|V_j\|^2 \leq B$")
        axes[3].legend(**_ON_LINES)
    return fig
