"""NF-Layers: maps between weight-space features that commute with renumbering neurons."""

from ._attention import NPAttention as NPAttention
from ._compose import LearnedScale as LearnedScale
from ._compose import Map as Map
from ._compose import ResidualBlock as ResidualBlock
from ._dropout import ChannelDropout as ChannelDropout
from ._flatten import FlattenWeights as FlattenWeights
from ._flatten import UnflattenWeights as UnflattenWeights
from ._init import Block as Block
from ._init import fan_in_uniform as fan_in_uniform
from ._init import keep_variance as keep_variance
from ._linear import DerivedLinear as DerivedLinear
from ._linear import HNPLinear as HNPLinear
from ._linear import NPLinear as NPLinear
from ._low_rank import LowRankHNPLinear as LowRankHNPLinear
from ._norm import WeightSpaceLayerNorm as WeightSpaceLayerNorm
from ._pointwise import Pointwise as Pointwise
from ._pool import CrossAttnPool as CrossAttnPool
from ._pool import HNPPool as HNPPool
from ._pool import InvariantPool as InvariantPool
from ._pool import NPPool as NPPool
from ._position import GaussianFourierFeatures as GaussianFourierFeatures
from ._position import IOSinusoidalEncoding as IOSinusoidalEncoding
from ._position import LearnedPosEmbedding as LearnedPosEmbedding
from ._shared import SharedNPLinear as SharedNPLinear
from ._stats import StatFeaturizer as StatFeaturizer
