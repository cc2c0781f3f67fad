"""NF-Layers: maps between weight-space features that commute with renumbering neurons."""

from ._attention import NPAttention as NPAttention
from ._compose import LearnedScale as LearnedScale
from ._compose import Map as Map
from ._compose import ResidualBlock as ResidualBlock
from ._dropout import ChannelDropout as ChannelDropout
from ._flatten import FlattenWeights as FlattenWeights
from ._flatten import UnflattenWeights as UnflattenWeights
from ._groups import reads_inputs as reads_inputs
from ._groups import writes_outputs as writes_outputs
from ._network_pool import NetworkPool as NetworkPool
from ._norm import WeightSpaceLayerNorm as WeightSpaceLayerNorm
from ._pointwise import Pointwise as Pointwise
from ._pool import CrossAttnPool as CrossAttnPool
from ._pool import HNPPool as HNPPool
from ._pool import InvariantPool as InvariantPool
from ._pool import NPPool as NPPool
from ._position import GaussianFourierFeatures as GaussianFourierFeatures
from ._position import IOSinusoidalEncoding as IOSinusoidalEncoding
from ._position import LearnedPosEmbedding as LearnedPosEmbedding
from ._stats import StatFeaturizer as StatFeaturizer
from .derived import Block as Block
from .derived import DerivedLinear as DerivedLinear
from .derived import HNPLinear as HNPLinear
from .derived import LowRankHNPLinear as LowRankHNPLinear
from .derived import NPLinear as NPLinear
from .derived import fan_in_uniform as fan_in_uniform
from .derived import keep_variance as keep_variance
from .relational import Pack as Pack
from .relational import PackedFeatures as PackedFeatures
from .relational import SharedNPLinear as SharedNPLinear
from .relational import SharedPointwise as SharedPointwise

__all__ = [  # the other names are for the folders beside
    "ChannelDropout",
    "CrossAttnPool",
    "FlattenWeights",
    "GaussianFourierFeatures",
    "HNPLinear",
    "HNPPool",
    "IOSinusoidalEncoding",
    "LearnedPosEmbedding",
    "LearnedScale",
    "LowRankHNPLinear",
    "Map",
    "NPAttention",
    "NPLinear",
    "NPPool",
    "NetworkPool",
    "Pack",
    "PackedFeatures",
    "Pointwise",
    "ResidualBlock",
    "SharedNPLinear",
    "SharedPointwise",
    "StatFeaturizer",
    "UnflattenWeights",
    "WeightSpaceLayerNorm",
    "fan_in_uniform",
    "keep_variance",
]
