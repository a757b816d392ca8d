"""The option `--alphas`: decimal text, because 1e-3000 is no float."""

import math
from decimal import Decimal, DecimalException
from typing import NoReturn

from .. import _checks


def read_alphas(text: str) -> list[float]:
    """Read a comma-separated list of alphas.

    Args:
        text: such as "1e-2, 1e-4, 1e-3000", in any order.

    Returns:
        Their logarithms to base 10, decreasing.

    Raises:
        ValueError: an entry that is not a positive decimal number, or is there twice.

    Example:
        >>> from implicit_flow.cli._alphas import read_alphas
        >>> read_alphas("1e-2, 1e-3000")
        [-2.0, -3000.0]
    """
    exponents = {}
    for entry in text.split(","):
        value = _number(entry.strip())
        exponent = float(value.log10())
        if exponent in exponents:
            _refuse("hold each alpha once", f"has {entry.strip()} twice")
        exponents[exponent] = entry
    return sorted(exponents, reverse=True)


def _number(entry: str) -> Decimal:
    must = "be a comma-separated list of numbers such as 1e-2,1e-4,1e-300"
    if not entry:
        _refuse(must, "has an empty entry")
    try:
        value = Decimal(entry)
    except DecimalException:
        _refuse(must, f"has the entry {entry!r}")
    if not value.is_finite():
        _refuse("hold finite numbers", f"has the entry {entry!r}")
    if value <= 0:
        cure = "Give alpha itself and not its logarithm." if value < 0 else ""
        _refuse("hold positive numbers", f"has the entry {entry!r}", cure)
    return value


def _refuse(must: str, got: str, cure: str = "") -> NoReturn:
    _checks.refuse("--alphas", must, got, cure)


def show_alpha(log10_alpha: float) -> str:
    """Write an alpha, given by its logarithm, the way that `--alphas` reads it.

    Args:
        log10_alpha: to base 10.

    Returns:
        Such as "1e-300" or "2.5e-05".

    Example:
        >>> from implicit_flow.cli._alphas import show_alpha
        >>> show_alpha(-3000.0), show_alpha(-1.6020599913279625)
        ('1e-3000', '2.5e-2')
    """
    whole = math.floor(log10_alpha)
    mantissa = f"{10 ** (log10_alpha - whole):.6g}"
    if mantissa == "10":
        mantissa, whole = "1", whole + 1
    return f"{mantissa}e{whole}"
