"""The public suite: instances of every family, with a reference that other code computed."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import implicit_flow as imf


class Instance(NamedTuple):
    """One problem at one alpha.

    `reference` is a closed form where there is one; otherwise None, and `references` has the end
    by another integrator. `feasible` says whether the targets can be met; where they cannot, rest
    is the goal.
    """

    problem_name: str
    family: str
    dim: int
    problem: Callable[[], imf.Problem]
    log10_alpha: float
    reference: Callable[[imf.Problem, float], jax.Array] | None = None
    feasible: bool = True

    @property
    def name(self) -> str:
        """Of the problem and its alpha."""
        return f"{self.problem_name} 1e{self.log10_alpha:g}"


def _key(seed: int) -> jax.Array:
    return jax.random.key(seed)


def _three(targets: tuple[float, float] = (4.0, 3.0)) -> imf.Problem:
    """The 3x3 instance on which the limit is not the minimum nuclear norm solution."""
    stack = np.array(
        [[[2, 1, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 1], [1, 0, 0], [1, 0, 3]]], dtype=float
    )
    return imf.Problem(imf.measurements.DenseMeasurement(stack), np.array(targets))


def _four(R: float) -> imf.Problem:
    """The 4x4 completion whose low-rank limit appears only at extreme alpha."""
    A = imf.measurements.EntryMeasurement([0, 0, 1], [2, 3, 2], 4)
    return imf.Problem(A, np.array([1.0, R, R]))


def _graded_rows() -> imf.Problem:
    """Gaussian sensing with rows of norms from 1 to 100: A A* has condition 1e4 and more."""
    base = imf.problems.gaussian_sensing(10, 2, 30, key=_key(11))
    weights = np.geomspace(1.0, 100.0, 30)
    stack = np.asarray(base.measurement.as_stack()) * weights[:, None, None]
    A = imf.measurements.DenseMeasurement(stack)
    return imf.Problem(A, A.apply(base.ground_truth), ground_truth=base.ground_truth)


def _close_top() -> imf.Problem:
    """One measurement whose two largest eigenvalues differ by 1 percent."""
    A = imf.measurements.DenseMeasurement(np.diag([1.0, 0.99, 0.3])[None])
    return imf.Problem(A, np.array([1.0]))


def _noisy() -> imf.Problem:
    """More measurements than unknowns, with noise: the targets cannot be met."""
    return imf.problems.gaussian_sensing(10, 2, 80, key=_key(7), noise=0.1)


def _commuting(problem: imf.Problem, log10_alpha: float) -> jax.Array:
    return imf.closed_forms.commuting(problem, log10_alpha=log10_alpha)


def _single(problem: imf.Problem, log10_alpha: float) -> jax.Array:
    return imf.closed_forms.single_measurement(problem, log10_alpha=log10_alpha)


def _sensing(n: int, m: int) -> Callable[[], imf.Problem]:
    return lambda: imf.problems.gaussian_sensing(n, 2, m, key=_key(0))


def _completion(n: int, m: int) -> Callable[[], imf.Problem]:
    return lambda: imf.problems.matrix_completion(n, 2, m, key=_key(1))


def _instances() -> list[Instance]:
    rows: list[Instance] = []

    def add(
        name: str,
        family: str,
        dim: int,
        make: Callable[[], imf.Problem],
        alphas: tuple[float, ...],
        reference: Callable[[imf.Problem, float], jax.Array] | None = None,
        *,
        feasible: bool = True,
    ) -> None:
        rows.extend(Instance(name, family, dim, make, a, reference, feasible) for a in alphas)

    add("three by three", "sensing", 3, _three, (-2.0, -4.0, -32.0, -300.0))
    add("gaussian 10/30", "sensing", 10, _sensing(10, 30), (-2.0, -12.0))
    add("gaussian 20/60", "sensing", 20, _sensing(20, 60), (-4.0, -12.0, -30.0, -100.0))
    add("gaussian 20/120", "sensing", 20, _sensing(20, 120), (-4.0, -30.0))
    add("gaussian 50/150", "sensing", 50, _sensing(50, 150), (-4.0, -30.0))
    add("gaussian 50/300", "sensing", 50, _sensing(50, 300), (-3.0, -30.0))
    add("four by four", "completion", 4, lambda: _four(3.0), (-4.0, -12.0, -100.0))
    add("completion 20/84", "completion", 20, _completion(20, 84), (-2.0, -8.0))
    add(
        "phase 8/30",
        "rank one",
        8,
        lambda: imf.problems.phase_retrieval(8, 30, key=_key(2)),
        (-3.0, -12.0, -100.0),
    )
    add(
        "commuting 8/3",
        "commuting",
        8,
        lambda: imf.problems.commuting_sensing(8, 3, key=_key(3)),
        (-2.0, -12.0, -30.0, -300.0),
        _commuting,
    )
    add(
        "single 6",
        "commuting",
        6,
        lambda: imf.problems.single_measurement(6, key=_key(4)),
        (-2.0, -100.0),
        _single,
    )
    add(
        "rectangular 6x5",
        "rectangular",
        11,
        lambda: imf.problems.rectangular_completion((6, 5), 1, 20, key=_key(5)),
        (-3.0, -30.0),
    )
    add("graded rows", "ill-conditioned", 10, _graded_rows, (-6.0,))
    add("close top", "ill-conditioned", 3, _close_top, (-12.0, -100.0), _single)
    add(
        "one sign wrong",
        "infeasible",
        3,
        lambda: _three((-4.0, 3.0)),
        (-4.0, -30.0),
        feasible=False,
    )
    add("noisy 10/80", "infeasible", 10, _noisy, (-4.0, -30.0), feasible=False)
    return rows


INSTANCES: list[Instance] = _instances()

# One problem at a large and at a tiny alpha: what its smallness costs.
SCALES: list[Instance] = [
    instance._replace(log10_alpha=log10_alpha)
    for instance in {i.problem_name: i for i in INSTANCES}.values()
    if instance.problem_name in ("three by three", "gaussian 20/60", "commuting 8/3")
    for log10_alpha in (-3.0, -30.0, -300.0)
]


def relative_distance(X: jax.Array, Y: jax.Array) -> float:
    """|X - Y| / |Y|, Frobenius."""
    return float(jnp.linalg.norm(X - Y) / jnp.linalg.norm(Y))
