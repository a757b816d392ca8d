"""Common eigenvectors of the measurement matrices, where they have them."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _checks
from ..measurements import AbstractMeasurement, CommutingMeasurement, DiagonalMeasurement


def common_basis(
    measurement: AbstractMeasurement,
) -> tuple[Float[Array, "n n"], Float[Array, "m n"]]:
    r"""V and the spectra with $A_k = V\,\mathrm{diag}(\lambda_k)\,V^\top$.

    Args:
        measurement: commuting by its kind, with m = 1, or with matrices that commute to rounding.

    Returns:
        V, shape (n, n), and the spectra, shape (m, n).

    Raises:
        ValueError: the measurement matrices do not commute.
    """
    if isinstance(measurement, DiagonalMeasurement):
        return jnp.asarray(np.eye(measurement.dim, dtype=measurement.dtype)), measurement.matrix
    if isinstance(measurement, CommutingMeasurement):
        return measurement.basis, measurement.spectra
    stack = measurement.as_stack()
    if measurement.num_measurements == 1:
        values, basis = jnp.linalg.eigh(stack[0])
        return basis, values[None, :]
    known = _checks.concrete(stack)
    if known is None:
        _checks.refuse(
            "problem",
            "have measurement matrices that are known to commute",
            "under a tracer that cannot be checked",
            "Give their structure: `CommutingMeasurement(basis, spectra)`.",
        )
    _refuse_commutators(known)
    # A generic combination has no more repeated eigenvalues than the family has.
    sizes = np.linalg.norm(known, axis=(1, 2))
    sizes = np.where(sizes > 0, sizes, 1)
    coefficients = np.random.default_rng(0).standard_normal(known.shape[0]) / sizes
    basis = np.linalg.eigh(np.tensordot(coefficients.astype(known.dtype), known, 1))[1]
    rotated = basis.T @ known @ basis
    spectra = np.diagonal(rotated, axis1=1, axis2=2)
    return jnp.asarray(basis), jnp.asarray(spectra)


def _refuse_commutators(stack: np.ndarray) -> None:
    m, n, _ = stack.shape
    sizes = np.linalg.norm(stack, axis=(1, 2))
    worst, where = 0.0, (0, 0)
    for i in range(m - 1):
        products = stack[i] @ stack[i + 1 :]
        scale = sizes[i] * sizes[i + 1 :]
        commutators = np.linalg.norm(products - np.swapaxes(products, 1, 2), axis=(1, 2))
        relative = commutators / np.where(scale > 0, scale, 1)
        if relative.max() > worst:
            worst, where = float(relative.max()), (i, i + 1 + int(relative.argmax()))
    if worst > 100 * n * np.finfo(stack.dtype).eps:
        i, j = where
        _checks.refuse(
            "problem",
            "have measurement matrices that commute",
            f"those numbered {i} and {j} have a commutator of Frobenius norm {worst:.3g} times "
            "the product of their norms",
            "There is no closed form then: integrate the flow with `implicit_flow.simulate`.",
        )


def is_traced(*values: object) -> bool:
    """Whether any array in the values is being traced, so that it cannot be looked at."""
    return any(_checks.concrete(leaf) is None for leaf in jax.tree.leaves(values))
