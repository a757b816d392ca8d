"""The registry: every measurement, loss and problem generator, one line each.

A new object joins its table and inherits the laws of its kind. Beside each measurement stands its
stack, and beside each loss its formula, written here a second time in NumPy and mpmath: laws are
tested against these, never against the code itself.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import implicit_flow as imf


# Measurements: (rng, m, n, dtype) -> (measurement, its stack in NumPy).


def _dense(rng, m, n, dtype):
    stack = rng.normal(size=(m, n, n)).astype(dtype)
    stack = stack + stack.swapaxes(1, 2)
    return imf.measurements.DenseMeasurement(stack), stack


def _entry_stack(rows, cols, n, dtype):
    stack = np.zeros((len(rows), n, n), dtype)
    for k, (i, j) in enumerate(zip(rows, cols, strict=True)):
        stack[k, i, j] += 0.5
        stack[k, j, i] += 0.5
    return stack


def _entries(rng, m, n, dtype):
    # The first two are (0, 1) and (1, 0): two measurements of one number.
    rows, cols = np.divmod(rng.permutation(n * n)[:m], n)
    if m > 1 and n > 1:
        rows[:2], cols[:2] = (0, 1), (1, 0)
        keep = np.unique(rows * n + cols, return_index=True)[1]
        assert len(keep) == m, "choose another seed"
    A = imf.measurements.EntryMeasurement(rows, cols, n, dtype=dtype)
    return A, _entry_stack(rows, cols, n, dtype)


def _rectangular(rng, m, n, dtype):
    p = n // 2
    rows, cols = np.divmod(rng.permutation(p * (n - p))[:m], n - p)
    A = imf.measurements.rectangular_entries(rows, cols, (p, n - p), dtype=dtype)
    return A, _entry_stack(rows, cols + p, n, dtype)


def _rank_one(rng, m, n, dtype):
    vectors = rng.normal(size=(m, n)).astype(dtype)
    return imf.measurements.RankOneMeasurement(vectors), vectors[:, :, None] * vectors[:, None, :]


def _diagonal(rng, m, n, dtype):
    matrix = rng.normal(size=(m, n)).astype(dtype)
    return imf.measurements.DiagonalMeasurement(matrix), matrix[:, :, None] * np.eye(n, dtype=dtype)


def _commuting(rng, m, n, dtype):
    basis = np.linalg.qr(rng.normal(size=(n, n)))[0].astype(dtype)
    spectra = rng.normal(size=(m, n)).astype(dtype)
    stack = np.stack([(basis * values) @ basis.T for values in spectra])
    return imf.measurements.CommutingMeasurement(basis, spectra), stack


def _function(rng, m, n, dtype):
    left = rng.normal(size=(m, n)).astype(dtype)
    right = rng.normal(size=n).astype(dtype)
    outer = left[:, :, None] * right
    A = imf.measurements.from_function(
        lambda X: jnp.asarray(left) @ (X @ jnp.asarray(right)), n, m, dtype=dtype
    )
    return A, (outer + outer.swapaxes(1, 2)) / 2


class _Weighted(eqx.Module):
    weights: jax.Array

    def __call__(self, X):
        return jnp.sum(self.weights * X[None], axis=(1, 2))


def _module(rng, m, n, dtype):
    weights = rng.normal(size=(m, n, n)).astype(dtype)
    A = imf.measurements.from_function(_Weighted(jnp.asarray(weights)), n, m, dtype=dtype)
    return A, (weights + weights.swapaxes(1, 2)) / 2


MEASUREMENTS = {
    "dense": _dense,
    "entries": _entries,
    "rectangular": _rectangular,
    "rank_one": _rank_one,
    "diagonal": _diagonal,
    "commuting": _commuting,
    "function": _function,
    "function_of_arrays": _module,
}
# Those that hold m n^2 numbers because that is what they were given.
STORES_A_STACK = {"dense", "function_of_arrays"}
# No block of W at n = 1.
NEEDS_TWO_ROWS = {"rectangular"}


# Losses: the loss of m = 4 targets, and the formula of one term, (p, y, k) -> mpf.


def _mp_huber(p, y, k):
    size = abs(p - y)
    return size**2 / 2 if size <= mpmath.mpf("0.75") else mpmath.mpf("0.75") * (size - 0.375)


LOSSES = {
    "squared": (lambda: imf.losses.Squared(), lambda p, y, k: (p - y) ** 2 / 2),
    "weighted": (
        lambda: imf.losses.WeightedSquared(jnp.array([1.0, 0.25, 2.0, 3.0])),
        lambda p, y, k: mpmath.mpf([1, 0.25, 2, 3][k]) * (p - y) ** 2 / 2,
    ),
    "huber": (lambda: imf.losses.Huber(0.75), _mp_huber),
    "log_cosh": (lambda: imf.losses.LogCosh(), lambda p, y, k: mpmath.log(mpmath.cosh(p - y))),
    "logistic": (lambda: imf.losses.Logistic(), lambda p, y, k: mpmath.log1p(mpmath.exp(-y * p))),
    "exponential": (lambda: imf.losses.Exponential(), lambda p, y, k: mpmath.exp(-y * p)),
}
LABELS = {"logistic", "exponential"}


# Problem generators: (key=, noise=) -> problem, and the rank of the planted matrix.

PROBLEMS = {
    "gaussian": (lambda **draw: imf.problems.gaussian_sensing(4, 2, 6, **draw), 2),
    "completion": (lambda **draw: imf.problems.matrix_completion(4, 2, 6, **draw), 2),
    "rectangular": (lambda **draw: imf.problems.rectangular_completion((3, 4), 2, 6, **draw), 2),
    "phase": (lambda **draw: imf.problems.phase_retrieval(4, 6, **draw), 1),
    "commuting": (lambda **draw: imf.problems.commuting_sensing(5, 3, **draw), 3),
    "nonnegative": (lambda **draw: imf.problems.nonnegative_least_squares(5, 3, **draw), 3),
    "single": (lambda **draw: imf.problems.single_measurement(4, **draw), 1),
}


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    """Hundreds of tiny programs run once each: optimizing them is most of the time."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session", params=MEASUREMENTS)
def measured(request):
    """A measurement with m = 4 (not n = 5, nor the width 2 of the factors), and its stack."""
    return MEASUREMENTS[request.param](np.random.default_rng(3), 4, 5, np.float64)


