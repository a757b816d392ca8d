"""A completion problem in which every norm of the flow grows without bound."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import diffrax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.integrate import LSODA

from .. import _checks
from .._compiled import compiled
from .._simulate import simulate
from .._solution import Solution
from ..convex import certify
from ..measurements import EntryMeasurement
from ..problems import Problem
from ._double import require_float64
from ._engine import engine as named_engine
from ._finish import conclude, finish
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "Completion of a 2 x 2 matrix with X12 = X21 = 1 and X22 = 0 observed: the loss goes to zero, "
    "and every norm of X to infinity, X11 like (6t)^{1/3}. The determinant stays positive, and "
    "with it X11 X22 > X12^2: X22 -> 0 takes X11 -> infinity. Implicit regularization is then not "
    "the minimization of any norm."
)
HYPOTHESES = (
    "X0 = alpha I; the loss is half of the sum of the three squared errors; exact arithmetic, or "
    "an integration that keeps the sign of det X."
)
SOURCE = (
    "Razin, Cohen, Implicit regularization in deep learning may not be explainable by norms "
    "(2020), Theorem 1; the law (6t)^{1/3} is an expansion of the flow at late times."
)

# Logarithms to base ten of alpha and of the times. "dopri8" compiles in a third of the time of
# "radau", and rounding spoils what it finds at the small alphas; see `_engine`.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "log10_alphas": (-2.0,),
        "log10_times": (0.0, 1.0, 2.0, 3.0, 4.0),
        "engine": "dopri8",
    },
    "quick": {
        "log10_alphas": (-1.0, -2.0, -4.0, -8.0),
        "log10_times": tuple(0.5 * k for k in range(13)),
        "engine": "radau",
    },
    "full": {
        "log10_alphas": (-1.0, -2.0, -4.0, -8.0, -16.0, -100.0),
        "log10_times": tuple(0.25 * k for k in range(29)),
        "engine": "radau",
    },
}
# Of X at each time, as asked for.
_RTOL = 1e-9
# A loss that is drawn: what is zero but for rounding has no place on a logarithmic axis.
_LEAST_SHOWN = 1e-22
# Steps that the naive method may take: from 1e-100 it may stand still for ever.
_PATIENCE = 20_000


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    log10_alphas: Sequence[float | int] | None = None,
    log10_times: Sequence[float | int] | None = None,
    engine: str | None = None,
) -> "xarray.Dataset":
    """Integrates the flow to many times, and once more naively.

    Args:
        setting: "tiny", "quick" or "full".
        seed: not used: nothing is random.
        log10_alphas: negative, at least -300.
        log10_times: increasing, within -12 ... 12.
        engine: "radau", "dopri8", "kvaerno5" or "tsit5".

    Returns:
        Entries, norms and determinants over alpha and time.

    Raises:
        ValueError: numbers that cannot be, or float32.
    """
    import xarray

    require_float64("norms-diverge")
    given = {"log10_alphas": log10_alphas, "log10_times": log10_times, "engine": engine}
    least, most = {"log10_alphas": -300, "log10_times": -12}, {"log10_times": 12}
    chosen = sizes(SETTINGS, setting, given, least=least, most=most, seed=seed)
    alphas, exponents = (np.array(chosen[name], float) for name in ("log10_alphas", "log10_times"))
    if np.any(alphas >= 0):
        _checks.refuse("log10_alphas", "hold negative numbers", f"is {alphas.tolist()}")
    if np.any(np.diff(exponents) <= 0):
        _checks.refuse("log10_times", "increase", f"is {exponents.tolist()}")
    problem = Problem(EntryMeasurement([0, 1, 1], [1, 0, 1], 2), [1.0, 1.0, 0.0])
    times = 10.0**exponents
    solver = named_engine(chosen["engine"])
    lanes = [[_at(problem, alpha, time, solver) for time in times] for alpha in alphas]
    naive = [_naive(alpha, times) for alpha in alphas]
    both = ("log10_alpha", "time")
    inner = {"X": (*both, "row", "column")}
    ds = xarray.Dataset(
        {
            name: (inner.get(name, both), np.array([[one[name] for one in row] for row in lanes]))
            for name in lanes[0][0]
        }
        | {
            f"naive_{name}": (both, np.array([one[name] for one in naive]))
            for name in ("X11", "loss", "det")
        },
        {"log10_alpha": alphas, "time": times},
    )
    ds["law"] = ("time", np.cbrt(6 * times))
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


@compiled
def _flow(problem: Problem, log10_alpha: Array, t1: Array, solver: Any) -> Solution:
    return simulate(
        problem,
        log10_alpha=log10_alpha,
        t1=t1,
        solver=solver,
        rtol=_RTOL,
        # An explicit method needs most of them to 1e4, where X11 is large and the flow stiff.
        max_steps=131_072,
        adjoint=diffrax.ForwardMode(),
        throw=False,
    )


def _at(problem: Problem, log10_alpha: float, time: float, solver: Any) -> dict[str, Any]:
    """The flow at one time."""
    sol = _flow(problem, jnp.asarray(log10_alpha), jnp.asarray(time), solver)
    X, certificate = np.asarray(sol.X), certify(problem, sol)
    values = np.linalg.svd(X, compute_uv=False)
    det = X[0, 0] * X[1, 1] - X[0, 1] ** 2
    return {
        "X": X,
        "X11": X[0, 0],
        "loss": float(np.sum(np.asarray(sol.residual) ** 2)) / 2,
        "nuclear_norm": float(np.sum(values)),
        "frobenius_norm": float(np.linalg.norm(X)),
        "spectral_norm": float(values[0]),
        # log det X = log det X0 - 2 integral tr A*(r): the trace of A_3 = E_22 is 1, others' 0.
        "log10_det": 2 * log10_alpha + 2 * float(sol.dual[2]) / np.log(10),
        # From the entries, as long as they hold digits of it.
        "log10_det_of_X": float(np.log10(det)) if det > 1e-6 * X[0, 0] * X[1, 1] else np.nan,
        "error_estimate": float(sol.error_estimate),
        "verdict": certificate.verdict,
        "reach": certificate.reach,
    }


def _naive(log10_alpha: float, times: np.ndarray) -> dict[str, np.ndarray]:
    """W = UV' from U0 = V0 by a method that does not know that U = V, nor det W > 0.

    Of the times that it does not reach in so many steps it has nan.
    """

    def velocity(t: float, flat: np.ndarray) -> np.ndarray:
        del t
        U, V = flat.reshape(2, 2, 2)
        W = U @ V.T
        R = np.array([[0, W[0, 1] - 1], [W[1, 0] - 1, W[1, 1]]])
        return -np.stack([R @ V, R.T @ U]).ravel()

    start = 10 ** (log10_alpha / 2) * np.eye(2)
    solver: Any = LSODA(
        velocity, 0.0, np.stack([start, start]).ravel(), times[-1], rtol=1e-8, atol=1e-10
    )
    flat = np.full((len(times), 8), np.nan)
    for _ in range(_PATIENCE):
        if solver.status != "running":
            break
        solver.step()
        passed = (times > solver.t_old) & (times <= solver.t)
        if np.any(passed):
            flat[passed] = solver.dense_output()(times[passed]).T
    U, V = np.moveaxis(flat.reshape(-1, 2, 2, 2), 1, 0)
    W = U @ np.swapaxes(V, 1, 2)
    loss = ((W[:, 0, 1] - 1) ** 2 + (W[:, 1, 0] - 1) ** 2 + W[:, 1, 1] ** 2) / 2
    det = W[:, 0, 0] * W[:, 1, 1] - W[:, 0, 1] * W[:, 1, 0]
    return {"X11": W[:, 0, 0], "loss": loss, "det": det}


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    late = ds.isel(time=-1)
    ratio = float(abs(late.X11 / late.law - 1).max())
    known = float(ds.error_estimate.max())
    apart = float(abs(ds.log10_det - ds.log10_det_of_X).max())
    norms = ["X11", "nuclear_norm", "frobenius_norm", "spectral_norm"]
    # Each norm at each time above what it was before, by more than the error of both, once the
    # flow has left 0, which takes it log(1/alpha).
    left = (ds.time.values >= 10) & (ds.loss.values < 0.25)
    pairs = left[:, 1:] & left[:, :-1]
    rise = lambda name: np.diff(np.log(ds[name].values), axis=1)[pairs]
    grows = all(bool(np.all(rise(name) > 2 * known)) for name in norms)
    falls = bool(np.all(rise("loss") < 0))
    stuck = float(ds.naive_X11.isel(time=-1).min())
    lost = int(ds.naive_X11.isel(time=-1).isnull().sum())
    # No time at which the flow has left 0, or none at which the entries hold the determinant.
    unseen = not np.all(np.any(pairs, axis=1)) or np.isnan(apart)
    if known > 1e-4 or float(late.time) < 1e4 or unseen:
        outcome = "undecided"
    else:
        outcome = "holds" if grows and falls and ratio < 0.02 and apart < 1e-3 else "fails"
    text = (
        f"At t = {float(late.time):.0e}: X11 = {float(late.X11.min()):.6g} and more, within "
        f"{ratio:.1g} of (6t)^(1/3); loss {float(late.loss.max()):.1g}; "
        f"{'all' if grows else 'not all'} norms grow; log10 det X = "
        f"{float(late.log10_det.min()):.4g} and more, finite (from the entries, where they hold "
        f"it: within {apart:.1g}) (error estimate of X {known:.1g}). Naive (W = UV' by LSODA, rtol "
        f"1e-8): W11 = {stuck:.3g}, det W = {float(late.naive_det.min()):.2g}, loss "
        f"{float(late.naive_loss.max()):.1g}"
        f"{f'; {lost} alphas not in {_PATIENCE:,} steps' if lost else ''}."
    )
    return conclude(outcome, text, {**ds[[*norms, "loss", "law", "error_estimate", "log10_det"]]})


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """What is worth reading as a table.

    Args:
        ds: what `run` returned.

    Returns:
        One number for each alpha and time.
    """
    names = ["X11", "law", "loss", "nuclear_norm", "log10_det", "naive_X11", "naive_det"]
    return ds[[*names, "error_estimate", "verdict"]]


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws X11 against its law, and the loss, with the naive integration beside them.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of two panels.
    """
    from ..plotting._style import BLACK, COLORS, figure, power

    with figure(1, 2, width=14.0, height=5.4) as (drawn, (left, right)):
        for color, alpha in zip(COLORS, ds.log10_alpha.values, strict=False):
            one = ds.sel(log10_alpha=alpha)
            left.plot(ds.time, one.X11, "-", color=color, label=rf"$\alpha$ = {power(alpha)}")
            left.plot(ds.time, one.naive_X11, "x", color=color)
            right.plot(ds.time, one.loss, "-", color=color)
            shown = one.naive_loss.where(one.naive_loss > _LEAST_SHOWN)
            right.plot(ds.time, shown, "x", color=color)
        left.plot(ds.time, ds.law, "--", color=BLACK, linewidth=1.6, label=r"$(6t)^{1/3}$")
        left.plot([], [], "x", color=BLACK, label=r"$W = UV^\top$ by LSODA")
        left.set(xscale="log", yscale="log", xlabel=r"time $t$", ylabel=r"$X_{11}(t)$")
        left.legend(loc="lower right")
        right.plot([], [], "x", color=BLACK, label=r"LSODA, above $10^{-22}$")
        late = ds.time >= 10
        expected = 0.5 / ds.law[late] ** 2
        right.plot(
            ds.time[late], expected, "--", color=BLACK, linewidth=1.6, label=r"$X_{11}^{-2}/2$"
        )
        right.set(xscale="log", yscale="log", xlabel=r"time $t$", ylabel="loss")
        right.legend(loc="lower left")
    return drawn
