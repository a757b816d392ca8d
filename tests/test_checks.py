"""Every check says which argument, what it must be, what it is and what to do."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from implicit_flow import _checks


FORM = re.compile(r"Argument `[\w\[\]]+` must .+, but .+\.( .+)?", re.DOTALL)

NO_NUMBERS = {
    "none": (None, "is None"),
    "text": ("abc", "has dtype <U3"),
    "bytes": (b"x", r"has dtype \|S1"),
    "words": (["a", "b"], "has dtype <U1"),
    "ragged": ([[1.0, 2.0], [3.0]], "has rows of unequal length"),
    "too large an integer": ([10**30], "holds 1000000000000000000000000000000"),
    "far too large an integer": (10**400, r"is 1000.*\.\.\..*000"),
    "a hole": ([None, 1.0], "holds None"),
    "a table": ({"a": 1.0}, r"is \{'a': 1.0\}"),
    "a set": ({1.0}, r"is \{1.0\}"),
    "a function": (len, "is <built-in function len>"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), "has dtype datetime64"),
    "records": (np.zeros(2, [("a", int)]), "has dtype"),
    "a random key": (jax.random.key(0), "has dtype key"),
    "complex": (1 + 2j, "has the complex dtype complex128. Pass its real part"),
    "complex array": (jnp.ones(2, complex), "has the complex dtype complex128"),
    "masked": (np.ma.masked_array([1.0, 2.0], [0, 1]), "has masked entries"),
}


@pytest.mark.parametrize("case", NO_NUMBERS)
def test_array_refuses(case):
    value, message = NO_NUMBERS[case]
    with pytest.raises(ValueError, match=message) as caught:
        _checks.array(value, "x")
    assert FORM.fullmatch(str(caught.value))
    assert str(caught.value).count("Argument") == 1


NUMBERS = {
    "an integer": (3, jnp.float64),
    "a boolean": (True, jnp.float64),
    "a list": ([[1, 2], [3, 4]], jnp.float64),
    "a tuple of scalars": ((1.0, jnp.ones(())), jnp.float64),
    "a range": (range(3), jnp.float64),
    "float16": (np.ones(2, np.float16), jnp.float32),
    "bfloat16": (jnp.ones(2, jnp.bfloat16), jnp.float32),
    "float8": (jnp.ones(2, jnp.float8_e4m3fn), jnp.float32),
    "float32": (np.ones(2, np.float32), jnp.float32),
    "float64": (np.ones(2), jnp.float64),
    "long double": (np.ones(2, np.longdouble), jnp.float64),
    "big-endian": (np.arange(2.0).astype(">f8"), jnp.float64),
    "big-endian integers": (np.arange(2).astype(">i4"), jnp.float64),
    "unsigned": (np.ones(2, np.uint8), jnp.float64),
    "an unmasked masked array": (np.ma.masked_array([1.0, 2.0], [0, 0]), jnp.float64),
    "empty": ([], jnp.float64),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_array_accepts(case):
    value, dtype = NUMBERS[case]
    got = _checks.array(value, "x")
    assert isinstance(got, jax.Array)
    assert got.dtype == dtype
    assert not got.weak_type
    np.testing.assert_array_equal(np.asarray(got), np.asarray(value).astype(float))


def test_array_sees_through_traces():
    def f(v):
        alone, listed = _checks.array(v, "x"), _checks.array([v, 1.0], "x")
        _checks.finite(alone, "x")
        _checks.positive(alone, "x")
        return alone + listed

    np.testing.assert_array_equal(jax.jit(f)(-2.0), [-4.0, -1.0])


@pytest.mark.parametrize("value", [[1.0, 1e300], np.array([-1e300]), jnp.array([1e300])])
def test_numbers_beyond_float32(value):
    with pytest.raises(ValueError, match=r"within the range of float32, but holds -?1e\+300"):
        _checks.array(value, "x", jnp.float32)


def test_numbers_that_vanish_in_float32():
    with pytest.raises(ValueError, match="within the range of float32, but holds 1e-60"):
        _checks.array([1e-60, 2e-60], "x", jnp.float32)
    # Beside larger numbers a small one is rounded, as everything is.
    np.testing.assert_array_equal(_checks.array([1.0, 1e-60], "x", jnp.float32), [1.0, 0.0])
    np.testing.assert_array_equal(_checks.array([0.0], "x", jnp.float32), [0.0])


def test_infinity_is_not_an_overflow():
    assert np.isinf(_checks.array([np.inf], "x", jnp.float32)[0])


def test_shape():
    _checks.shape(np.ones((2, 3, 3)), "x", ("m", "n", "n"))
    _checks.shape(np.ones(()), "x", ())
    for value, expected, message in [
        (np.ones((2, 3, 4)), ("m", "n", "n"), r"have shape (m, n, n), but has shape (2, 3, 4)."),
        (np.ones(()), ("m",), "have shape (m,), but has shape ()."),
        (np.ones(3), (), "have shape (), but has shape (3,)."),
        (np.ones((3, 1)), (3,), "have shape (3,), but has shape (3, 1)."),
    ]:
        with pytest.raises(ValueError, match=re.escape(f"Argument `x` must {message}")):
            _checks.shape(value, "x", expected)


def test_nonempty():
    _checks.nonempty(np.ones((1, 1)), "x", ("m", "n"))
    message = "must have shape (m, n, n) with m, n >= 1, but has shape (0, 2, 2)."
    with pytest.raises(ValueError, match=re.escape(message)):
        _checks.nonempty(np.ones((0, 2, 2)), "x", ("m", "n", "n"))


def test_finite():
    _checks.finite(np.array([1e308, -5e-324]), "x")
    with pytest.raises(ValueError, match=r"must be finite, but has nan at index \(1, 0\)\."):
        _checks.finite(np.array([[1.0, 2.0], [np.nan, np.inf]]), "x")
    with pytest.raises(ValueError, match=r"must be finite, but has -inf as its value\."):
        _checks.finite(jnp.array(-jnp.inf), "x")


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan])
def test_positive(bad):
    _checks.positive(np.array(5e-324), "x")
    with pytest.raises(ValueError, match=f"must be positive, but is {bad}. Cure."):
        _checks.positive(np.array(bad), "x", "Cure.")
    with pytest.raises(ValueError, match=f"must be positive, but contains {bad}."):
        _checks.positive(np.array([1.0, bad]), "x")


@pytest.mark.parametrize("bad", [2.0, "3", None, True, jnp.array(3)])
def test_a_count_is_an_integer(bad):
    with pytest.raises(ValueError, match="must be an integer, but is"):
        _checks.at_least(bad, "x", 1)


def test_a_count_has_a_least_value():
    _checks.at_least(np.int8(1), "x", 1)
    with pytest.raises(ValueError, match=r"must be at least 1, but is 0\."):
        _checks.at_least(0, "x", 1)


def test_sides():
    assert _checks.sides([np.int32(2), 3], "x") == (2, 3)
    for bad, message in [
        (7, "must be a pair"),
        ((1, 2, 3), "must be a pair"),
        ("ab", "must be a pair"),
        ((2, 2.5), r"`x\[1\]` must be an integer, but is 2.5"),
        ((0, 2), r"`x\[0\]` must be at least 1, but is 0"),
        ((2**31, 2), "must have a sum of at most 2147483647"),
    ]:
        with pytest.raises(ValueError, match=message):
            _checks.sides(bad, "x")


def test_instance():
    _checks.instance(1, "x", int)
    with pytest.raises(ValueError, match=r"an instance of int or str, but is None\. Cure\."):
        _checks.instance(None, "x", (int, str), "Cure.")
    with pytest.raises(ValueError, match=r"but is the class bool\. Call it: `bool\(\.\.\.\)`\."):
        _checks.instance(bool, "x", int)
    with pytest.raises(ValueError, match=r"but is of type list\."):
        _checks.instance([], "x", int)


def test_floating():
    _checks.floating(np.dtype("float32"), "dtype")
    with pytest.raises(ValueError, match="must be a floating-point type, but is int32"):
        _checks.floating(np.dtype("int32"), "dtype")


def test_float64_is_asked_for_with_the_way_to_get_it():
    with pytest.raises(ValueError, match=r"This needs float64.*jax_enable_x64"):
        _checks.needs_float64("This")
