"""Finite steps and momentum leave the manifold of the flow, in proportion to the step size."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .. import _checks, closed_forms
from .._compiled import compiled
from .._descend import descend
from .._random import normal
from ..convex import min_nuclear_norm
from ..flows import FactorFlow
from ..linalg import taylor_expm
from ..problems import Problem, commuting_sensing
from ._descent_lanes import Lane, descended, steps_for
from ._finish import conclude, finish
from ._manifold_distance import first_order, log_distance, relative_distance
from ._manifold_problems import scaled, trace_measured
from ._sizes import sizes


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "The flow of commuting measurements stays on M = {exp(A*(s)) X0 exp(A*(s))}; gradient descent "
    "with step h leaves it, by h |P int A*(r)^2 dt| to first order (distance of log X, P the "
    "projection off span{A_i}), and momentum b by (1 + b)/(1 - b) times that at equal h/(1 - b). "
    "Its limit moves by O(h) at every alpha, and goes on moving with log(1/alpha) only where the "
    "minimizer of the trace is not unique."
)
HYPOTHESES = (
    "Commuting measurement matrices, squared loss, constant steps that are stable; heavy-ball "
    "momentum; the least-squares distance over s in R^m."
)
SOURCE = (
    "Gunasekar et al. (2017), Implicit regularization in matrix factorization: that finite steps "
    "leave M; the constant of the first order and that of momentum are derived here."
)

# Step sizes are `step` / 2^k, k < halvings, in units of 1 / |A*(y)|.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"dim": 4, "step": 0.08, "halvings": 4, "log10_alphas": (-2.0, -8.0, -20.0)},
    "quick": {"dim": 8, "step": 0.08, "halvings": 6, "log10_alphas": (-2, -4, -8, -16, -24)},
    "full": {"dim": 30, "step": 0.08, "halvings": 8, "log10_alphas": tuple(range(-2, -31, -4))},
}
# Measurements; heavy-ball factors; the alpha at which steps and momenta are compared.
_M, _MOMENTA, _LOG10_ALPHA = 2, (0.0, 0.5, 0.8), -3.0
# Excess of the trace, over the shift of the limit at the largest alpha, from which on alpha counts
# as small enough to show that the shift falls.
_SMALL = 1e-2
# From here on alpha is small enough to show that the shift grows where the minimizer is not unique.
_LATE = -12


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    dim: int | None = None,
    step: float | None = None,
    halvings: int | None = None,
    log10_alphas: Sequence[float | int] | None = None,
) -> "xarray.Dataset":
    """Runs gradient descent with and without momentum, and measures how far from M it ends.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of the measurements and of the start.
        dim: n, at least 4.
        step: the largest step size, in units of 1 / |A*(y)|.
        halvings: the number of step sizes, each half of the one before; at least 3.
        log10_alphas: alphas at which the largest step is taken, to base 10.

    Returns:
        Distances over step and momentum, shifts of the limit over alpha.
    """
    import xarray

    given = {"dim": dim, "step": step, "halvings": halvings, "log10_alphas": log10_alphas}
    chosen = sizes(SETTINGS, setting, given, seed=seed)
    _check(chosen)
    keys = jax.random.split(jax.random.key(seed), 3)
    generic = scaled(commuting_sensing(chosen["dim"], _M, key=keys[0]))
    tied = scaled(trace_measured(chosen["dim"], keys[1]))
    frame = jnp.eye(chosen["dim"]) + 0.3 * normal(keys[2], (chosen["dim"],) * 2)

    turned = frame @ jnp.linalg.qr(normal(keys[2], frame.shape))[0]

    theory = first_order(generic, 10**_LOG10_ALPHA, frame)
    steps = chosen["step"] / 2.0 ** np.arange(chosen["halvings"])
    base, largest = 10**_LOG10_ALPHA, chosen["step"]
    count = len(chosen["log10_alphas"])
    lanes = [Lane(generic, base, frame, h, b) for h in steps for b in _MOMENTA]
    lanes += [Lane(generic, base, turned, largest, b) for b in _MOMENTA]
    lanes += [
        Lane(problem, 10.0**a, frame, largest, 0.0)
        for problem in (generic, tied)
        for a in chosen["log10_alphas"]
    ]
    longest = max(first_order(lane.problem, lane.alpha, frame).time for lane in lanes[-2 * count :])
    ends = descended(lanes, max(steps_for(theory.time, steps[-1]), steps_for(longest, largest)))
    split = len(steps) * len(_MOMENTA)
    variables = _steps_and_momenta(lanes[:split], ends[:split], steps, theory)
    variables |= _other_steps(generic, frame, steps[:2], theory, ends[: split : len(_MOMENTA)][:2])
    variables |= _factorizations(generic, (frame, turned), ends, split)
    first = split + len(_MOMENTA)
    variables |= _alphas(lanes[first:], ends[first:], count)
    variables |= _instance(generic, tied, frame)
    variables["misfit"] = ("lane", np.array([misfit for _, misfit in ends]))
    ds = xarray.Dataset(
        variables,
        coords={
            "step": steps,
            "momentum": list(_MOMENTA),
            "log10_alpha": np.array(chosen["log10_alphas"], float),
            "minimizer": ["unique", "not unique"],
            "update": ["U - h GU", "X - h (GX + XG)", "exp(-hG) X exp(-hG)"],
        },
        attrs={
            "dim": chosen["dim"],
            "num_measurements": _M,
            "start_log10_alpha": _LOG10_ALPHA,
            "constant": theory.constant,
        },
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def _check(chosen: dict[str, Any]) -> None:
    _checks.at_least(chosen["dim"], "dim", 4)
    _checks.at_least(chosen["halvings"], "halvings", 3)
    if not isinstance(chosen["step"], float | int) or not 0 < chosen["step"] <= 0.2:
        _checks.refuse("step", "be in (0, 0.2], where the steps are stable", f"is {chosen['step']}")
    alphas = np.atleast_1d(np.asarray(chosen["log10_alphas"], float))
    if alphas.size < 2 or np.any(np.diff(alphas) >= 0) or alphas[0] > 0 or alphas[-1] < -300:
        _checks.refuse(
            "log10_alphas", "decrease within 0 ... -300, two at least", f"is {alphas.tolist()}"
        )


def _instance(problem: Problem, tied: Problem, frame: Any) -> dict[str, Any]:
    """What the flow depends on, in the common eigenvectors; X0 / alpha for both problems."""
    measurement, other = (cast(Any, p).measurement for p in (problem, tied))
    rotated, starts = measurement.basis.T @ frame, []
    for basis in (measurement.basis, other.basis):
        starts.append(np.asarray(basis.T @ frame @ frame.T @ basis))
    return {
        "start": (("minimizer", "eigenvector", "other_eigenvector"), np.array(starts)),
        "spectra": (("measurement", "eigenvector"), np.asarray(measurement.spectra)),
        "targets": ("measurement", np.asarray(problem.targets)),
        "start_diagonal": ("eigenvector", np.asarray(jnp.sum(rotated**2, axis=1))),
    }


def _steps_and_momenta(
    lanes: Sequence[Lane], ends: Any, steps: np.ndarray, theory: Any
) -> dict[str, Any]:
    problem, alpha, frame = lanes[0][:3]
    exact = closed_forms.commuting(problem, alpha=alpha, init=frame)
    grown = (1 + np.array(_MOMENTA)) / (1 - np.array(_MOMENTA))
    measured = {
        "log_distance": [log_distance(problem, X, alpha, frame) for X, _ in ends],
        "distance": [relative_distance(problem, X, alpha, frame) for X, _ in ends],
        "shift": [_apart(X, exact) for X, _ in ends],
    }
    axes, shape = ("step", "momentum"), (len(steps), len(_MOMENTA))
    variables: dict[str, Any] = {
        name: (axes, np.reshape(values, shape)) for name, values in measured.items()
    }
    variables["predicted"] = (axes, theory.constant * steps[:, None] * grown[None, :])
    return variables


def _other_steps(
    problem: Problem, frame: Any, steps: np.ndarray, theory: Any, on_factor: Any
) -> dict[str, Any]:
    """The same flow, stepped on U, on X, and by exponentials, with two step sizes."""
    alpha, number = 10**_LOG10_ALPHA, steps_for(theory.time, steps[-1])
    start = alpha * frame @ frame.T

    def both(X: Any, h: Any) -> Any:
        def step(_: Any, Xs: Any) -> Any:
            X, Y = Xs
            G, H = (problem.measurement.adjoint(problem.residual((Z + Z.T) / 2)) for Z in Xs)
            E = taylor_expm(-h * H)
            return X - h * (G @ X + X @ G), E @ Y @ E.T

        return jax.lax.fori_loop(0, number, step, (X, X))

    on_matrix, exponential = compiled(jax.vmap(both, (None, 0)))(start, jnp.asarray(steps))
    ends = [[X for X, _ in on_factor], on_matrix, exponential]
    found = [[log_distance(problem, X, alpha, frame) for X in Xs] for Xs in ends]
    spread = np.linalg.cond(np.asarray(exponential[0]))
    return {
        "log_distance_by_update": (("update", "step_pair"), np.array(found)),
        # Of X, relative to its smallest eigenvalue, as a random walk; ten times what was seen.
        "rounding_of_log_distance": ((), 10 * np.finfo(float).eps * spread * np.sqrt(number)),
    }


def _alphas(lanes: Sequence[Lane], ends: Any, count: int) -> dict[str, Any]:
    """The largest step, from smaller and smaller starts, against the flow at the same alpha."""
    exact = [
        closed_forms.commuting(lane.problem, alpha=lane.alpha, init=lane.frame) for lane in lanes
    ]
    shift = [_apart(X, Y) for (X, _), Y in zip(ends, exact, strict=True)]
    trace = [float(jnp.trace(X)) for X, _ in ends]
    least = [float(min_nuclear_norm(lanes[k].problem).value) for k in (0, count)]
    excess = np.reshape(trace, (2, count)) / np.array(least)[:, None] - 1
    axes = ("minimizer", "log10_alpha")
    return {
        "shift_of_alpha": (axes, np.reshape(shift, (2, count))),
        "trace_excess_of_alpha": (axes, excess),
    }


def _factorizations(problem: Problem, frames: Any, ends: Any, split: int) -> dict[str, Any]:
    """How far apart X ends from U0 and from U0 Q, Q orthogonal: the same X0."""
    same = [_apart(ends[k][0], ends[split + k][0]) for k in range(len(_MOMENTA))]

    @compiled
    @jax.vmap
    def adam(frame: Any, step: Any) -> Any:
        return descend(
            problem, FactorFlow(), optax.adam(step), alpha=1e-2, init=frame, num_steps=1000
        ).X

    rates = jnp.array([0.02, 0.01, 0.005])
    Xs, Ys = (adam(jnp.stack([frame] * 3), rates) for frame in frames)
    return {
        "factorization_dependence": ("momentum", np.array(same)),
        "factorization_dependence_of_adam": (
            "adam_step",
            np.array([_apart(X, Y) for X, Y in zip(Xs, Ys, strict=True)]),
        ),
        "adam_step": ("adam_step", np.asarray(rates)),
    }


def _apart(X: Any, Y: Any) -> float:
    return float(jnp.linalg.norm(X - Y) / jnp.linalg.norm(Y))


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    ratio = (ds.log_distance / ds.predicted).values
    # distance = prediction (1 + c h + ...): extrapolation removes c h and leaves its square.
    extrapolated, seen = 2 * ratio[-1] - ratio[-2], np.abs(ratio[-2] - 1)
    order, shift_order = (
        float(np.log2(ds[name][-2, 0] / ds[name][-1, 0])) for name in ("log_distance", "shift")
    )
    unique, tied = (ds.shift_of_alpha.sel(minimizer=m).values for m in ("unique", "not unique"))
    exponential = float(ds.log_distance_by_update[2].max())
    rounding = float(ds.rounding_of_log_distance)
    excess = float(ds.trace_excess_of_alpha.sel(minimizer="unique")[-1])
    falls, grows = bool(unique[-1] < unique[0]), bool(tied[-1] > tied[0])
    right = (
        bool(np.all(np.abs(extrapolated - 1) < 0.01 + 2 * seen**2))
        and max(abs(order - 1), abs(shift_order - 1)) < 0.1
        and exponential <= max(rounding, 1e-9)
        and falls
        and grows
    )
    misfit = float(ds.misfit.max())
    # What may be rounding of exponential steps has to be small beside what other steps do.
    told = exponential < 1e-3 * float(ds.log_distance_by_update[0].min()) or exponential > rounding
    decided = (
        misfit < 1e-6
        and float(np.max(seen)) < 0.5
        and told
        and (falls or excess < _SMALL * unique[0])
        and (grows or float(ds.log10_alpha[-1]) <= _LATE)
    )
    outcome = "undecided" if not decided else "holds" if right else "fails"
    constants = (f"{x:.3f} (momentum {b:g})" for x, b in zip(extrapolated, _MOMENTA, strict=True))
    text = (
        f"Distance from M of order {order:.3f} in the step; over the prediction, as h -> 0: "
        f"{', '.join(constants)}; exponential steps {exponential:.0e} (rounding may reach "
        f"{rounding:.0e}). The limit moves with order "
        f"{shift_order:.3f}; at h = {float(ds.step[0]):g}, down to alpha = "
        f"1e{float(ds.log10_alpha[-1]):g}, from {unique[0]:.1e} to {unique[-1]:.1e} where the "
        f"minimizer is unique, {tied[0]:.1e} to {tied[-1]:.1e} where it is not. U0 -> U0 Q changes "
        f"X by {float(ds.factorization_dependence.max()):.0e} under gradient descent and momentum "
        f"(they are equivariant), by {float(ds.factorization_dependence_of_adam[-1]):.1e} under "
        f"Adam with its smallest step. Largest misfit {misfit:.0e}."
    )
    names = ["log_distance", "predicted", "shift", "shift_of_alpha", "log_distance_by_update"]
    names += ["rounding_of_log_distance", "trace_excess_of_alpha", "misfit"]
    return conclude(outcome, text, ds[names])


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """What is worth reading: distances over step and momentum.

    Args:
        ds: what `run` returned.

    Returns:
        Distances, predictions and shifts of the limit.
    """
    return ds[["log_distance", "predicted", "distance", "shift"]]


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws the distance from M against the step, and the shift of the limit against alpha.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of two panels.
    """
    from ..plotting._style import BLACK, COLORS, alpha_axis, figure

    with figure(1, 2, width=12.5, height=5.0) as (drawn, (left, right)):
        for k, momentum in enumerate(ds.momentum.values):
            label = f"momentum {momentum:g}" if momentum else "gradient descent"
            left.plot(ds.step, ds.log_distance[:, k], "o", color=COLORS[k], label=label)
            left.plot(ds.step, ds.predicted[:, k], "-", color=COLORS[k], linewidth=1.4)
        left.plot([], [], "-", color=BLACK, linewidth=1.4, label="first-order theory")
        left.set(
            xscale="log",
            yscale="log",
            xlabel=r"effective step size $h/(1-\beta)$",
            ylabel=r"distance of $\log X_\infty$ from $\mathcal{M}$",
        )
        left.set_xticks(ds.step.values, [f"{h:.3g}" for h in ds.step.values])
        left.set_xticks([], minor=True)
        left.legend()
        for k, (which, marker) in enumerate((("unique", "o-"), ("not unique", "s-"))):
            row = ds.shift_of_alpha.sel(minimizer=which)
            places = alpha_axis(right, ds.log10_alpha.values)
            right.plot(places, row, marker, color=COLORS[k], label=f"minimizer {which}")
        right.set(
            yscale="log",
            ylabel=r"$\|X_h - X_{\mathrm{flow}}\|_F \,/\, \|X_{\mathrm{flow}}\|_F$",
        )
        right.set_title(f"shift of the limit, h = {float(ds.step[0]):g}")
        right.legend()
    return drawn
