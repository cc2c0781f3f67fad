"""A broader mixture than the default: more data sets, normalization, autoencoders, other units."""

from __future__ import annotations

from ._augment import PermutedInputs, PermutedLabels, ReparametrizedWeights, ScaledLoss
from ._families import Mixture, default_family
from ._images import Autoencoders, ImageCNNs, ImageMLPs

_mlps = Mixture(tuple((ImageMLPs(data), 1.0) for data in ("digits", "mnist", "fashion_mnist")))
_cnns = Mixture(tuple((ImageCNNs(data), 1.0) for data in ("mnist", "fashion_mnist", "cifar10")))

broad_family = ScaledLoss(
    Mixture(
        (
            (default_family, 0.4),
            (PermutedInputs(PermutedLabels(_mlps)), 0.15),
            (_cnns, 0.15),
            (Autoencoders("mnist"), 0.1),
            (ReparametrizedWeights(default_family), 0.1),
            (ReparametrizedWeights(_mlps, per_tensor=True), 0.1),
        )
    )
)
"""More than the default: image data sets, normalization, autoencoders, other units and orders."""
