"""What the main job does when nothing is said: cheap to import, for the help page."""

from enum import StrEnum


class BuiltIn(StrEnum):
    """The problems that need no file."""

    SENSING = "sensing"
    HARD = "hard"


# The demo tells its story with these: an excess of 8% that falls to nothing.
DEFAULT_ALPHAS = "1e-2,1e-4,1e-6,1e-8,1e-12,1e-20,1e-30"
