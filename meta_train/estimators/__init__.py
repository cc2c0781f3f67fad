"""Estimators of the meta-gradient, interchangeable behind one call."""

from ._base import GradientEstimator as GradientEstimator
from ._base import MetaGradient as MetaGradient
from ._bptt import TruncatedBPTT as TruncatedBPTT
