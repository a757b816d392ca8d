"""Which critical points are there, which trap descent, and where does theory exclude traps?"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .. import _checks
from .._side_by_side import side_by_side
from ._finish import conclude, finish
from ._landscape_bounds import iterations, perturbed, saddles
from ._landscape_family import sweep_of_d, threshold
from ._landscape_models import AT_REST, MODELS, NO_SPURIOUS, census
from ._landscape_picture import draw
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "Sensing has no spurious minima where the isometry constant delta_2r is small, and at every "
    "saddle a curvature of -sigma_r/5 or less for (1/4m)||A(UU') - y||^2 (-(4/5) sigma_r for "
    "(1/m)||A(UU') - y||^2) where delta_2r <= 1/10; noise and a tail of the spectrum move the "
    "minima by no more than their size; on an exact one-parameter family delta = 1/2 is the "
    "threshold; principal components, synchronization without noise and deep linear networks have "
    "no spurious minima; noisy gradient descent needs steps in proportion to the condition number, "
    "and hardly more in higher dimension."
)
HYPOTHESES = (
    "Squared loss, planted targets; delta_2r proved by the spectrum of all of A*A; rank 2 in "
    "dimension 4 for the census. Completion and phase retrieval with few measurements, and "
    "synchronization with noise, are outside of the theorems: counted only."
)
SOURCE = (
    "Bhojanapalli, Neyshabur, Srebro (2016), whose constants a talk merges; Ge, Lee, Ma (2016); "
    "Sun, Qu, Wright (2018); Bandeira, Boumal, Voroninski (2016); Kawaguchi (2016); Zhang, Josz, "
    "Sojoudi, Lavaei (2018) for delta = 1/2; the family, the noise bound and its proof: here."
)

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "models": ("principal components", "sensing, m = nr"),
        "instances": 1,
        "starts": 15,
        "num_steps": 3000,
        "counts": (12, 6000),
        "levels": (0.01, 0.1),
        "deltas": (0.4, 0.7),
        "dims": (3, 6),
        "conditions": (4.0, 16.0),
    },
    "quick": {
        "models": tuple(MODELS),
        "instances": 2,
        "starts": 24,
        "num_steps": 10_000,
        "counts": (10, 50, 150, 600, 6000, 60_000),
        "levels": (1e-3, 3e-3, 0.01, 0.03, 0.1),
        "deltas": (0.1, 0.3, 0.4, 0.45, 0.49, 0.51, 0.55, 0.6, 0.75, 0.9),
        "dims": (4, 8, 16, 32),
        "conditions": (1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
    },
    "full": {
        "models": tuple(MODELS),
        "instances": 20,
        "starts": 300,
        "num_steps": 100_000,
        "counts": (8, 10, 14, 20, 30, 50, 100, 200, 600, 2000, 6000, 20_000, 60_000),
        "levels": (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1),
        "deltas": tuple(round(0.05 + 0.025 * k, 3) for k in range(37) if k != 18),
        "dims": (4, 8, 16, 32, 64, 128),
        "conditions": (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0),
    },
}
KINDS = ("global minimum", "strict saddle", "spurious minimum", "minimum", "degenerate")


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    models: Sequence[str] | None = None,
    instances: int | None = None,
    starts: int | None = None,
    num_steps: int | None = None,
    counts: Sequence[int] | None = None,
    levels: Sequence[float | int] | None = None,
    deltas: Sequence[float | int] | None = None,
    dims: Sequence[int] | None = None,
    conditions: Sequence[float | int] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> "xarray.Dataset":
    """Takes the census of critical points, and holds what theorems say to what is found.

    Args:
        setting: "tiny" (two models of the census only), "quick" or "full".
        seed: of everything that is random.
        models: names of the models of the census.
        instances: of each model, and of each number of measurements.
        starts: random starts on each instance.
        num_steps: of gradient descent from each.
        counts: numbers m of measurements, for the curvature at saddles.
        levels: of noise, and of the tail of the spectrum.
        deltas: isometry constants of the exact family, in (0, 1).
        dims: n, for the iterations of noisy descent.
        conditions: condition numbers, for the same.
        say: called with lines of progress.

    Returns:
        The census over model and kind; curvature over m; distances and bounds over levels; the
        family over delta; steps over dimension and condition number.
    """
    import xarray

    given = {
        "models": models,
        "instances": instances,
        "starts": starts,
        "num_steps": num_steps,
        "counts": counts,
        "levels": levels,
        "deltas": deltas,
        "dims": dims,
        "conditions": conditions,
    }
    chosen = sizes(SETTINGS, setting, given, seed=seed)
    _check(chosen)
    keys = jax.random.split(jax.random.key(seed), 4)
    each, tries = (chosen["instances"], chosen["starts"]), chosen["num_steps"]

    # Both, one after the other: they share programs.
    def bounds() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        curved = saddles(tuple(chosen["counts"]), *each, key=keys[1])
        moved = perturbed(tuple(chosen["levels"]), *each, tries, key=keys[1])
        say("curvature and disturbances measured")
        return curved, moved

    constants, numbers = np.array(chosen["deltas"], float), tuple(chosen["conditions"])
    parts: list[Callable[[], Any]] = [
        bounds,
        *(
            lambda name=name: census(name, *each, tries, key=keys[0])[0]
            for name in chosen["models"]
        ),
        lambda: sweep_of_d(constants, 10 * chosen["starts"], key=keys[2]),
        lambda: iterations(tuple(chosen["dims"]), numbers, 8, key=keys[3]),
    ]
    results: list[Any] = side_by_side(lambda part: part(), parts)
    (curved, moved), *found, family, steps = results
    say("census of critical points taken")
    ds = xarray.Dataset(
        {
            "points": (
                ("model", "kind"),
                np.array([[one.counts.get(kind, 0) for kind in KINDS] for one in found]),
            ),
            "trapped": ("model", np.array([one.trapped / one.starts for one in found])),
            "unfinished": ("model", np.array([one.unfinished for one in found])),
            "unseen": ("model", np.array([one.unseen for one in found])),
            "flattest_saddle": ("model", np.array([one.flattest for one in found])),
            **{f"saddle_{k}": (("m", "instance"), v) for k, v in curved.items()},
            **{f"moved_{k}": (("disturbance", "level", "instance"), v) for k, v in moved.items()},
            **{f"family_{k}": ("delta", v) for k, v in family.items()},
            "steps": (("dim", "condition", "start"), steps),
        },
        coords={
            "model": list(chosen["models"]),
            "kind": list(KINDS),
            "m": list(chosen["counts"]),
            "disturbance": ["noise", "tail of the spectrum"],
            "level": list(map(float, chosen["levels"])),
            "delta": list(map(float, chosen["deltas"])),
            "dim": list(chosen["dims"]),
            "condition": list(map(float, chosen["conditions"])),
        },
        attrs={"threshold": threshold(), "starts": chosen["starts"]},
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _check(chosen: dict[str, Any]) -> None:
    for name in ("instances", "starts", "num_steps"):
        _checks.at_least(chosen[name], name, 1)
    for name, least in (("counts", 1), ("dims", 2)):
        for value in chosen[name]:
            _checks.at_least(value, name, least)
    for name, must, is_good in (
        ("models", f"be among {', '.join(MODELS)}", lambda value: value in MODELS),
        ("deltas", "be in (0, 1), and not 1/2", lambda value: 0 < value < 1 and value != 0.5),
        ("conditions", "be at least 1", lambda value: value >= 1),
        ("levels", "be positive", lambda value: value > 0),
    ):
        for value in chosen[name]:
            if not is_good(value):
                _checks.refuse(name, must, f"contains {value!r}")


def slope(values: Any, steps: Any) -> tuple[float, float]:
    """An exponent, and the standard error of the fit.

    Args:
        values: shape (k,).
        steps: shape (k, s), over random starts.

    Returns:
        The slope of log steps against log values, and its standard error; nan below two values.
    """
    x = np.repeat(np.log(np.asarray(values, float)), np.shape(steps)[1])
    y = np.log(np.asarray(steps, float).ravel())
    spread = np.sum((x - x.mean()) ** 2)
    if spread == 0 or len(x) < 3:
        return float("nan"), float("nan")
    exponent = float(np.sum((x - x.mean()) * (y - y.mean())) / spread)
    rest = y - y.mean() - exponent * (x - x.mean())
    return exponent, float(np.sqrt(np.sum(rest**2) / (len(x) - 2) / spread))


def exponents(ds: "xarray.Dataset") -> dict[str, tuple[float, float]]:
    """How the steps grow with the dimension, at the largest condition number, and with that.

    Args:
        ds: what `run` returned.

    Returns:
        Name -> slope and standard error. Condition numbers below 4 are left out of the second: a
        constant number of steps dominates there.
    """
    large = ds.condition.values >= min(4.0, float(ds.condition.max()))
    return {
        "dim": slope(ds.dim, ds.steps.isel(condition=-1).values),
        "condition": slope(ds.condition[large], ds.steps.isel(dim=-1, condition=large).values),
    }


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    names = [str(name) for name in ds.model.values if name in NO_SPURIOUS]
    sure = ds.sel(model=names)
    spurious = int(sure.points.sel(kind="spurious minimum").sum())
    # Theorems on delta_2r: 1/5 for spurious minima, 1/10 for the curvature at saddles.
    proved = ds.saddle_upper < 0.2
    spurious += int(ds.saddle_spurious.where(proved).sum())
    close = ds.saddle_upper <= 0.1
    flattest = float(ds.saddle_flattest.where(close).max())
    # At rest descent is far nearer to the minimum than any of the bounds.
    rest = ds.moved_slope <= AT_REST
    beyond = int(((ds.moved_distance > ds.moved_bound * (1 + 1e-6)) & rest).sum())
    safe = ds.delta < 0.5
    below = float(ds.family_trapped.where(safe).max())
    above = float(ds.family_trapped.where(ds.delta >= 0.6).min())
    growth = exponents(ds)
    off = abs(ds.attrs["threshold"] - 0.5)
    wrong = {
        "spurious minima where there are none": spurious > 0,
        "a saddle flatter than -sigma_r / 5": flattest > -0.2,
        "a minimum moved too far": beyond > 0,
        "a threshold off 1/2": off > 1e-6 or below > 0 or above <= 0,
    }
    slow = [
        growth["dim"][0] - 2 * growth["dim"][1] > 0.5,
        abs(growth["condition"][0] - 1) >= 0.5 + 2 * growth["condition"][1],
    ]
    failed = [name for name, bad in wrong.items() if bad]
    if any(slow):
        failed.append("steps that grow faster")
    # A search that misses the minimum, or descent that is stuck where the search sees no trap, has
    # not seen what is there.
    lost = {
        "models without spurious minima": not names,
        "descents": bool(
            sure.unfinished.any() or not rest.all() or ds.family_unfinished.where(safe).max() > 0
        ),
        "global minima": bool(sure.unseen.any() | (ds.saddle_global.where(proved) < 1).any()),
        "what traps descent": spurious == 0 and bool(sure.trapped.any()),
    }
    unknown = [name for name, bad in lost.items() if bad]
    outcome = "fails" if failed else "undecided" if unknown else "holds"
    text = (
        f"{spurious} spurious minima where theory excludes them (of the census: "
        f"{', '.join(names) or 'no model'}); flattest saddle "
        f"{flattest:.3f} sigma_r on {int(close.sum())} instances with delta_2r <= 1/10 (bound "
        f"-0.2); {beyond} of {ds.moved_bound.size} disturbed instances beyond their bound; "
        f"threshold of the family {ds.attrs['threshold']:.9f}, trapped at most {below:.1%} below "
        f"1/2 and at least {above:.1%} from 0.6 on; steps ~ n^{growth['dim'][0]:.2f}, "
        f"kappa^{growth['condition'][0]:.2f} (std. errors {growth['dim'][1]:.2f}, "
        f"{growth['condition'][1]:.2f})." + (f" Failed: {', '.join(failed)}." if failed else "")
    )
    if unknown:
        text += f" Not finished, or not seen: {', '.join(unknown)}."
    rates = {f"steps over {name}": values for name, values in growth.items()}
    rates |= {"family_unfinished": ds.family_unfinished.where(safe, drop=True)}
    rates |= {"family_trapped on both sides of 1/2": [below, above], "flattest saddle": flattest}
    columns = ["moved_distance", "moved_bound", "moved_slope", "saddle_upper", "saddle_spurious"]
    return conclude(outcome, text, {**ds[columns], "trapped": sure.trapped, **rates})


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """The census.

    Args:
        ds: what `run` returned.

    Returns:
        Rows over models: how many points of each kind, and the trapped fraction.
    """
    small = ds[["trapped", "flattest_saddle"]].copy()
    for kind in ds.kind.values:
        small[str(kind).replace(" ", "_")] = ds.points.sel(kind=kind, drop=True)
    return small


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws the census, the curvature, the disturbances, the family and the iterations.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of six panels.
    """
    return draw(ds)
