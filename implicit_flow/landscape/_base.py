"""What every objective offers to the search for its critical points."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar


class AbstractObjective(eqx.Module):
    r"""A smooth function of one array, with a group under which it does not change.

    A subclass has `shape`, `dtype` and `__call__`; `orbit` where its value has symmetries, so that
    the zero eigenvalues of the Hessian that they cause are told apart from others; `image`, which
    is the same for two points that differ by a symmetry only.
    """

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of a point."""

    @property
    @abc.abstractmethod
    def dtype(self) -> jnp.dtype:
        """The floating-point type in which this objective works."""

    @abc.abstractmethod
    def __call__(self, point: Float[Array, "..."]) -> Scalar:
        """The value.

        Args:
            point: of the shape of this objective.

        Returns:
            A number.
        """

    def orbit(self, point: Float[Array, "..."]) -> Float[Array, "k size"]:
        """Directions in which the symmetries move a point.

        Args:
            point: of the shape of this objective.

        Returns:
            Tangent vectors, flattened, dependent ones allowed; none here.
        """
        return jnp.zeros((0, point.size), point.dtype)

    def image(self, point: Float[Array, "..."]) -> Float[Array, "..."]:
        """What the symmetries do not change.

        Args:
            point: of the shape of this objective.

        Returns:
            An array, equal for points of one orbit; the point itself here.
        """
        return point


def rotations(point: Float[Array, "n r"]) -> Float[Array, "k size"]:
    """The directions U Omega, Omega skew, in which U moves while UU' does not.

    Args:
        point: U, shape (n, r).

    Returns:
        One row for each pair of columns, shape (r (r - 1) / 2, n r).
    """
    first, second = jnp.triu_indices(point.shape[1], 1)
    moves = jnp.zeros((first.shape[0], *point.shape), point.dtype)
    row = jnp.arange(first.shape[0])
    moves = moves.at[row, :, first].set(point.T[second])
    moves = moves.at[row, :, second].add(-point.T[first])
    return moves.reshape(first.shape[0], point.size)
