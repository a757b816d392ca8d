"""The parts of a problem fit together, or it says which does not."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import implicit_flow as imf
from implicit_flow import problems


A = imf.measurements.DiagonalMeasurement([[2.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
KEY = jax.random.key(0)


REFUSED = {
    "a stack": (lambda: imf.Problem(np.ones((1, 2, 2)), [1.0]), "Wrap a stack of matrices in"),
    "a class": (lambda: imf.Problem(A, [1.0, 2.0, 3.0], imf.losses.Squared), r"Call it: `Squared"),
    "too few targets": (
        lambda: imf.Problem(A, [1.0, 2.0]),
        r"`targets` must have shape \(num_measurements,\) = \(3,\), but has shape \(2,\)",
    ),
    "a column of targets": (lambda: imf.Problem(A, np.ones((3, 1))), r"but has shape \(3, 1\)"),
    "nan": (lambda: imf.Problem(A, [1.0, np.nan, 1.0]), r"has nan at index \(1,\)"),
    "complex": (lambda: imf.Problem(A, np.ones(3, complex)), "`targets` must be real"),
    "no labels": (lambda: imf.Problem(A, [1.0, -1.0, 0.0], imf.losses.Logistic()), "contain 0.0"),
    "weights": (
        lambda: imf.Problem(A, np.ones(3), imf.losses.WeightedSquared([1.0])),
        r"`weights` must have shape \(3,\)",
    ),
    "truth": (
        lambda: imf.Problem(A, np.ones(3), ground_truth=np.ones(2)),
        r"`ground_truth` must have shape \(2, 2\), but has shape \(2,\)",
    ),
    "nan truth": (
        lambda: imf.Problem(A, np.ones(3), ground_truth=np.full((2, 2), np.nan)),
        "`ground_truth` must be finite",
    ),
    "X": (lambda: imf.Problem(A, np.ones(3)).residual(np.eye(3)), r"`X` must have shape \(2, 2\)"),
    "a vector X": (lambda: imf.Problem(A, np.ones(3)).misfit(np.ones(2)), "`X` must have shape"),
    "no key": (
        lambda: problems.single_measurement(3, key=0),
        r"`key` must be one JAX random key, but is 0. Make one with `jax.random.key\(seed\)`",
    ),
    "an old key": (
        lambda: problems.single_measurement(3, key=jax.random.PRNGKey(0)),
        "but has dtype uint32",
    ),
    "many keys": (
        lambda: problems.single_measurement(3, key=jax.random.split(KEY)),
        r"but has dtype key<fry> and shape \(2,\)",
    ),
    "no targets": (lambda: imf.Problem(A, None), "`targets` must be an array .*, but is None"),
    "a fractional size": (lambda: problems.single_measurement(2.5, key=KEY), "`dim` must be an in"),
    "no shape": (
        lambda: problems.rectangular_completion(6, 1, 2, key=KEY),
        r"`shape` must be a pair \(p, q\) of integers, but is 6",
    ),
    "rank": (
        lambda: problems.gaussian_sensing(3, 4, 5, key=KEY),
        "`rank` must be at most dim = 3, but is 4",
    ),
    "rank of W": (
        lambda: problems.rectangular_completion((2, 9), 3, 5, key=KEY),
        r"`rank` must be at most min\(p, q\) = 2, but is 3",
    ),
    "more entries than there are": (
        lambda: problems.matrix_completion(3, 1, 7, key=KEY),
        "at most the 6 entries on and above the diagonal, but is 7",
    ),
    "more entries than W has": (
        lambda: problems.rectangular_completion((2, 3), 1, 7, key=KEY),
        r"`num_measurements` must be at most p q = 6, but is 7",
    ),
    "m = 0": (lambda: problems.gaussian_sensing(3, 1, 0, key=KEY), "`num_measurements` must be at"),
    "n = 0": (lambda: problems.single_measurement(0, key=KEY), "`dim` must be at least 1"),
    "negative noise": (
        lambda: problems.phase_retrieval(3, 4, key=KEY, noise=-0.1),
        "`noise` must be a finite number, at least 0, but is -0.1",
    ),
    "nan noise": (lambda: problems.phase_retrieval(3, 4, key=KEY, noise=np.nan), "but is nan"),
    "noise for each": (
        lambda: problems.phase_retrieval(3, 4, key=KEY, noise=np.ones(4)),
        r"`noise` must have shape \(\)",
    ),
}


@pytest.fixture
def as_users_run_it():
    """Without the annotations, which would refuse some of this first while the tests run."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.usefixtures("as_users_run_it")
