"""What a loss looks like, without any flow: where paths from zero stop on their way."""

from ._greedy_low_rank import (
    GreedyLowRank as GreedyLowRank,
    greedy_low_rank as greedy_low_rank,
)
from ._successive_saddles import (
    SuccessiveSaddles as SuccessiveSaddles,
    successive_saddles as successive_saddles,
)
