"""Whether norms, minima and the ends of descents are known well enough to compare them."""

from typing import TYPE_CHECKING

from ._norm_ball import ABOVE


if TYPE_CHECKING:
    import xarray

# What the programs may leave of a norm or of a loss, and what descent may: flat directions stop it
# at 1e-8 or so of the loss.
_GAP, _LEFT, _SLOPE = 1e-6, 1e-5, 1e-5


def all_known(ds: "xarray.Dataset", balls: "xarray.Dataset", rows: "xarray.Dataset") -> bool:
    """Whether the programs are solved, and all descents with enough columns came to rest.

    That an end has the least loss is proved by the gap of Frank and Wolfe, or by the program: it
    then does not matter how descent came there. What is above counts against the claim only where
    the slope is zero.

    Args:
        ds: what the experiment returned.
        balls: of it, the numbers of columns that are enough where the trace norm is bounded.
        rows: the same where the max-norm is.

    Returns:
        False where a number is missing, too.
    """
    least, gap = ds.row_least_value, ds.row_least_gap
    solved = (ds.gap <= _GAP).all() & (gap <= _GAP * least).all()
    best = ds.end_value.min(("columns", "start"))
    proved = (balls.end_gap <= _LEFT * balls.end_value) & (balls.end_value <= best * (1 + ABOVE))
    rest = balls.end_slope <= _SLOPE * balls.end_value
    # Nothing within the bound has less than the least.
    over, room = rows.row_end_value - least, ABOVE * rows.row_end_value + gap
    rest_rows = (rows.row_end_slope <= _SLOPE * least) & (over >= -room)
    return bool(solved & (proved | rest).all() & ((abs(over) <= room) | rest_rows).all())
