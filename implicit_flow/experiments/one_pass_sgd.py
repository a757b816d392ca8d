"""One pass of stochastic gradients against empirical risk minimization, on four problems."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks
from . import _stochastic
from ._double import require_float64
from ._finish import conclude, finish
from ._sizes import sizes
from ._stochastic import StochasticProblem, one_pass


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "One pass over t samples, with no empirical risk minimized and nothing penalized, has an "
    "excess risk of at most sqrt(||w*||^2 ||x||^2 / t) in expectation; mirror descent has the same "
    "with the divergence and the dual norm of its geometry. The step and the single pass "
    "regularize: of linear classifiers and of densities, empirical minimization needs an explicit "
    "penalty to do as well from no more samples than unknowns."
)
HYPOTHESES = (
    "f(w, z) convex in w, independent samples, constant step ||w*|| / (||x|| sqrt(t)), average of "
    "the iterates. k-means is not convex: its curve is shown, and no bound is claimed. There, and "
    "on routes, whose best w is a corner, nothing is claimed of minimizers: in the runs seen so "
    "far those without a penalty mostly do better than one pass."
)
SOURCE = (
    "Nemirovski and Yudin (1983); Shalev-Shwartz, Shamir, Srebro, Sridharan, Stochastic convex "
    "optimization (2009)."
)

_PROBLEMS = ("supervised, SGD", "density, SGD", "routes, entropy", "routes, SGD", "k-means, SGD")
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "dim": 10,
        "cells": 8,
        "side": 2,
        "centers": 3,
        "population": 200,
        "counts": (10, 100),
        "trials": 8,
        "problems": ("supervised, SGD", "routes, entropy"),
    },
    "quick": {
        "dim": 50,
        "cells": 30,
        "side": 4,
        "centers": 5,
        "population": 2000,
        "counts": (10, 30, 100, 300, 1000, 3000),
        "trials": 10,
        "problems": _PROBLEMS,
    },
    "full": {
        "dim": 200,
        "cells": 100,
        "side": 5,
        "centers": 8,
        "population": 20_000,
        "counts": (10, 30, 100, 300, 1000, 3000, 10_000, 30_000),
        "trials": 100,
        "problems": _PROBLEMS,
    },
}

# The problems on which minimizers are judged, and the size that counts the unknowns of each.
_UNKNOWNS = {"supervised, SGD": "dim", "density, SGD": "cells"}
LEARNERS = ("one pass", "minimized", "penalized")


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    dim: int | None = None,
    cells: int | None = None,
    side: int | None = None,
    centers: int | None = None,
    population: int | None = None,
    counts: Sequence[int] | None = None,
    trials: int | None = None,
    problems: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> "xarray.Dataset":
    """Runs three learners on four problems, over numbers of samples.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of populations and samples.
        dim: inputs of supervised learning.
        cells: of density estimation.
        side: of the grid of routes.
        centers: of k-means.
        population: how many z there are.
        counts: numbers t of samples.
        trials: repetitions, over which excess risks are averaged.
        problems: which of the problems.
        say: called with lines of progress.

    Returns:
        Excess risks over problem, learner, t and trial, and the bound over problem and t.
    """
    import xarray

    require_float64("one-pass-sgd")
    given = {
        "dim": dim,
        "cells": cells,
        "side": side,
        "centers": centers,
        "population": population,
        "counts": counts,
        "trials": trials,
        "problems": problems,
    }
    least = {"dim": 1, "cells": 2, "side": 1, "centers": 2, "counts": 1, "trials": 2}
    size = sizes(SETTINGS, setting, given, least=least, seed=seed)
    # As many z as there are cells and centers, at the least.
    fewest = 2 * max(size["cells"], size["centers"])
    size = sizes(
        SETTINGS,
        setting,
        {**given, "population": size["population"]},
        least={**least, "population": fewest},
    )
    rng = np.random.default_rng(seed)
    total = size["population"]
    for name in size["problems"]:
        if name not in _PROBLEMS:
            _checks.refuse("problems", f"name some of {'; '.join(_PROBLEMS)}", f"has {name!r}")
    makers: dict[str, Callable[[], StochasticProblem]] = {
        "supervised, SGD": lambda: _stochastic.supervised(rng, size["dim"], total),
        "density, SGD": lambda: _stochastic.density(rng, size["cells"], total),
        "routes, entropy": lambda: _stochastic.routes(rng, size["side"], total, entropic=True),
        "routes, SGD": lambda: _stochastic.routes(rng, size["side"], total, entropic=False),
        "k-means, SGD": lambda: _stochastic.clusters(rng, size["centers"], total),
    }
    chosen_problems = {name: makers[name]() for name in size["problems"]}
    counts_ = np.array(sorted(size["counts"]))
    shape = len(chosen_problems), len(LEARNERS), len(counts_), size["trials"]
    excess = np.full(shape, np.nan)
    for place, (name, problem) in enumerate(chosen_problems.items()):
        chosen = rng.integers(total, size=(size["trials"], counts_[-1]))
        excess[place] = _excess(problem, chosen, counts_)
        say(f"{name}: excess risk {np.mean(excess[place, 0], axis=1)} over t")
    ds = xarray.Dataset(
        {
            "excess_risk": (("problem", "learner", "t", "trial"), excess),
            "bound": (
                ("problem", "t"),
                np.array([p.bound(counts_) for p in chosen_problems.values()]),
            ),
            "is_convex": (
                "problem",
                np.array([int(p.is_convex) for p in chosen_problems.values()]),
            ),
        },
        coords={
            "problem": list(chosen_problems),
            "learner": list(LEARNERS),
            "t": counts_,
            "trial": np.arange(size["trials"]),
        },
        attrs={name: size[name] for name in size if isinstance(size[name], int)},
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """Mean excess risks, and the bound.

    Args:
        ds: what `run` returned.

    Returns:
        Over problem and t: one column a learner.
    """
    means = ds.excess_risk.mean("trial")
    columns = {name.replace(" ", "_"): means.sel(learner=name, drop=True) for name in LEARNERS}
    return ds[["bound"]].assign(columns)


def _excess(problem: StochasticProblem, chosen: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Excess risks, shape (learner, t, trial)."""
    steps = problem.step(counts)

    @jax.jit
    def learn(samples: Any) -> Any:
        passes = jax.vmap(lambda count, step: one_pass(problem, samples, count, step))
        return passes(jnp.asarray(counts), jnp.asarray(steps))

    risk = jax.jit(problem.risk)
    least = float(risk(jnp.asarray(problem.best)))
    found = np.full((len(LEARNERS), len(counts), len(chosen)), np.nan)
    for trial, indices in enumerate(chosen):
        samples = problem.population[jnp.asarray(indices)]
        ends = learn(samples)
        z = np.asarray(samples)
        for i, count in enumerate(counts):
            others = (problem.minimizer, problem.regularized)
            learned = [ends[i], *(None if fit is None else fit(z[:count]) for fit in others)]
            for learner, w in enumerate(learned):
                if w is not None:
                    found[learner, i, trial] = float(risk(jnp.asarray(w))) - least
    # A probability of zero for what occurs is an infinite risk; its difference with inf is nan.
    return found


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    if not bool((ds.is_convex == 1).any()):
        return {"outcome": "undecided", "outcome_text": "No convex problem was run."}
    convex = ds.where(ds.is_convex == 1, drop=True)
    one = convex.excess_risk.sel(learner="one pass")
    mean = one.mean("trial")
    noise = one.std("trial", ddof=1) / np.sqrt(ds.sizes["trial"])
    share = mean / convex.bound
    worst = share.max("t")
    broken = mean - 3 * noise > convex.bound
    proved = mean + 3 * noise <= convex.bound
    penalty, words = _penalty(ds)
    text = (
        f"Largest mean excess risk as a share of its bound, over t = {int(ds.t[0])} to "
        f"{int(ds.t[-1])} and {ds.sizes['trial']} trials: "
        + ", ".join(f"{float(worst.sel(problem=p)):.2f} ({p})" for p in worst.problem.values)
        + f". {words}"
    )
    if bool(broken.any()) or penalty == "fails":
        outcome = "fails"
    else:
        outcome = penalty if bool(proved.all()) else "undecided"
    asked = ds.excess_risk.sel(problem=[name for name in _UNKNOWNS if name in ds.problem])
    # The risk of a density that is zero where it should not be is infinite.
    numbers = {name: np.minimum(asked.sel(learner=name), 1e300) for name in LEARNERS[1:]}
    return conclude(outcome, text, numbers | {"one pass": one, "bound": convex.bound})


