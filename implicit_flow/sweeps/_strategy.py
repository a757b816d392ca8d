"""How the cells of a chunk are run: one after the other, or side by side."""

import abc
from dataclasses import dataclass
from typing import final

from .. import _checks


class AbstractStrategy(abc.ABC):
    """How many cells of a chunk advance together on one device."""

    @abc.abstractmethod
    def width(self, capacity: int) -> int:
        """The number of cells that advance together.

        Args:
            capacity: the number of cells that the program holds.

        Returns:
            A number from 1 to `capacity`.
        """

    @abc.abstractmethod
    def describe(self) -> str:
        """The constructor call that makes this object again."""


@final
@dataclass(frozen=True)
class Loop(AbstractStrategy):
    """One cell after the other: the default on CPU.

    A vectorized adaptive loop runs all its lanes to the slowest; on a CPU nothing is gained by
    the lanes that pays for it.

    Example:
        >>> from implicit_flow.sweeps import Loop
        >>> Loop().width(128)
        1
    """

    def width(self, capacity: int) -> int:
        """One, whatever the capacity."""
        del capacity
        return 1

    def describe(self) -> str:
        """The constructor call."""
        return "Loop()"


@final
@dataclass(frozen=True)
class Lanes(AbstractStrategy):
    """Cells side by side under `jax.vmap`: the default on accelerators.

    Args:
        count: how many advance together; the whole chunk if None. Where the cost of cells
            differs, pass `cost=` to `sweep` so that lanes of like cost meet.

    Example:
        >>> from implicit_flow.sweeps import Lanes
        >>> Lanes().width(128), Lanes(32).width(128)
        (128, 32)
    """

    count: int | None = None

    def __post_init__(self):
        if self.count is not None:
            _checks.at_least(self.count, "count", 1)

    def width(self, capacity: int) -> int:
        """The count asked for, or the capacity."""
        return capacity if self.count is None else min(self.count, capacity)

    def describe(self) -> str:
        """The constructor call."""
        return f"Lanes({self.count})"


def default_strategy(platform: str) -> AbstractStrategy:
    """The strategy that measurements favor on a platform (`benchmarks/test_sweeps.py`).

    Args:
        platform: as in `jax.Device.platform`.

    Returns:
        `Loop()` on a CPU, `Lanes()` elsewhere.
    """
    return Loop() if platform == "cpu" else Lanes()
