"""Alphas in and out, and numbers in words."""

from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from implicit_flow.cli._alphas import read_alphas, show_alpha
from implicit_flow.cli._words import number, percent, small


def test_alphas_beyond_floats():
    assert read_alphas("1e-3000, 1e-2 ,0.0001") == [-2.0, -4.0, -3000.0]
    assert read_alphas("2.5e-400")[0] == pytest.approx(-399.60205999132796, abs=1e-12)


@given(st.integers(-4000, 300), st.integers(10, 99))
def test_shown_alphas_are_read_back(exponent, digits):
    (value,) = read_alphas(f"{digits}e{exponent}")
    text = show_alpha(value)
    mantissa, power = text.split("e")
    shown = Fraction(mantissa) * Fraction(10) ** int(power)
    # Six digits are shown, and a logarithm near -4000 holds 12 behind the point.
    assert abs(shown / (digits * Fraction(10) ** exponent) - 1) < Fraction(1, 10**5)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0756, "7.6%"),
        (0.0034, "0.34%"),
        (0.00029, "0.029%"),
        (1.0, "100%"),
        (9.99, "999%"),
        (0.0, "0%"),
        (-0.025, "-2.5%"),
        (3e-12, "3.0e-10%"),
        (float("inf"), "–"),
    ],
)
def test_percent(share, text):
    assert percent(share) == text


def test_numbers():
    assert number(1.678507352080517) == "1.678507"
    assert number(float("-inf")) == "–"
    assert small(3.2e-10) == "3e-10"
    assert small(0.0) == "0"
