"""What small ReLU networks can say, what a kernel loses by it, and when a loss is convex."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks
from ..networks import path_norm
from . import _gates, _lines, _margins
from ._capacity import fitted_share
from ._expressivity_figure import draw
from ._finish import conclude, finish
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "One hidden layer of 2^d ReLU units represents every truth table of d bits, one of k units any "
    "intersection or union of k halfspaces, and two layers a union of intersections; parity takes "
    "d units, while the margin of a kernel on it shrinks exponentially in d. Random labels of N "
    "points are fitted once there are about N parameters. For every convex loss the loss is convex "
    "in the weights only where the predictor is affine in them."
)
HYPOTHESES = (
    "Inputs -1 and 1 for tables; points at a distance from the boundary for unions of "
    "intersections; kernels with ones on the diagonal (Gaussian of width sigma^2 = d, and that of "
    "random ReLU units); networks that fit labels are trained by Adam, so that what they do not "
    "fit is a finding and no theorem. One loss alone may be convex without the predictor being "
    "affine."
)
SOURCE = (
    "Folklore for tables and halfspaces; Minsky and Papert (1969) for parity; Zhang, Bengio, "
    "Hardt, Recht and Vinyals (2017) for labels; Ben-David, Eiron and Simon (2002) on margins."
)

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "all_tables_to": 3,
        "most_inputs": 5,
        "faces": 3,
        "polytopes": 2,
        "num_points": 500,
        "num_labels": 12,
        "widths": (1, 2, 8),
        "repeats": 2,
        "num_steps": 300,
        "num_lines": 20,
    },
    "quick": {
        "all_tables_to": 4,
        "most_inputs": 9,
        "faces": 4,
        "polytopes": 3,
        "num_points": 20_000,
        "num_labels": 200,
        "widths": (1, 2, 4, 8, 12, 16, 20, 24, 32, 48),
        "repeats": 5,
        "num_steps": 6000,
        "num_lines": 200,
    },
    "full": {
        "all_tables_to": 4,
        "most_inputs": 9,
        "faces": 6,
        "polytopes": 5,
        "num_points": 200_000,
        "num_labels": 400,
        "widths": (1, 2, 4, 8, 16, 24, 32, 40, 48, 64, 96, 128),
        "repeats": 10,
        "num_steps": 20_000,
        "num_lines": 2000,
    },
}
# Of the points whose labels are random, and of the predictors on lines.
_DIM, _WIDTH = 8, 6
_FUNCTIONS = ("parity", "random table", "two halfspaces", "majority")
_KERNELS = {"Gaussian": _margins.gaussian, "ReLU": _margins.arc_cosine}
# Inside and outside of a union of polytopes, in the unit square.
_MARGIN = 0.02
_GRID = 81


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    all_tables_to: int | None = None,
    most_inputs: int | None = None,
    faces: int | None = None,
    polytopes: int | None = None,
    num_points: int | None = None,
    num_labels: int | None = None,
    widths: Sequence[int] | None = None,
    repeats: int | None = None,
    num_steps: int | None = None,
    num_lines: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> "xarray.Dataset":
    """Builds networks, measures margins, trains on random labels, and looks along lines.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of functions, halfspaces, points, labels and lines.
        all_tables_to: the largest d, up to 4, of which every truth table is tried.
        most_inputs: the largest d for margins, and for truth tables at random, from 3 to 10.
        faces: halfspaces of a polytope.
        polytopes: in a union.
        num_points: at which halfspaces are tested.
        num_labels: N, points with random labels.
        widths: hidden units of the networks that learn them.
        repeats: draws of labels for each width.
        num_steps: steps of training.
        num_lines: lines for each predictor.
        say: called with lines of progress.

    Returns:
        Tables represented, points on the wrong side, margins between bounds, shares of random
        labels fitted, and second differences along lines.
    """
    import xarray

    given = {name: value for name, value in locals().items() if name in SETTINGS["tiny"]}
    floors = {"most_inputs": 3, "faces": 3, "num_labels": 2}
    size = sizes(SETTINGS, setting, given, least={**dict.fromkeys(given, 1), **floors}, seed=seed)
    for name, most, why in (
        ("all_tables_to", 4, "There are 2^(2^d) of them."),
        ("most_inputs", 10, "A margin is a quadratic program over 2^d points."),
    ):
        if size[name] > most:
            _checks.refuse(name, f"be at most {most}", f"is {size[name]}", why)
    random = np.random.default_rng(seed)
    tables = _tables(size["all_tables_to"], size["most_inputs"], random)
    say(f"truth tables of up to {size['most_inputs']} bits")
    wrong, image, polygons = _halfspaces(size, random)
    say("halfspaces and polytopes")
    margins = _all_margins(size["most_inputs"], random)
    say("margins of kernels")
    points = random.standard_normal((size["num_labels"], _DIM))
    labels = np.where(random.random((size["repeats"], len(points))) < 0.5, 1.0, -1.0)
    fitted = fitted_share(points, labels, size["widths"], num_steps=size["num_steps"], seed=seed)
    remembered = _remembered(points, labels, random)
    say("random labels")
    bends = _bends(size, random)
    dims = np.arange(2, size["most_inputs"] + 1)
    ds = xarray.Dataset(
        {
            **{name: ("d", values) for name, values in tables.items()},
            "wrong_side": ("shape", list(wrong.values())),
            "image": (("y", "x"), image),
            "normals": (("polytope", "face", "axis"), polygons[0]),
            "offsets": (("polytope", "face"), polygons[1]),
            **{name: (("function", "kernel", "d"), values) for name, values in margins.items()},
            "network_margin": ("d", [_parity_margin(int(d), int(dims[-1])) for d in dims]),
            "fitted": (("width", "draw"), fitted),
            "parameters": ("width", [width * (_DIM + 2) + 1 for width in size["widths"]]),
            "remembered_error": ("draw", remembered),
            "least_bend": (("predictor", "loss"), bends[1]),
            "share_not_convex": (("predictor", "loss"), bends[2]),
            "is_affine": ("predictor", bends[3]),
        },
        coords={
            "d": dims,
            "shape": list(wrong),
            "function": list(_FUNCTIONS),
            "kernel": list(_KERNELS),
            "width": list(size["widths"]),
            "predictor": bends[0],
            "loss": list(_lines.LOSSES),
            "x": np.linspace(0, 1, _GRID),
            "y": np.linspace(0, 1, _GRID),
        },
        attrs={"num_labels": size["num_labels"], "all_tables_to": size["all_tables_to"]},
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _tables(to: int, most: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """How many truth tables were tried and represented, and the most units that one took.

    All tables of d bits share the hidden layer of the table that is true everywhere: its output
    weights are the table.
    """
    tried, right, units = [], [], []
    for d in range(2, most + 1):
        points, count = _gates.cube(d), 2 ** (2**d) if d <= to else 64
        numbers = np.arange(count)[:, None] >> np.arange(2**d)
        tables = numbers & 1 if d <= to else random.integers(2, size=(count, 2**d))
        whole = _gates.disjunction(np.ones(2**d, bool))
        layer = whole.layers[0]
        hidden = np.maximum(points @ np.asarray(layer.weight).T + np.asarray(layer.bias), 0)
        said = hidden @ tables.T - 0.5 > 0
        agree = (said == (tables.T == 1)).all(axis=0)
        # Some of them as networks of their own, with the units that are needed and no others.
        for number in {0, count - 1, *random.integers(count, size=4).tolist()}:
            table = tables[number] == 1
            alone = _gates.disjunction(table)
            agree[number] &= bool(((_gates.outputs(alone, points) > 0) == table).all())
        tried.append(count)
        right.append(int(agree.sum()))
        units.append(int(tables.sum(axis=1).max()))
        odd = (points > 0).sum(axis=1) % 2 == 1
        zigzag = _gates.outputs(_gates.parity(d), points)
        if not np.allclose(zigzag, np.where(odd, 1.0, -1.0), atol=1e-9):
            right[-1] = -1
    return {
        "tables_tried": np.array(tried),
        "tables_right": np.array(right),
        "most_units": np.array(units),
    }


def _halfspaces(
    size: dict[str, Any], random: np.random.Generator
) -> tuple[dict[str, int], np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Points on the wrong side of three networks, a picture of the third, and its polygons."""
    angles = 2 * np.pi * np.arange(size["faces"]) / size["faces"] + random.random(
        (size["polytopes"], 1)
    )
    normals = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    centers = 0.2 + 0.6 * random.random((size["polytopes"], 1, 2))
    offsets = (normals * centers).sum(axis=-1) - random.uniform(0.08, 0.2, (size["polytopes"], 1))
    points = random.random((size["num_points"], 2))
    slack = np.einsum("jka,na->njk", normals, points) - offsets
    inside = (slack >= 0).all(axis=-1)
    missing = np.maximum(-slack, 0).sum(axis=-1)
    clear = (inside | (missing >= _MARGIN)).all(axis=-1)
    one = _gates.outputs(_gates.intersection(normals[0], offsets[0]), points)
    some = _gates.outputs(_gates.union(normals[0], offsets[0]), points)
    two = _gates.union_of_intersections(normals, offsets, _MARGIN)
    # At a face itself the sign of a slack is rounding.
    apart = (np.abs(slack[:, 0]) > 1e-12).all(axis=-1)
    wrong = {
        "intersection": int(np.sum(((one == 0) != inside[:, 0]) & apart)),
        "union": int(np.sum(((some > 0) != (slack[:, 0] > 0).any(axis=-1)) & apart)),
        "union of intersections": int(
            np.sum(((_gates.outputs(two, points) > 0) != inside.any(axis=-1)) & clear)
        ),
    }
    grid = np.stack(np.meshgrid(*2 * [np.linspace(0, 1, _GRID)]), axis=-1).reshape(-1, 2)
    return wrong, _gates.outputs(two, grid).reshape(_GRID, _GRID), (normals, offsets)


