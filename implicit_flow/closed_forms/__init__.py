"""Exact end points of flows, where there are any: the oracles that flows are tested against."""

from ._commuting import commuting as commuting, single_measurement as single_measurement
from ._commuting_limit import commuting_limit as commuting_limit
from ._diagonal import hadamard as hadamard, signed_hadamard as signed_hadamard
from ._full_observation import full_observation as full_observation
from ._linear import linear as linear