def _penalty(ds: "xarray.Dataset") -> tuple[str, str]:
    """Whether minimizers need a penalty where there are no more samples than unknowns; in words."""
    found, words = [], []
    for problem in map(str, ds.problem.values):
        one, minimized, penalized = (
            ds.excess_risk.sel(problem=problem, learner=name, drop=True) for name in LEARNERS
        )
        listed = [float(risk.isel(t=0).mean("trial")) for risk in (one, minimized, penalized)]
        with_penalty = f" (penalized {listed[2]:.2g})" if np.isfinite(listed[2]) else ""
        words.append(f"{listed[0]:.2g} and {listed[1]:.2g}{with_penalty} on {problem}")
        few = ds.t.values <= ds.attrs.get(_UNKNOWNS.get(problem, ""), 0)
        for t in np.flatnonzero(few):
            # Of pairs of learners, who saw the same samples.
            worse, helps = (
                _sign((minimized - other).isel(t=t).values) for other in (one, penalized)
            )
            found.append((worse, helps, _sign((penalized - one).isel(t=t).values)))
    text = f"One pass and minimizer at t = {int(ds.t[0])}: {'; '.join(words)}."
    if any(worse < 0 or helps < 0 or late > 0 for worse, helps, late in found):
        return "fails", text
    shown = bool(found) and all(worse > 0 and helps > 0 for worse, helps, _ in found)
    return "holds" if shown else "undecided", text


