"""X itself."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from .. import _checks
from .._types import Matrix, Scalar
from ._base import AbstractParametrization


class Identity(AbstractParametrization):
    r"""X is its own parameter, started at zero, with $dX/dt = -A^*(r)$."""

    def init(self, dim: int, log_alpha: Scalar, init: Any, dtype: np.dtype) -> Matrix:
        """Zero, whatever alpha is."""
        if init is not None:
            _checks.refuse("init", "be None for a start at X = 0", "is given")
        return jnp.zeros((dim, dim), dtype)

    def unknown(self, theta: Matrix) -> Matrix:
        """The parameter."""
        return theta

    def velocity(self, theta: Matrix, generator: Matrix) -> Matrix:
        r"""$-A^*(r)$."""
        return -generator
