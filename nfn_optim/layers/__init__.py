"""NF-Layers: maps between weight-space features that commute with renumbering neurons."""

from ._init import fan_in_uniform as fan_in_uniform
from ._init import keep_variance as keep_variance
from ._linear import DerivedLinear as DerivedLinear
from ._linear import HNPLinear as HNPLinear
from ._linear import NPLinear as NPLinear
from ._shared import SharedNPLinear as SharedNPLinear
