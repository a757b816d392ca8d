"""The Lie algebra that a set of matrices generates."""

import numpy as np
from jaxtyping import Float


def lie_algebra_dimension(stack: Float[np.ndarray, "m n n"], *, tol: float = 1e-9) -> int:
    """The dimension of the smallest space that holds the matrices and all their commutators.

    Args:
        stack: matrices, shape (m, n, n).
        tol: what a commutator must leave, relative to its size, once what is known is taken off.

    Returns:
        The dimension, at most n^2.

    Example:
        >>> import numpy as np
        >>> from implicit_flow.experiments._lie_algebra import lie_algebra_dimension
        >>> diagonal, swap = np.diag([1.0, -1.0]), np.array([[0.0, 1.0], [1.0, 0.0]])
        >>> lie_algebra_dimension(np.stack([diagonal, swap]))
        3
    """
    n = stack.shape[1]
    basis: list[np.ndarray] = []
    waiting = list(stack)
    while waiting and len(basis) < n * n:
        matrix = waiting.pop(0)
        rest = matrix.copy()
        # Twice, so that what is left is orthogonal to rounding.
        for known in basis + basis:
            rest = rest - np.sum(rest * known) * known
        if np.linalg.norm(rest) <= tol * max(np.linalg.norm(matrix), 1e-300):
            continue
        new = rest / np.linalg.norm(rest)
        for known in basis:
            bracket = new @ known - known @ new
            # What is zero but for rounding is no direction.
            if np.linalg.norm(bracket) > tol:
                waiting.append(bracket)
        basis.append(new)
    return len(basis)