@pytest.fixture(scope="session", params=MEASUREMENTS)
def make_measurement(request):
    return MEASUREMENTS[request.param]


@pytest.fixture(scope="session", params=sorted(MEASUREMENTS.keys() - STORES_A_STACK))
def make_structured(request):
    return MEASUREMENTS[request.param]


@pytest.fixture(scope="session", params=sorted(MEASUREMENTS.keys() - NEEDS_TWO_ROWS))
def smallest(request):
    """A measurement with m = n = 1, and its stack."""
    return MEASUREMENTS[request.param](np.random.default_rng(3), 1, 1, np.float64)


@pytest.fixture(scope="session", params=LOSSES)
def lost(request):
    """A loss, the formula of its terms, and targets that it admits."""
    make, formula = LOSSES[request.param]
    targets = [1.0, -1.0, -1.0, 1.0] if request.param in LABELS else [0.3, -1.0, 0.0, 2.0]
    return make(), formula, jnp.array(targets)


@pytest.fixture(scope="session", params=PROBLEMS)
def planted(request):
    """A generator, (key=, noise=) -> problem, and the rank that it plants."""
    return PROBLEMS[request.param]


@pytest.fixture(scope="session")
def draw(planted):
    """The generator with key and noise traced: (key, noise) -> problem."""
    return jax.jit(lambda key, noise: planted[0](key=key, noise=noise))
