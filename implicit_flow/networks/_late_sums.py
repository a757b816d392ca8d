"""Sums over the steps of a loop that are taken once, after it.

The derivative with respect to a matrix that is used in every step of a loop is a sum of outer
products. Left to itself, differentiation adds them one by one, and each costs more than reading
the matrix. Where the uses are seen as `y + zero`, with a zero of its own for each step, the
derivatives with respect to the zeros and the vectors that the matrix was applied to give the same
sum as one product of two matrices.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class Site:
    """Where a loop applies a parameter to a vector.

    Attributes:
        name: the parameter.
        axis: the axis of the parameter along which the vector lies.
        size: of the result.
    """

    name: str
    axis: int
    size: int

    def sum(self, slopes: Float[Array, "steps _"], vectors: Float[Array, "steps _"]) -> Array:
        """The derivative with respect to the parameter.

        Args:
            slopes: derivatives with respect to the results, step by step.
            vectors: what the parameter was applied to.

        Returns:
            The sum of the outer products.
        """
        pair = (slopes, vectors) if self.axis == 1 else (vectors, slopes)
        over_steps = (((0,), (0,)), ((), ()))
        return lax.dot_general(*pair, over_steps, precision=lax.Precision.HIGHEST)


@dataclasses.dataclass
class Step:
    """What is met in one step of a loop.

    Attributes:
        zeros: one for each site, if the sites are known.
        sites: the sites met so far.
        vectors: what the parameter was applied to at each.
    """

    zeros: Sequence[Array]
    sites: list[Site] = dataclasses.field(default_factory=list)
    vectors: list[Array] = dataclasses.field(default_factory=list)

    def meet(self, site: Site, vector: Array) -> Array | None:
        """Notes a site.

        Args:
            site: the site.
            vector: what the parameter is applied to.

        Returns:
            The zero of the site, or None where this reading only finds the sites.
        """
        self.sites.append(site)
        self.vectors.append(vector)
        return self.zeros[len(self.sites) - 1] if self.zeros else None


class LateSums:
    """The loops of a program, as they are read one after the other.

    Attributes:
        sites: the sites of each loop.
        vectors: for each site of each loop, the vectors of all steps.
        lengths: the number of steps of each loop.
        step: the step that is being read, if notes are taken of it.
        is_inside: whether a loop or a branch is being read.
    """

    def __init__(self, zeros: Sequence[Sequence[Array]] = ()):
        """Begins before the first loop.

        Args:
            zeros: for each site of each loop, zeros for all steps; nothing where a first reading
                has yet to find the sites.
        """
        self.sites: list[list[Site]] = []
        self.vectors: list[list[Array]] = []
        self.lengths: list[int] = []
        self.step: Step | None = None
        self.is_inside = False
        self._zeros = zeros

    def zeros(self, dtype: Any) -> list[list[Array]]:
        """What a second reading needs.

        Args:
            dtype: of the sums.

        Returns:
            Zeros for all steps of each site of each loop.
        """
        return [
            [jnp.zeros((length, site.size), dtype) for site in sites]
            for sites, length in zip(self.sites, self.lengths, strict=True)
        ]

    def of_next_loop(self) -> list[Array]:
        """The zeros of the loop that is read next, to be scanned over."""
        return list(self._zeros[len(self.sites)]) if self._zeros else []

    @contextlib.contextmanager
    def reading(self, step: Step | None) -> Iterator[None]:
        """While a step is read; or, with None, what no note can be taken of.

        Args:
            step: the step.

        Yields:
            Nothing.
        """
        before = self.step, self.is_inside
        self.step, self.is_inside = step, True
        try:
            yield
        finally:
            self.step, self.is_inside = before

    def end_of_loop(self, step: Step, vectors: list[Array], length: int) -> None:
        """Keeps what was met in a loop.

        Args:
            step: one step of it.
            vectors: what the parameters were applied to in all steps.
            length: the number of steps.
        """
        self.sites.append(step.sites)
        self.vectors.append(vectors)
        self.lengths.append(length)
