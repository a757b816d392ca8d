"""Which methods reach the least-norm solution of underdetermined least squares, and why."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from .. import _checks
from .._descend import descend
from ..convex import min_frobenius, min_l2
from ..flows import EuclideanFlow, MirrorFlow
from ..flows.potentials import Quadratic
from ..measurements import DenseMeasurement, DiagonalMeasurement
from ..problems import Problem
from ._double import require_float64
from ._finish import conclude, finish
from ._paths_in_the_plane import PLANE, draw_paths, paths_in_the_plane
from ._sizes import sizes
from ._steepest import smoothness, steepest_descent


if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


CLAIM = (
    "From x = 0 every method whose steps are combinations of gradients (gradient descent, "
    "stochastic gradients, momentum, conjugate gradients, BFGS) stays in the row space of A and "
    "ends at the solution of A x = y of least l2 norm; coordinate descent and Adam leave the row "
    "space and end elsewhere. On matrices X the same methods end at the least Frobenius norm."
)
HYPOTHESES = (
    "Fewer measurements than unknowns, consistent targets, squared loss, start at 0; rows in "
    "general position; finite steps."
)
SOURCE = "Gunasekar et al., Implicit regularization in matrix factorization (2017), introduction."

# n unknowns and m Gaussian rows; matrices of side `matrix_dim` with `matrix_measurements`.
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "dim": 10,
        "num_measurements": 4,
        "matrix_dim": 4,
        "matrix_measurements": 5,
        "instances": 2,
        "num_steps": 4000,
    },
    "quick": {
        "dim": 60,
        "num_measurements": 20,
        "matrix_dim": 10,
        "matrix_measurements": 25,
        "instances": 16,
        "num_steps": 20_000,
    },
    "full": {
        "dim": 400,
        "num_measurements": 150,
        "matrix_dim": 30,
        "matrix_measurements": 150,
        "instances": 30,
        "num_steps": 50_000,
    },
}

# Whose steps are combinations of gradients, and whose are not.
SPANNING = ("gradient descent", "SGD", "momentum", "conjugate gradients", "BFGS")
LEAVING = ("coordinate descent", "Adam")
METHODS = (*SPANNING, *LEAVING)
MATRIX_METHODS = ("gradient descent", "momentum", "conjugate gradients")
# Misfit below which a method counts as arrived; distances below which two points are one.
_ARRIVED, _SAME = 1e-7, 1e-6


def run(
    *,
    setting: str = "quick",
    seed: int = 0,
    dim: int | None = None,
    num_measurements: int | None = None,
    matrix_dim: int | None = None,
    matrix_measurements: int | None = None,
    instances: int | None = None,
    num_steps: int | None = None,
) -> "xarray.Dataset":
    """Runs every method from 0 on random problems, and measures where it ended.

    Args:
        setting: "tiny", "quick" or "full".
        seed: of the instances.
        dim: n, the number of unknowns.
        num_measurements: m, below n.
        matrix_dim: the side of the matrices.
        matrix_measurements: the number of their measurements, below n (n + 1) / 2.
        instances: how many problems.
        num_steps: of each iteration with a fixed step.

    Returns:
        Misfit, distance to the least-norm solution and part outside the row space, over instance
        and algorithm; and paths in the plane.
    """
    import xarray

    require_float64("least-norm")
    size = sizes(
        SETTINGS,
        setting,
        {
            "dim": dim,
            "num_measurements": num_measurements,
            "matrix_dim": matrix_dim,
            "matrix_measurements": matrix_measurements,
            "instances": instances,
            "num_steps": num_steps,
        },
        seed=seed,
        least={
            "dim": 2,
            "num_measurements": 1,
            "matrix_dim": 2,
            "matrix_measurements": 1,
            "instances": 1,
            "num_steps": 1,
        },
    )
    side = size["matrix_dim"]
    for name, most in (
        ("num_measurements", size["dim"] - 1),
        ("matrix_measurements", side * (side + 1) // 2 - 1),
    ):
        if size[name] > most:
            _checks.refuse(
                name,
                f"be at most {most}, so that there are fewer measurements than unknowns",
                f"is {size[name]}",
            )
    vectors = _vectors(size, seed)
    matrices = _matrices(size, seed)
    ds = xarray.Dataset(
        {
            **{name: (("instance", "algorithm"), values) for name, values in vectors.items()},
            **{
                f"matrix_{name}": (("instance", "matrix_algorithm"), values)
                for name, values in matrices.items()
            },
            "path": (("plane_algorithm", "step", "coordinate"), paths_in_the_plane()),
        },
        coords={
            "algorithm": list(METHODS),
            "matrix_algorithm": list(MATRIX_METHODS),
            "plane_algorithm": list(PLANE),
            "instance": np.arange(size["instances"]),
        },
        attrs={name: size[name] for name in size},
    )
    return finish(ds, globals(), setting=setting, seed=seed, **_outcome(ds))


def table(ds: "xarray.Dataset") -> "xarray.Dataset":
    """The worst of all instances, for each method.

    Args:
        ds: what `run` returned.

    Returns:
        Misfit, distance and part outside the row space, over algorithm.
    """
    names = ["misfit", "distance", "outside", "excess"]
    return ds[names].max("instance").rename({name: f"largest_{name}" for name in names})


def _vectors(size: dict[str, Any], seed: int) -> dict[str, Any]:
    n, m, count = size["dim"], size["num_measurements"], size["instances"]
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, m, n)) / np.sqrt(n)
    targets = np.einsum("kij,kj->ki", rows, rng.normal(size=(count, n)))
    chosen = rng.integers(m, size=(count, size["num_steps"]))
    found = jax.jit(jax.vmap(_descents))(rows, targets, chosen)
    found["BFGS"] = np.stack([_bfgs(A, y) for A, y in zip(rows, targets, strict=True)])
    least = np.stack([min_l2(_problem(A, y)).x for A, y in zip(rows, targets, strict=True)])
    return _measures(rows, targets, least, [found[k] for k in METHODS])


def _problem(rows: Any, targets: Any) -> Problem:
    return Problem(DiagonalMeasurement(rows), targets)


def _descents(
    A: Float[Array, "m n"], y: Float[Array, " m"], order: Any
) -> dict[str, Float[Array, " n"]]:
    """The ends of all methods that can be traced."""
    count = order.shape[0]
    problem, flow = _problem(A, y), MirrorFlow(Quadratic())
    # Adam's steps are as long as its rate: it must shrink for the iteration to settle.
    longest = jnp.linalg.norm(y) / jnp.linalg.norm(A)
    rate = optax.cosine_decay_schedule(1.0, count)
    optimizers = {
        "gradient descent": optax.sgd(1 / smoothness(A, "l2")),
        "momentum": optax.sgd(1 / smoothness(A, "l2"), momentum=0.9),
        "coordinate descent": steepest_descent("l1", 1 / smoothness(A, "l1")),
        "Adam": optax.chain(
            optax.scale_by_adam(), optax.scale(0.1 * longest), optax.scale_by_learning_rate(rate)
        ),
    }
    ends = {
        name: descend(problem, flow, optimizer, num_steps=count, throw=False).x
        for name, optimizer in optimizers.items()
    }

    def stochastic(x: Any, i: Any) -> tuple[Any, None]:
        a = A[i]
        return x - a * (jnp.dot(a, x) - y[i]) / jnp.dot(a, a), None

    ends["SGD"], _ = jax.lax.scan(stochastic, jnp.zeros_like(A[0]), order)
    normal, right = lambda x: A.T @ (A @ x), A.T @ y
    ends["conjugate gradients"], _ = jax.scipy.sparse.linalg.cg(normal, right, tol=1e-13)
    return {name: jnp.asarray(x) for name, x in ends.items()}


def _bfgs(A: np.ndarray, y: np.ndarray) -> np.ndarray:
    from scipy.optimize import minimize

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        r = A @ x - y
        return float(r @ r) / 2, A.T @ r

    options = {"gtol": 1e-10}
    return minimize(loss, np.zeros(A.shape[1]), jac=True, method="BFGS", options=options).x


def _matrices(size: dict[str, Any], seed: int) -> dict[str, Any]:
    side, m, count = size["matrix_dim"], size["matrix_measurements"], size["instances"]
    draws = np.random.default_rng([seed, 1]).normal(size=(count, m + 1, side, side)) / side
    draws = (draws + np.swapaxes(draws, -1, -2)) / np.sqrt(2)
    stacks, truth = draws[:, :m], draws[:, m]
    targets = np.einsum("kaij,kij->ka", stacks, truth)

    @jax.jit
    @jax.vmap
    def ends(stack: Any, y: Any) -> list[Any]:
        problem, flow = Problem(DenseMeasurement(stack), y), EuclideanFlow()
        rows = stack.reshape(m, -1)
        step = 1 / smoothness(rows, "l2")
        one, two = (
            descend(problem, flow, optax.sgd(step, momentum=beta), num_steps=size["num_steps"]).X
            for beta in (None, 0.9)
        )
        normal = lambda X: problem.measurement.adjoint(problem.measurement.apply(X))
        right = problem.measurement.adjoint(y)
        krylov, _ = jax.scipy.sparse.linalg.cg(normal, right, tol=1e-13)
        return [one, two, krylov]

    least = [
        min_frobenius(Problem(DenseMeasurement(A), y)).X
        for A, y in zip(stacks, targets, strict=True)
    ]
    flat = (count, -1)
    return _measures(
        stacks.reshape(count, m, -1),
        targets,
        np.stack(least).reshape(flat),
        [np.asarray(X).reshape(flat) for X in ends(stacks, targets)],
    )


def _measures(rows: Any, targets: Any, least: Any, ends: list[Any]) -> dict[str, Any]:
    """Where methods ended: (instance, algorithm), lengths in units of the least-norm point."""
    x = np.stack([np.asarray(end) for end in ends], axis=1)
    size = np.linalg.norm(least, axis=1)[:, None]
    right = np.linalg.svd(rows, full_matrices=False)[2]
    inside = np.einsum("kij,kmi->kmj", right, np.einsum("kij,kmj->kmi", right, x))
    misfit = np.linalg.norm(np.einsum("kij,kmj->kmi", rows, x) - targets[:, None], axis=2)
    smallest = np.linalg.svd(rows, compute_uv=False)[:, -1:]
    return {
        "misfit": misfit / np.linalg.norm(targets, axis=1)[:, None],
        "distance": np.linalg.norm(x - least[:, None], axis=2) / size,
        "outside": np.linalg.norm(x - inside, axis=2) / size,
        "excess": np.linalg.norm(x, axis=2) / size - 1,
        # What is inside the row space is determined by the residual.
        "bound": (np.linalg.norm(x - inside, axis=2) + misfit / smallest) / size,
    }


def _outcome(ds: "xarray.Dataset") -> dict[str, str]:
    spanning, leaving = ds.sel(algorithm=list(SPANNING)), ds.sel(algorithm=list(LEAVING))
    late = max(float(ds.misfit.max()), float(ds.matrix_misfit.max()))
    worst = {
        "vector": float(spanning.distance.max()),
        "matrix": float(ds.matrix_distance.max()),
    }
    gap = {name: float(leaving.outside.sel(algorithm=name).min()) for name in LEAVING}
    text = (
        f"Over {ds.sizes['instance']} instances the distance to the least-norm solution, relative "
        f"to its norm, is at most {worst['vector']:.1g} for {', '.join(SPANNING)}, and "
        f"{worst['matrix']:.1g} on matrices; the part outside the row space is at least "
        + " and ".join(f"{value:.2g} for {name}" for name, value in gap.items())
        + f"; the largest relative misfit is {late:.1g}."
    )
    if late > _ARRIVED:
        outcome = "undecided"
    elif max(worst.values()) <= _SAME and min(gap.values()) > 100 * _SAME:
        outcome = "holds"
    else:
        outcome = "fails"
    numbers = {**ds[["misfit", "matrix_misfit", "matrix_distance"]]}
    return conclude(
        outcome, text, numbers | {"distance": spanning.distance, "outside": leaving.outside}
    )


def plot(ds: "xarray.Dataset") -> "Figure":
    """Draws paths in the plane, and the distances of all methods.

    Args:
        ds: what `run` returned.

    Returns:
        A figure of two panels.
    """
    from ..plotting._style import COLORS, figure

    with figure(1, 2, height=5.0, width=12.5) as (drawn, (left, right)):
        draw_paths(left, ds)
        floor = 1e-16
        for place, name in enumerate(METHODS):
            values = np.maximum(ds.distance.sel(algorithm=name).values, floor)
            color = COLORS[0] if name in SPANNING else COLORS[1]
            right.plot(values, np.full(len(values), place), "o", color=color, alpha=0.5)
        right.set_yticks(range(len(METHODS)), METHODS)
        right.invert_yaxis()
        right.set_xscale("log")
        right.set_xlim(floor / 2, 3)
        right.set_xlabel(r"$\|x - x^\star\|_2\;/\;\|x^\star\|_2$,  $x^\star$ of least l2 norm")
        right.set_title(f"{ds.attrs['dim']} unknowns, {ds.attrs['num_measurements']} equations")
    return drawn
