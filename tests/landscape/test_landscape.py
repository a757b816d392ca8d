"""Landscapes: critical points, curvature and descent against exact facts."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from implicit_flow import Problem
from implicit_flow.landscape import (
    Completion,
    DeepLinear,
    PhaseRetrieval,
    PrincipalComponents,
    Sensing,
    Synchronization,
    find_critical_points,
    gradient_descent,
    hessian,
    min_eigenvalue,
)
from implicit_flow.measurements import DenseMeasurement, EntryMeasurement
from implicit_flow.problems import gaussian_sensing, matrix_completion, phase_retrieval


def by_differences(f, point, step=1e-4):
    """Second derivatives by central differences: no automatic differentiation."""
    flat = np.asarray(point).ravel()
    size = len(flat)
    units = step * np.eye(size)
    pairs = [(a, b) for a in range(size) for b in range(size)]
    moves = [
        flat + sa * units[a] + sb * units[b]
        for a, b in pairs
        for sa, sb in itertools.product((1, -1), (1, -1))
    ]
    values = jax.vmap(f)(jnp.asarray(np.array(moves)).reshape(-1, *np.shape(point)))
    signs = np.array([1, -1, -1, 1])
    return (np.asarray(values).reshape(size, size, 4) @ signs) / (4 * step**2)


@pytest.mark.parametrize(
    "make",
    [
        lambda key: Sensing(gaussian_sensing(3, 1, 5, key=key), 2),
        lambda key: Completion(matrix_completion(3, 1, 5, key=key), 2, row_bound=0.3),
        lambda key: PrincipalComponents(jnp.diag(jnp.array([2.0, 1.0, -1.0])), 2),
        lambda key: PhaseRetrieval(phase_retrieval(3, 6, key=key)),
        lambda key: Synchronization(np.ones((3, 3))),
        lambda key: DeepLinear(np.diag([2.0, 1.0]), 3),
    ],
)
def test_hessians_and_symmetries(key, make):
    f = make(key)
    point = 0.5 * jax.random.normal(key, f.shape) + 0.2
    matrix = np.asarray(hessian(f, point))
    # Central differences of step h err by O(h^2) and by eps / h^2.
    np.testing.assert_allclose(matrix, by_differences(f, point), atol=1e-5 * np.abs(matrix).max())
    pair = min_eigenvalue(f, point)
    np.testing.assert_allclose(pair.value, np.linalg.eigvalsh(matrix)[0], atol=1e-12)
    # The value does not change along the orbit, nor does the image.
    for move in np.asarray(f.orbit(point)).reshape(-1, *f.shape):
        slope = (f(point + 1e-5 * move) - f(point - 1e-5 * move)) / 2e-5
        assert abs(float(slope)) < 1e-8 * (1 + np.linalg.norm(matrix))
        change = f.image(point + 1e-5 * move) - f.image(point - 1e-5 * move)
        # To first order; radial moves of unnormalized rows and rotations are exact to second.
        assert float(jnp.max(jnp.abs(change))) < 1e-8


def test_all_critical_points_of_principal_components(key):
    """Sets S of at most r eigenvalues, all of them, and the curvature of each."""
    values, rank = np.array([4.0, 2.0, 1.0]), 2
    basis = np.linalg.qr(np.asarray(jax.random.normal(key, (3, 3))))[0]
    f = PrincipalComponents(basis @ np.diag(values) @ basis.T, rank)
    starts = jnp.concatenate(
        [size * jax.random.normal(key, (60, *f.shape)) for size in (0.3, 1.0, 2.0)]
    )
    found = find_critical_points(f, starts, minimum=0.25)
    wanted = {}
    for size in range(rank + 1):
        for chosen in itertools.combinations(range(3), size):
            rest = [values[k] for k in range(3) if k not in chosen]
            kept = [values[k] for k in chosen]
            # Along v_j w': minus the eigenvalue that is missing, plus the least one that is there
            # if all columns are taken.
            curvature = -max(rest) + (min(kept) if size == rank else 0.0)
            wanted[0.25 * sum(v**2 for v in rest)] = curvature
    order = sorted(wanted)
    np.testing.assert_allclose(found.values, order, atol=1e-8)
    saddles = found.of_kind("strict saddle")
    np.testing.assert_allclose(
        found.min_eigenvalues[saddles], [wanted[v] for v in order[1:]], atol=1e-6
    )
    assert found.kinds == ("global minimum", *("strict saddle",) * (len(order) - 1))
    assert sum(found.counts) + found.num_lost == found.num_starts == 180
    # Data in single precision, where double is on.
    single = PrincipalComponents(f.matrix.astype(jnp.float32), rank)
    again = find_critical_points(single, starts.astype(jnp.float32), minimum=0.25, tolerance=1e-6)
    np.testing.assert_allclose(again.values, order, atol=1e-5)


@pytest.mark.parametrize(("d", "kind"), [(0.3, "strict saddle"), (0.7, "spurious minimum")])
def test_the_exact_family(d, kind):
    """At (0, sqrt d): f = 1 - d^2, Hessian diag(-4 + 4d + 8d^2, 8d); ours is a fourth of it."""
    stack = np.stack(
        [
            np.sqrt((1 + d) / 2) * np.eye(2),
            np.sqrt((1 - d) / 2) * np.diag([1.0, -1.0]),
            np.sqrt((1 + d) / 2) * np.array([[0.0, 1.0], [1.0, 0.0]]),
        ]
    )
    A = DenseMeasurement(stack)
    f = Sensing(Problem(A, A.apply(jnp.diag(jnp.array([1.0, 0.0])))), 1)
    starts = jnp.array([[[0.02], [0.8]], [[0.9], [0.1]], [[0.01], [0.02]]])
    found = find_critical_points(f, starts, minimum=0.0)
    place = int(np.argmin(np.abs(found.values - (1 - d**2) / 4)))
    np.testing.assert_allclose(found.values[place], (1 - d**2) / 4, atol=1e-12)
    np.testing.assert_allclose(np.abs(found.points[place].ravel()), [0, np.sqrt(d)], atol=1e-7)
    low = min(-4 + 4 * d + 8 * d**2, 8 * d) / 4
    np.testing.assert_allclose(found.min_eigenvalues[place], low, atol=1e-7)
    assert found.kinds[place] == kind
    assert "global minimum" in found.kinds


def test_deep_linear_networks_at_zero():
    """Depth 2: curvature -sigma_1 in the direction of the top pair. Depth 3: none at all."""
    matrix = np.array([[2.0, 1.0], [0.0, 1.0]])
    zero = {depth: jnp.zeros((depth, 2, 2)) for depth in (2, 3)}
    shallow = min_eigenvalue(DeepLinear(matrix, 2), zero[2])
    np.testing.assert_allclose(shallow.value, -np.linalg.norm(matrix, 2), rtol=1e-12)
    assert float(jnp.max(jnp.abs(hessian(DeepLinear(matrix, 3), zero[3])))) == 0.0
    found = find_critical_points(DeepLinear(matrix, 3), zero[3][None] + 1e-7, minimum=0.0)
    assert found.kinds == ("degenerate",) or found.num_lost == 1


def test_the_regularizer_bounds_the_rows():
    """X12 = 1 with X22 = 0 has no minimizer; with bounded rows it has one, off the targets."""
    problem = Problem(EntryMeasurement([0, 1], [1, 1], 2), [1.0, 0.0])
    start = jnp.array([[1.0], [0.3]])
    free = gradient_descent(Sensing(problem, 1), start, num_steps=3000)
    bound = gradient_descent(Completion(problem, 1, row_bound=1.0), start, num_steps=3000)
    assert float(free.value) < float(bound.value)
    assert float(jnp.abs(free.point[0, 0])) > float(jnp.abs(bound.point[0, 0])) > 1
    assert float(bound.gradient_norm) < 1e-6


def test_the_lanczos_method_beyond_the_dense_size():
    """600 unknowns; the Hessian of sum c x^2 + x^4 at 0 is diagonal."""
    c = jnp.asarray(np.linspace(-3.0, 5.0, 600))
    pair = min_eigenvalue(lambda x: jnp.sum(c * x**2 + x**4), jnp.zeros(600))
    np.testing.assert_allclose(pair.value, -6.0, atol=1e-8)
    assert float(pair.residual) < 1e-3
    with pytest.raises(ValueError, match="at most 512 entries under a tracer, but has 600"):
        jax.jit(lambda x: min_eigenvalue(lambda x: jnp.sum(x**2), x).value)(jnp.zeros(600))


def test_descent_falls_and_stops():
    scales = jnp.array([1.0, 10.0])

    def quadratic(x):
        return jnp.sum(scales * x**2)

    start = jnp.ones(2)
    end = gradient_descent(quadratic, start, gradient_tolerance=1e-6)
    assert float(end.gradient_norm) <= 1e-6
    assert float(end.value) < 1e-12
    short = gradient_descent(quadratic, start, num_steps=3)
    assert int(short.num_steps) == 3
    assert float(short.value) < 11


def test_refusals(key):
    problem = gaussian_sensing(3, 1, 4, key=key)
    with pytest.raises(ValueError, match="`rank` must be at least 1"):
        Sensing(problem, 0)
    with pytest.raises(ValueError, match="`row_bound` must be positive"):
        Completion(problem, 1, row_bound=0.0)
    with pytest.raises(ValueError, match="instance of RankOneMeasurement"):
        PhaseRetrieval(problem)
    with pytest.raises(ValueError, match="`rank` must be at least 2"):
        Synchronization(np.eye(3), 1)
    with pytest.raises(ValueError, match="`depth` must be at least 1"):
        DeepLinear(np.eye(2), 0)
    with pytest.raises(ValueError, match="have shape"):
        PrincipalComponents(np.ones((2, 3)), 1)
    with pytest.raises(ValueError, match="`starts` must have shape"):
        find_critical_points(Sensing(problem, 1), jnp.ones((2, 4, 1)))
    with pytest.raises(ValueError, match="`minimum` must be finite, but has nan"):
        find_critical_points(Sensing(problem, 1), jnp.ones((2, 3, 1)), minimum=float("nan"))
