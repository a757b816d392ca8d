"""Experiments whose numbers mean nothing in single precision say so."""

import jax.numpy as jnp
import numpy as np

from .. import _checks


def require_float64(name: str) -> None:
    """Refuse to run while JAX is set to float32.

    Args:
        name: of the experiment.

    Raises:
        ValueError: saying how to turn float64 on.

    Example:
        >>> from implicit_flow.experiments._double import require_float64
        >>> require_float64("commuting")
    """
    if jnp.result_type(float) != np.float64:
        _checks.needs_float64(f"The experiment {name}")
