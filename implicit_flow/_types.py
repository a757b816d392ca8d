"""Names for the arrays that every floor shares."""

from typing import TypeAlias

import jax
from jaxtyping import Array, ArrayLike, Float, Key as _Key


Matrix: TypeAlias = Float[Array, "n n"]
Stack: TypeAlias = Float[Array, "m n n"]
Vector: TypeAlias = Float[Array, " n"]
Residual: TypeAlias = Float[Array, " m"]
Scalar: TypeAlias = Float[Array, ""]
RandomKey: TypeAlias = _Key[Array, ""]
RealLike: TypeAlias = ArrayLike

# Accelerators would otherwise round the factors of a product to 10 bits, which acts like a
# larger alpha. No effect on CPUs.
PRECISION = jax.lax.Precision.HIGHEST

__all__ = [
    "PRECISION",
    "Matrix",
    "RandomKey",
    "RealLike",
    "Residual",
    "Scalar",
    "Stack",
    "Vector",
]
