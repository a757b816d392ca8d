"""Data that differ from the given ones by rounding alone, and do not couple what that couples."""

from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Bool, Float

from ._congruence_term import CongruenceTerm


class Uncoupled(eqx.Module):
    """A flow whose data are zero where the given ones are zero to rounding, in some basis.

    Attributes:
        basis: Q (n, n), orthonormal: where U is a factor of this flow, Q U is one of the given one.
        differs: whether anything there is zero to rounding but not exactly. The rest means nothing
            where not, and is not computed.
        data: gives the term and the frame, of the shapes of the given ones.
    """

    basis: Float[Array, "n n"]
    differs: Bool[Array, ""]
    data: Callable[[], tuple[CongruenceTerm, Float[Array, "n d"]]]

    def data_or(
        self, others: tuple[CongruenceTerm, Float[Array, "n d"]], *, use: Bool[Array, ""]
    ) -> tuple[CongruenceTerm, Float[Array, "n d"]]:
        """These data, or others.

        Args:
            others: the term and the frame.
            use: whether to take these.

        Returns:
            The term and the frame.
        """
        arrays, static = eqx.partition(others, eqx.is_array)
        return eqx.combine(
            jax.lax.cond(use, lambda: eqx.filter(self.data(), eqx.is_array), lambda: arrays), static
        )
