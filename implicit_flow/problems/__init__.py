"""Problems: planted ones, and ones read from files."""

from ._files import load as load
from ._generators import (
    commuting_sensing as commuting_sensing,
    gaussian_sensing as gaussian_sensing,
    matrix_completion as matrix_completion,
    nonnegative_least_squares as nonnegative_least_squares,
    phase_retrieval as phase_retrieval,
    rectangular_completion as rectangular_completion,
    single_measurement as single_measurement,
)
from ._problem import Problem as Problem
