"""Estimators of the meta-gradient, interchangeable behind one call, and the meta-loss."""

from ._base import GradientEstimator as GradientEstimator
from ._base import MetaGradient as MetaGradient
from ._base import advance as advance
from ._base import trained as trained
from ._bptt import TruncatedBPTT as TruncatedBPTT
from ._evolution import PES as PES
from ._evolution import EvolutionStrategy as EvolutionStrategy
from ._evolution import FullES as FullES
from ._evolution import NoiseReuseES as NoiseReuseES
from ._meta_loss import WORST as WORST
from ._meta_loss import MetaLoss as MetaLoss
from ._meta_loss import Piece as Piece

__all__ = [  # the other names are for the folders beside
    "PES",
    "FullES",
    "GradientEstimator",
    "MetaGradient",
    "MetaLoss",
    "NoiseReuseES",
    "TruncatedBPTT",
    "advance",
]
