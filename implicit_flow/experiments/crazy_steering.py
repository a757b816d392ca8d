"""A free choice of r(t) leads anywhere: two matrices that do not commute steer X to any target."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from scipy.optimize import minimize

from .. import _checks
from ._finish import conclude, finish
from ._lie_algebra import lie_algebra_dimension
from ._sizes import sizes
from ._steering_search import Case, follow, is_generic, search


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "With m = 2 measurement matrices that do not commute, dU/dt = -A*(r(t)) U reaches any positive "
    "definite X from X0 = I if r(t) may be chosen, and singular ones as closely as one likes: the "
    "matrices generate gl(n). A commuting pair reaches a surface of dimension 2 only."
)
HYPOTHESES = (
    "Random symmetric matrices (generic: the Lie algebra that they generate has dimension n^2); "
    "X0 = I; r(t) on [0, 1] is prescribed, not the residual of any loss."
)
SOURCE = (
    "Controllability of systems without drift (Chow 1939, Rashevskii 1938; Jurdjevic and Sussmann "
    "1972); steering of matrix factorization: Gunasekar et al. (2017), section 5."
)

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"dims": (2, 3), "frequencies": 3, "max_iterations": 400, "most_starts": 4},
    "quick": {"dims": (2, 3, 4, 5), "frequencies": 16, "max_iterations": 600, "most_starts": 4},
    "full": {"dims": (2, 3, 4, 5, 6), "frequencies": 24, "max_iterations": 2000, "most_starts": 8},
}
# How close a target is to be met, relative, Frobenius.
_ASKED = 1e-6
_KINDS = ("random pair", "random pair, singular target", "commuting pair")


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    dims: Sequence[int] | None = None,
    frequencies: int | None = None,
    max_iterations: int | None = None,
    most_starts: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> "xarray.Dataset":
    """Looks for steerings by gradient descent through the simulator.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of matrices, targets and first steerings.
        dims: sizes n, each 2 at least.
        frequencies: of the steering, a Fourier polynomial.
        max_iterations: of BFGS, from each first steering, and on the way to a singular target for
            each of the targets in between.
        most_starts: first steerings to try where a target is not met.
        say: called with lines of progress, also from other threads.

    Returns:
        Distances from the targets, Lie algebra dimensions and steerings, over n and the pair.
    """
    import xarray

    given = {
        "dims": dims,
        "frequencies": frequencies,
        "max_iterations": max_iterations,
        "most_starts": most_starts,
    }
    chosen = sizes(SETTINGS, setting, given, seed=seed)
    _check(chosen)
    generator = np.random.default_rng(seed)
    pairs = [(n, kind) for n in chosen["dims"] for kind in _kinds_of(n, chosen["dims"])]
    cases = {(n, kind): _case(n, kind, generator) for n, kind in pairs}
    found = search(
        list(cases.values()),
        frequencies=chosen["frequencies"],
        max_iterations=chosen["max_iterations"],
        most_starts=chosen["most_starts"],
        key=jax.random.key(seed),
        say=say,
    )
    times = np.linspace(0, 1, 201)
    rows = [
        _row(kind, case, steering, times)
        for ((_, kind), case), steering in zip(cases.items(), found, strict=True)
    ]
    numbers = ("distance", "bound", "lie_dimension", "steps", "starts")
    numbers += ("discrepancy", "least_discrepancy", "largest")
    largest = max(chosen["dims"])
    ds = xarray.Dataset(
        {
            **{name: ("case", np.array([row[name] for row in rows])) for name in numbers},
            "coefficients": (
                ("case", "wave", "measurement"),
                np.stack([steering.coefficients for steering in found]),
            ),
            "path": (("case", "time"), np.stack([row["path"] for row in rows])),
            "measurement_matrices": (
                ("case", "measurement", "row", "col"),
                np.stack([_filled(case.stack, largest) for case in cases.values()]),
            ),
            "target": (
                ("case", "row", "col"),
                np.stack([_filled(row["aim"], largest) for row in rows]),
            ),
        },
        coords={
            "dim": ("case", [n for n, _ in cases]),
            "pair": ("case", [kind for _, kind in cases]),
            "time": times,
        },
        attrs={"asked": _ASKED, "frequencies": chosen["frequencies"]},
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _check(chosen: dict[str, Any]) -> None:
    for n in chosen["dims"]:
        _checks.at_least(n, "dims", 2)
    for name in ("frequencies", "max_iterations", "most_starts"):
        _checks.at_least(chosen[name], name, 1)
    n, count = max(chosen["dims"]), 2 * (2 * chosen["frequencies"] + 1)
    if count < n * (n + 1) // 2:
        _checks.refuse(
            "frequencies",
            f"give at least as many coefficients as X has entries, {n * (n + 1) // 2}",
            f"is {chosen['frequencies']}, which gives {count}",
        )


def _kinds_of(n: int, dims: tuple[int, ...]) -> tuple[str, ...]:
    """Singular targets, whose conditioning makes the search slow, for the smallest size only."""
    return _KINDS if n == min(dims) else (_KINDS[0], _KINDS[2])


def _case(n: int, kind: str, generator: np.random.Generator) -> Case:
    """A pair of spectral norm 1 and a target with eigenvalues from 1/e to e, or a singular one."""
    draws = generator.standard_normal((2, n, n))
    stack = (draws + draws.transpose(0, 2, 1)) / 2
    if kind == "commuting pair":
        basis = np.linalg.qr(draws[0])[0]
        stack = basis @ (generator.standard_normal((2, n, 1)) * np.eye(n)) @ basis.T
        stack = (stack + stack.transpose(0, 2, 1)) / 2
    stack = stack / np.linalg.norm(stack, ord=2, axis=(1, 2))[:, None, None]
    turned = np.linalg.qr(generator.standard_normal((n, n)))[0]
    values = np.exp(np.linspace(-1, 1, n))
    if kind == "random pair, singular target":
        # In the closure: a definite matrix half as far from the singular one as is asked for.
        values[0] = 0.5 * _ASKED * np.linalg.norm(values[1:])
    return Case(stack, turned @ np.diag(values) @ turned.T)


def _filled(matrices: np.ndarray, size: int) -> np.ndarray:
    """Matrices (..., n, n) in the corner of larger ones; nan where there is nothing."""
    n = matrices.shape[-1]
    filled = np.full((*matrices.shape[:-2], size, size), np.nan)
    filled[..., :n, :n] = matrices
    return filled


def _row(kind: str, case: Case, steering: Any, times: np.ndarray) -> dict[str, Any]:
    Xs = follow(case, steering.coefficients, times)
    aim = case.target
    if "singular" in kind:
        values, vectors = np.linalg.eigh(aim)
        aim = vectors[:, 1:] * values[1:] @ vectors[:, 1:].T
    apart = np.linalg.norm(Xs - aim, axis=(1, 2)) / np.linalg.norm(aim)
    bound, least = (0.0, 0.0) if is_generic(case) else _of_commuting_pair(case)
    return {
        "distance": apart[-1],
        "path": apart,
        "aim": aim,
        "bound": bound,
        "least_discrepancy": least,
        "discrepancy": steering.discrepancy,
        "lie_dimension": lie_algebra_dimension(case.stack),
        "steps": steering.steps,
        "starts": steering.starts,
        "largest": float(np.abs(steering.coefficients).max()),
    }


def _of_commuting_pair(case: Case) -> tuple[float, float]:
    """What no steering of a commuting pair can be closer than, and the least J on its surface.

    X stays diagonal in the common eigenvectors, so what the target has off the diagonal is missed.
    """
    basis = np.linalg.eigh(case.stack[0] + 0.7 * case.stack[1])[1]
    spectra = np.einsum("ik,mij,jk->mk", basis, case.stack, basis)
    inside = basis.T @ case.target @ basis
    off = inside - np.diag(np.diagonal(inside))
    inverse = np.linalg.inv(inside)

    def discrepancy(s: np.ndarray) -> float:
        x = np.exp(2 * s @ spectra)
        D = np.diag(x) - inside
        return float(np.log1p(np.trace(inverse @ D @ (D / x[:, None]))))

    found = minimize(discrepancy, np.zeros(2), method="BFGS", options={"gtol": 1e-10})
    return float(np.linalg.norm(off) / np.linalg.norm(inside)), float(np.expm1(found.fun))


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    commuting = (ds.pair == "commuting pair").values
    n, lie = ds.dim.values, ds.lie_dimension.values
    # By an integrator that the search did not use, at a tolerance of 1e-11.
    reached = ds.distance.values
    generates = bool(np.all(lie[~commuting] == n[~commuting] ** 2))
    met = bool(np.all(reached[~commuting] < _ASKED))
    missed = bool(np.all(reached[commuting] >= ds.bound.values[commuting] * (1 - 1e-9)))
    small = bool(np.all(lie[commuting] <= 2))
    # A search that ends early says nothing about what can be reached; a bound that is beaten does.
    holds = generates and met and missed and small
    outcome = "holds" if holds else "fails" if not (missed and small) else "undecided"
    each = ", ".join(
        f"n = {size}: {far:.0e} ({dim})"
        for size, far, dim in zip(n[~commuting], reached[~commuting], lie[~commuting], strict=True)
    )
    stuck = ", ".join(
        f"{far:.2f} (no less than {bound:.2f})"
        for far, bound in zip(reached[commuting], ds.bound.values[commuting], strict=True)
    )
    text = (
        f"Relative distance from the target (dimension of the Lie algebra) with a random pair: "
        f"{each}; the singular target is that of the smallest n. With a commuting pair, dimension "
        f"{int(lie[commuting].max())}: {stuck}."
    )
    return conclude(outcome, text, ds[["distance", "bound"]])


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """What is worth reading: one row for each pair and target.

    Args:
        ds: what `run` returned.

    Returns:
        Distances, bounds, dimensions and the cost of the search.
    """
    return ds[["distance", "bound", "lie_dimension", "steps", "largest"]]


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws one steering, and the distance from the targets along all of them.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of two panels.
    """
    from ..plotting._style import COLORS, GRAY, figure

    commuting = (ds.pair == "commuting pair").values
    with figure(1, 2, width=12.5, height=5.0) as (drawn, (left, right)):
        shown = int(np.flatnonzero(~commuting)[-1])
        for k in range(ds.sizes["measurement"]):
            values = _wave_values(ds.coefficients.values[shown, :, k], ds.time.values)
            left.plot(ds.time, values, color=COLORS[k], label=rf"$r_{k + 1}(t)$")
        left.set(xlabel="time t", ylabel="steering r(t)")
        left.set_title(f"the steering found for n = {int(ds.dim[shown])}")
        left.legend()
        for case in range(ds.sizes["case"]):
            n = int(ds.dim[case])
            color = GRAY if commuting[case] else COLORS[n % len(COLORS)]
            style = ":" if "singular" in str(ds.pair.values[case]) else "-"
            label = f"n = {n}" + (", singular target" if style == ":" else "")
            if commuting[case]:
                label = "commuting pairs" if case == np.flatnonzero(commuting)[0] else None
            right.plot(ds.time, ds.path[case], style, color=color, label=label)
            right.plot(1, ds.path[case, -1], "o", color=color, clip_on=False)
        right.axhline(_ASKED, linestyle="--", color=GRAY, linewidth=1.4)
        right.set(
            yscale="log",
            xlabel="time t",
            ylabel=r"$\|X_t - X_*\|_F \,/\, \|X_*\|_F$",
            xlim=(0, 1.02),
            ylim=(1e-14, None),
        )
        right.set_title("distance from the target")
        right.legend(loc="lower left", ncols=2)
    return drawn


def _wave_values(coefficients: np.ndarray, times: np.ndarray) -> np.ndarray:
    count = (len(coefficients) - 1) // 2
    phases = 2 * np.pi * times[:, None] * np.arange(1, count + 1)
    return (
        np.concatenate([np.ones((len(times), 1)), np.cos(phases), np.sin(phases)], 1) @ coefficients
    )
