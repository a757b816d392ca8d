"""Losses of the predictions: their derivative is the residual that drives every flow."""

from ._base import AbstractLoss as AbstractLoss
from ._margin import Exponential as Exponential, Logistic as Logistic
from ._pointwise import (
    Huber as Huber,
    LogCosh as LogCosh,
    Squared as Squared,
    WeightedSquared as WeightedSquared,
)