def _sign(values: np.ndarray) -> int:
    """Of an expectation, from samples: 0 where three standard errors leave it open."""
    if np.any(np.isposinf(values)):
        return 1
    mean, error = np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))
    return int(np.sign(mean)) if abs(mean) > 3 * error else 0


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws excess risks and bounds over the number of samples, one panel a problem.

    Args:
        ds: what `run` returned.

    Returns:
        The figure.
    """
    from ..plotting._style import BLACK, COLORS, figure

    names = [str(name) for name in ds.problem.values]
    labels = {
        "one pass": "one pass",
        "minimized": "empirical minimizer",
        "penalized": "... with a penalty",
    }
    width = max(8.0, 3.7 * len(names))
    with figure(1, len(names), height=4.8, width=width) as (drawn, panels):
        axes = np.atleast_1d(panels)
        for axis, name in zip(axes, names, strict=True):
            here = ds.sel(problem=name)
            for learner, color, marker in zip(LEARNERS, COLORS, "osD", strict=False):
                mean = here.excess_risk.sel(learner=learner).mean("trial", skipna=False).values
                if np.any(np.isfinite(mean)):
                    shown = np.where(np.isfinite(mean) & (mean > 0), mean, np.nan)
                    label = labels[learner]
                    axis.plot(ds.t, shown, f"{marker}-", color=color, label=label)
                infinite = ds.t.values[np.isposinf(mean)]
                if len(infinite):
                    # At the upper edge, whatever the scale.
                    edge = axis.get_xaxis_transform()
                    axis.plot(
                        infinite, np.full(len(infinite), 0.97), "^", color=color, transform=edge
                    )
                    place = (infinite[-1], 0.97)
                    text = {"xytext": (8, 0), "textcoords": "offset points", "va": "center"}
                    axis.annotate("infinite", place, xycoords=edge, color=color, **text)
            if int(here.is_convex):
                axis.plot(ds.t, here.bound, "--", color=BLACK, label="bound")
            axis.set(xscale="log", yscale="log", xlabel="samples $t$", title=name)
        axes[0].set_ylabel(r"$E f(w, z) - E f(w^\star, z)$")
        drawn.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return drawn