def _all_margins(most: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Margins of kernels, from below and from above, over function, kernel and d."""
    shape = (len(_FUNCTIONS), len(_KERNELS), most - 1)
    low, high = np.zeros(shape), np.zeros(shape)
    for k, d in enumerate(range(2, most + 1)):
        points = _gates.cube(d)
        ones = (points > 0).sum(axis=1)
        both = np.zeros(2**d, bool)
        while not 0.2 <= both.mean() <= 0.8:
            first, second = random.standard_normal((2, d))
            both = (points @ first > -0.5) & (points @ second > -0.5)
        truths = (ones % 2 == 1, random.random(2**d) < 0.5, both, ones > d / 2)
        for j, kernel in enumerate(_KERNELS.values()):
            matrix = kernel(points)
            for i, truth in enumerate(truths):
                low[i, j, k], high[i, j, k] = _margins.margin(matrix, np.where(truth, 1.0, -1.0))
    return {"margin_at_least": low, "margin_at_most": high}


def _parity_margin(num_inputs: int, room: int) -> float:
    r"""Of the network: $|f(x)| = 1$ over $\phi_2\|(x, 1)\|$, which bounds |f(x)|."""
    return 1 / float(path_norm(_gates.parity(num_inputs, room)) * np.sqrt(num_inputs + 1))


def _remembered(points: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The largest error of a network of N units that was written down to have the labels."""
    direction = random.standard_normal(points.shape[1])
    errors = []
    for row in labels:
        written = _gates.memory(points, row, direction)
        errors.append(float(np.max(np.abs(_gates.outputs(written, points) - row))))
    return np.array(errors)


def _bends(size: dict[str, Any], random: np.random.Generator) -> tuple[list, ...]:
    inputs = random.standard_normal((16, 3))
    labels = np.where(random.random(16) < 0.5, 1.0, -1.0)
    kinds = _lines.predictors(3, _WIDTH, random)
    least, share = [], []
    for count, _, predictor in kinds.values():
        found = _lines.least_bend(predictor, count, inputs, labels, size["num_lines"], random)
        least.append([found[name][0] for name in _lines.LOSSES])
        share.append([found[name][1] for name in _lines.LOSSES])
    return list(kinds), least, share, [int(affine) for _, affine, _ in kinds.values()]


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    tables = bool((ds.tables_right == ds.tables_tried).all())
    sides = int(ds.wrong_side.sum()) == 0
    bent = ds.share_not_convex.max("loss").values > 0
    convex = bool((bent == (ds.is_affine.values == 0)).all())
    low = ds.margin_at_least.sel(function="parity", kernel="Gaussian").values
    high = ds.margin_at_most.sel(function="parity", kernel="Gaussian").values
    # Exponential: each further input costs at least a third.
    shrinks = bool((high[1:] < low[:-1] / 1.5).all())
    fitted, enough = ds.fitted.mean("draw"), ds.parameters >= 1.5 * ds.attrs["num_labels"]
    few = ds.parameters < 0.5 * ds.attrs["num_labels"]
    fits = bool(enough.any()) and float(fitted.where(enough).min()) > 0.999
    misses = bool(few.any()) and float(fitted.where(few).max()) < 0.999
    written = float(ds.remembered_error.max()) < 1
    text = (
        f"Truth tables: {int(ds.tables_right.sum()):,} of {int(ds.tables_tried.sum()):,}; points "
        f"on the wrong side of a union of polytopes, an intersection, a union: "
        f"{int(ds.wrong_side.sum())}. Margin of the Gaussian kernel on parity: {low[0]:.2g} at d = "
        f"{int(ds.d[0])}, {low[-1]:.2g} at d = {int(ds.d[-1])} (network of d units: "
        f"{float(ds.network_margin[-1]):.2g}). Of {ds.attrs['num_labels']} random labels training "
        f"fits {100 * float(fitted[0]):.0f}% with {int(ds.parameters[0])} parameters and "
        f"{100 * float(fitted[-1]):.0f}% with {int(ds.parameters[-1])}. Not convex along some "
        f"line: {', '.join(str(n) for n in ds.predictor.values[bent]) or 'none'}."
    )
    exact = tables and sides and convex and written
    outcome = "fails" if not exact or not shrinks else "holds" if fits and misses else "undecided"
    names = ["share_not_convex", "margin_at_least", "margin_at_most", "fitted", "remembered_error"]
    return conclude(outcome, text, ds[names])


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """Margins of parity, and what the networks take.

    Args:
        ds: what `run` returned.

    Returns:
        Over d.
    """
    margins = ds.margin_at_least.sel(function="parity", drop=True)
    return ds[["tables_tried", "tables_right", "most_units", "network_margin"]].assign(
        **{f"margin_{name}": margins.sel(kernel=name, drop=True) for name in ds.kernel.values}
    )


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws a union of polytopes, margins against d, random labels, and convexity along lines.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of four panels.
    """
    return draw(ds)
