"""What a measurement refuses, each with one message of the one form."""

import re

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import implicit_flow as imf
from implicit_flow import measurements as ms


FORM = re.compile(r"Argument `[\w\[\]]+` must .+, but .+\.( .+)?", re.DOTALL)
EYE = np.eye(2)


@pytest.fixture(autouse=True)
def _as_users_run_it():
    """Without the annotations, which would refuse some of this first while the tests run."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def skewed(size):
    """A stack whose second matrix alone is asymmetric, relatively by `size`."""
    stack = np.stack([1e-3 * EYE, np.array([[1.0, 1.0], [1.0, 1.0]])])
    stack[1, 0, 1] += size
    return stack


REFUSED = {
    "asymmetric": (
        lambda: ms.DenseMeasurement(skewed(0.5)),
        r"`stack` must hold symmetric matrices, but stack\[1\] differs .* by 0.5\. .*pass that",
    ),
    "slightly asymmetric, beside a smaller matrix": (
        lambda: ms.DenseMeasurement(skewed(1e-10)),
        r"symmetric matrices, but stack\[1\] differs from its transpose by 1e-10",
    ),
    "one matrix instead of a stack": (
        lambda: ms.DenseMeasurement(EYE),
        r"`stack` must have shape \(m, n, n\), but has shape \(2, 2\)",
    ),
    "not square": (lambda: ms.DenseMeasurement(np.ones((1, 2, 3))), r"but has shape \(1, 2, 3\)"),
    "m = 0": (
        lambda: ms.DenseMeasurement(np.ones((0, 2, 2))),
        r"\(m, n, n\) with m, n >= 1, but has shape \(0, 2, 2\)",
    ),
    "n = 0": (lambda: ms.DenseMeasurement(np.ones((2, 0, 0))), r"but has shape \(2, 0, 0\)"),
    "none": (lambda: ms.DenseMeasurement(None), "`stack` must be an array .*, but is None"),
    "a number": (lambda: ms.DenseMeasurement(3.0), r"but has shape \(\)"),
    "nan": (lambda: ms.DenseMeasurement(EYE[None] * np.nan), r"has nan at index \(0, 0, 0\)"),
    "infinity": (lambda: ms.DenseMeasurement([[[np.inf]]]), "has inf at index"),
    "complex": (lambda: ms.DenseMeasurement(EYE[None] * 1j), "must be real"),
    "text": (lambda: ms.DenseMeasurement("stack.npz"), "`stack` must be an array of real numbers"),
    "ragged": (lambda: ms.DenseMeasurement([[[1.0], [2.0, 3.0]]]), "rows of unequal length"),
    "rank one, m = 0": (lambda: ms.RankOneMeasurement(np.ones((0, 3))), "`vectors`.*m, n >= 1"),
    "rank one, n = 0": (lambda: ms.RankOneMeasurement(np.ones((3, 0))), "`vectors`.*m, n >= 1"),
    "rank one, one vector": (lambda: ms.RankOneMeasurement([1.0, 2.0]), r"shape \(2,\)"),
    "rank one, nan": (lambda: ms.RankOneMeasurement([[np.nan]]), "`vectors` must be finite"),
    "diagonal, m = 0": (lambda: ms.DiagonalMeasurement(np.ones((0, 3))), "`matrix`.*m, n >= 1"),
    "diagonal, a stack": (lambda: ms.DiagonalMeasurement(EYE[None]), r"shape \(1, 2, 2\)"),
    "diagonal, inf": (lambda: ms.DiagonalMeasurement([[np.inf]]), "`matrix` must be finite"),
    "commuting, m = 0": (
        lambda: ms.CommutingMeasurement(EYE, np.ones((0, 2))),
        "`spectra`.*m, n >= 1",
    ),
    "commuting, sizes": (
        lambda: ms.CommutingMeasurement(EYE, np.ones((1, 3))),
        r"`basis` must have shape \(3, 3\), but has shape \(2, 2\)",
    ),
    "commuting, basis not orthogonal": (
        lambda: ms.CommutingMeasurement(EYE + 1e-9, np.ones((1, 2))),
        "`basis` must be orthogonal, but Q'Q differs from the identity by 2e-09. .*qr",
    ),
    "commuting, basis overflowing": (
        lambda: ms.CommutingMeasurement(1e200 * (EYE[::-1] - EYE), np.ones((1, 2))),
        "`basis` must be orthogonal, but",
    ),
    "commuting, nan": (
        lambda: ms.CommutingMeasurement(EYE * np.nan, np.ones((1, 2))),
        "`basis` must be finite",
    ),
    "entries, none": (lambda: ms.EntryMeasurement([], [], 2), "name at least one entry"),
    "entries, repeated": (
        lambda: ms.EntryMeasurement([0, 1, 0], [1, 1, 1], 2),
        r"name each entry .*, but \(0, 1\) stands at positions 0 and 2",
    ),
    "entries, negative": (lambda: ms.EntryMeasurement([0, -1], [0, 0], 2), r"rows\[1\] is -1"),
    "entries, from one": (
        lambda: ms.EntryMeasurement([0, 1], [1, 2], 2),
        r"`cols` must lie in 0..1, but cols\[1\] is 2. Indices are 0-based",
    ),
    "entries, floats": (lambda: ms.EntryMeasurement([0.0], [0], 2), "hold integers, but has dtype"),
    "entries, booleans": (lambda: ms.EntryMeasurement([True], [0], 2), "hold integers"),
    "entries, text": (lambda: ms.EntryMeasurement(["a"], [0], 2), "`rows` must be an array"),
    "entries, ragged": (lambda: ms.EntryMeasurement([[0], [0, 1]], [0], 2), "unequal length"),
    "entries, huge": (lambda: ms.EntryMeasurement([2**70], [0], 2), "but holds 1180591620"),
    "entries, beyond 32 bits": (
        lambda: ms.EntryMeasurement([2**32], [0], 2**33),
        "`dim` must be at most 2147483647",
    ),
    "entries, a table": (lambda: ms.EntryMeasurement([[0]], [[0]], 2), r"have shape \(m,\)"),
    "entries, lengths": (lambda: ms.EntryMeasurement([0, 1], [0], 2), "`cols` must have the shape"),
    "entries, dim": (lambda: ms.EntryMeasurement([0], [0], 0), "`dim` must be at least 1"),
    "entries, block": (
        lambda: ms.EntryMeasurement([0], [1], 2, block=(1, 3)),
        r"`block` must be a pair \(p, q\) with p \+ q = dim = 2",
    ),
    "entries, dtype": (
        lambda: ms.EntryMeasurement([0], [1], 2, dtype=int),
        "`dtype` must be a floating-point type",
    ),
    "rectangular, row": (
        lambda: ms.rectangular_entries([2], [0], (2, 3)),
        r"`rows` must lie in 0..1, but rows\[0\] is 2",
    ),
    "rectangular, column": (
        lambda: ms.rectangular_entries([0], [3], (2, 3)),
        r"`cols` must lie in 0..2, but cols\[0\] is 3",
    ),
    "rectangular, side": (
        lambda: ms.rectangular_entries([0], [0], (0, 3)),
        r"`shape\[0\]` must be at least 1",
    ),
    "function, not one": (
        lambda: ms.from_function(jnp.square(2.0), 2, 2),
        "`apply` must be a function",
    ),
    "function, shape": (
        lambda: ms.from_function(lambda X: X, 2, 2),
        r"return shape \(num_measurements,\) = \(2,\), but returns shape \(2, 2\)",
    ),
    "function, tuple": (lambda: ms.from_function(lambda X: (X[0],), 2, 2), "but returns tuple"),
    "function, integers": (
        lambda: ms.from_function(lambda X: jnp.argmax(X, axis=0), 2, 2),
        "return the type of X, float64, but returns int64",
    ),
    "function, affine": (
        lambda: ms.from_function(lambda X: X[0] + 1.0, 2, 2),
        "`apply` must be linear, but .* differs .* by 2. Move constants to the targets",
    ),
    "function, quadratic": (lambda: ms.from_function(lambda X: X[0] ** 2, 2, 2), "be linear"),
    "function, n = 1": (lambda: ms.from_function(lambda X: jnp.abs(X[0]), 1, 1), "be linear"),
    "function, nan": (lambda: ms.from_function(lambda X: X[0] * jnp.nan, 2, 2), "be linear"),
    "function, raises": (
        lambda: ms.from_function(lambda X: np.linalg.norm(X, axis=0), 2, 2),
        "`apply` must be a JAX function of X.*raises TracerArrayConversionError",
    ),
    "function, dim": (lambda: ms.from_function(lambda X: X[0], 0, 1), "`dim` must be at least 1"),
    "function, m = 0": (
        lambda: ms.from_function(lambda X: X[0][:0], 2, 0),
        "`num_measurements` must be at least 1",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert FORM.fullmatch(str(caught.value)), caught.value
    assert str(caught.value).count("Argument") == 1


def test_asymmetry_of_rounding_is_averaged_away():
    factor = np.random.default_rng(0).normal(size=(6, 6))
    stack = (factor @ factor.T)[None]
    stack[0, 0, 1] = np.nextafter(stack[0, 0, 1], np.inf)
    stored = np.array(ms.DenseMeasurement(stack).stack)
    np.testing.assert_array_equal(stored, stored.swapaxes(1, 2))
    np.testing.assert_allclose(stored, stack, rtol=1e-15)


def test_the_largest_numbers_do_not_overflow():
    A = ms.DenseMeasurement([[[1.7e308, 0.0], [0.0, 1.0]]])
    assert float(A.stack[0, 0, 0]) == 1.7e308


@pytest.mark.parametrize("make", [ms.DenseMeasurement, ms.RankOneMeasurement])
def test_lists_and_integers_are_read(make):
    data = [[[1, 2], [2, 3]]] if make is ms.DenseMeasurement else [[1, 2]]
    assert make(data).dtype == jnp.float64
    assert make(np.array(data, np.float32)).dtype == jnp.float32


def test_both_orders_of_an_entry_count_twice():
    A = imf.measurements.EntryMeasurement([0, 1], [1, 0], 2)
    X = jnp.array([[1.0, 2.0], [2.0, 5.0]])
    assert A.apply(X).tolist() == [2.0, 2.0]
    assert A.adjoint(jnp.array([1.0, 1.0])).tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_rectangular_entries_are_those_of_the_block():
    W = np.arange(6.0).reshape(2, 3)
    rows, cols = np.divmod(np.arange(6), 3)
    A = ms.rectangular_entries(rows, cols, (2, 3))
    X = np.block([[np.ones((2, 2)), W], [W.T, np.ones((3, 3))]])
    np.testing.assert_array_equal(A.apply(jnp.array(X)), W.ravel())
    assert (A.dim, A.block) == (5, (2, 3))


def test_factors_of_a_wrong_height_are_refused():
    """Indexing clamps in JAX: without a check they would give a number."""
    A = ms.EntryMeasurement([0, 2], [1, 2], 3)
    tall, short = jnp.ones((3, 1)), jnp.ones((2, 1))
    for call in (A.apply_product, A.gram):
        for pair in ((short, short), (tall, short), (short, tall)):
            with pytest.raises(ValueError, match="must have shape"):
                call(*pair)
