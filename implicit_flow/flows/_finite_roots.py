"""A root finder whose failures can be differentiated."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optimistix as optx


class FiniteRoots(optx.AbstractRootFinder):
    """Another root finder, which says zero where it fails.

    A step whose stages are not found is tried again with a shorter one. What the iteration ran away
    to is not used, but differentiated with weight zero: by a Jacobian that may be infinite there,
    of which Lineax makes an error that no flag switches off. At zero it is finite.

    Attributes:
        finder: does the work.
    """

    finder: optx.AbstractRootFinder

    def __init__(self, finder: optx.AbstractRootFinder):
        """Wrap a root finder.

        Args:
            finder: does the work.
        """
        self.finder = finder

    @property
    def rtol(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Relative tolerance."""
        return self.finder.rtol

    @property
    def atol(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Absolute tolerance."""
        return self.finder.atol

    @property
    def norm(self) -> Callable[..., Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """In which both are meant."""
        return self.finder.norm

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """That of the finder."""
        return self.finder.init(*args, **kwargs)

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """That of the finder."""
        return self.finder.step(*args, **kwargs)

    def terminate(self, *args: Any, **kwargs: Any) -> Any:
        """That of the finder."""
        return self.finder.terminate(*args, **kwargs)

    def postprocess(
        self,
        fn: Any,
        y: Any,
        aux: Any,
        args: Any,
        options: dict[str, Any],
        state: Any,
        tags: frozenset[object],
        result: optx.RESULTS,
    ) -> tuple[Any, Any, dict[str, Any]]:
        """That of the finder, or zero."""
        y, aux, stats = self.finder.postprocess(fn, y, aux, args, options, state, tags, result)
        found = result == optx.RESULTS.successful
        return jax.tree.map(lambda leaf: jnp.where(found, leaf, 0), y), aux, stats
