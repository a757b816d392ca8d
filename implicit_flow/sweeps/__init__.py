"""Many cells of a grid: on every device, labeled, resumable, and honest about each cell."""

from ._axes import Axis as Axis
from ._curves import curves as curves
from ._estimate import Estimate as Estimate, estimate as estimate
from ._heat_map import heat_map as heat_map
from ._load import Status as Status, load as load, status as status
from ._outcomes import (
    NOT_FINITE as NOT_FINITE,
    PENDING as PENDING,
    RAISED as RAISED,
    failed as failed,
    messages as messages,
    pending as pending,
)
from ._outputs import Output as Output
from ._progress import (
    AbstractProgress as AbstractProgress,
    NoProgress as NoProgress,
    ProgressLine as ProgressLine,
)
from ._strategy import AbstractStrategy as AbstractStrategy, Lanes as Lanes, Loop as Loop
from ._sweep import sweep as sweep