def test_refused(case):
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert str(caught.value).startswith("Argument `")


def test_parts_are_as_given():
    truth = np.diag([1.0, 0.5])
    problem = imf.Problem(A, [2.5, 0.5, 1.0], ground_truth=truth)
    assert isinstance(problem.loss, imf.losses.Squared)
    np.testing.assert_array_equal(problem.ground_truth, truth)
    np.testing.assert_array_equal(problem.residual(truth), 0)
    assert (problem.dim, problem.num_measurements) == (2, 3)


def test_targets_take_the_type_of_the_measurement():
    single = imf.measurements.DiagonalMeasurement(np.ones((1, 2), np.float32))
    problem = imf.Problem(single, np.ones(1), ground_truth=np.eye(2))
    assert problem.targets.dtype == problem.ground_truth.dtype == jnp.float32
    assert problem.residual(np.eye(2)).dtype == jnp.float32


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_the_misfit_has_no_scale(size):
    """Squares of these targets underflow or overflow; their ratio does not."""
    problem = imf.Problem(A, size * np.array([3.0, 0.0, 4.0]))
    assert float(problem.scale) == pytest.approx(5 * size, rel=1e-15)
    assert float(problem.misfit(np.zeros((2, 2)))) == pytest.approx(1.0, rel=1e-15)
    # A(X) = (4, 0, 2) times the size: a distance of sqrt(1 + 4).
    half = size * np.diag([2.0, 0.0])
    assert float(problem.misfit(half)) == pytest.approx(np.sqrt(5) / 5, rel=1e-14)


def test_the_misfit_of_zero_targets_is_absolute():
    problem = imf.Problem(A, np.zeros(3))
    assert float(problem.scale) == 1
    assert float(problem.misfit(np.eye(2))) == pytest.approx(np.sqrt(9 + 1 + 1))
    assert float(problem.misfit(np.zeros((2, 2)))) == 0


def test_the_misfit_of_nan_is_nan():
    assert np.isnan(imf.Problem(A, np.ones(3)).misfit(jnp.full((2, 2), jnp.nan)))


def test_the_misfit_has_a_derivative_where_the_targets_are_met():
    def misfit(y, X):
        return imf.Problem(A, y).misfit(X)

    met = np.array([3.0, 1.0, 1.0])
    for gradient in jax.grad(misfit, argnums=(0, 1))(jnp.array(met), jnp.eye(2)):
        np.testing.assert_array_equal(gradient, 0)
    gradient = jax.grad(misfit)(jnp.zeros(3), jnp.eye(2))
    np.testing.assert_allclose(gradient, -met / np.linalg.norm(met), rtol=1e-15)


def test_the_derivative_of_the_misfit():
    y, step = jnp.array([3.0, 0.5, -1.0]), 1e-6
    misfit = jax.jit(lambda y: imf.Problem(A, y).misfit(jnp.eye(2)))
    differences = [(misfit(y + step * e) - misfit(y - step * e)) / (2 * step) for e in np.eye(3)]
    # Central differences: step^2 of truncation, and rounding over the step.
    np.testing.assert_allclose(jax.grad(misfit)(y), differences, rtol=1e-8, atol=1e-9)


def test_a_single_measurement_has_a_positive_eigenvalue():
    """Also for n = 1, where half of all draws have to be turned around."""
    for n in (1, 2):
        drawn = jax.vmap(lambda key, n=n: problems.single_measurement(n, key=key))(
            jax.random.split(KEY, 50)
        )
        largest = np.linalg.eigvalsh(np.array(drawn.measurement.stack[:, 0]))[:, -1]
        assert np.all(largest > 0)
        np.testing.assert_allclose(drawn.targets[:, 0], largest, rtol=1e-12)


def test_the_rectangular_truth_has_the_least_trace():
    problem = problems.rectangular_completion((3, 4), 2, 6, key=KEY)
    W = np.array(problem.ground_truth)[:3, 3:]
    nuclear = np.sum(np.linalg.svd(W, compute_uv=False))
    assert np.trace(problem.ground_truth) == pytest.approx(2 * nuclear, rel=1e-13)


def test_completion_draws_every_entry_where_all_are_asked_for():
    problem = problems.matrix_completion(3, 1, 6, key=KEY)
    entries = zip(problem.measurement.rows.tolist(), problem.measurement.cols.tolist(), strict=True)
    assert sorted(entries) == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
