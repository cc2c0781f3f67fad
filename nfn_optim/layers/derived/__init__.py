"""Linear NF-Layers derived from a spec: one weight for each map that commutes with its group."""

from ._init import Block as Block
from ._init import fan_in_uniform as fan_in_uniform
from ._init import keep_variance as keep_variance
from ._linear import DerivedLinear as DerivedLinear
from ._linear import HNPLinear as HNPLinear
from ._linear import NPLinear as NPLinear
from ._low_rank import LowRankHNPLinear as LowRankHNPLinear
