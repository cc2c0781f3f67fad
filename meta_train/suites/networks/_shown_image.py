"""Readers of SIRENs that run them at places of a grid, and look at the image that they show."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures

from ..harness import Interface, Method, Raw
from ._image_readers import convolutions
from ._neuron_editor import SirenActivations
from ._siren_pass import Places

_LAST = 2  # rows and columns that the last layer sees


@dataclass(frozen=True)
class RunsSirens(Method):
    """Runs SIRENs of two coordinates at places, and classifies what they compute by convolutions.

    It reads nothing but weights, which are run.

    Attributes:
        places: Where SIRENs are evaluated.
        widths: Channels of the convolutions; rows and columns are halved between them.
        dropout: Before the last layer.
    """

    places: Places
    widths: tuple[int, ...] = (32, 64, 128)
    dropout: float = 0.3


@dataclass(frozen=True)
class ShownImage(RunsSirens):
    """Reads what SIRENs show.

    It learns nothing of their weights: it tells how much of an image's class a SIREN still shows.
    """

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        assert interface.out_features is not None
        maps = SirenMaps(interface.spec, self.places, num_layers=1)
        return Raw(
            maps,
            *convolutions((maps.channels, *self.widths)),
            nn.MaxPool2d(2),
            *logits(self.widths[-1], interface.out_features, self.dropout),
        )


def logits(channels: int, out_features: int, dropout: float) -> list[nn.Module]:
    """Reads feature maps `(n, channels, h, w)` of any size: `(n, out_features)`."""
    return [
        nn.AdaptiveAvgPool2d(_LAST),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(_LAST**2 * channels, out_features),
    ]


class SirenMaps(nn.Module):
    """What the last layers of SIRENs of two coordinates compute at places.

    Args:
        spec: Their symmetry.
        places: Where.
        num_layers: How many of the last layers; the last one shows the image.

    Attributes:
        channels: Neurons of these layers, `c`.

    Shape:
        Features `(n, *axes, 1)`, weights as they are, to `(n, c, side, side)`.
    """

    def __init__(self, spec: NetworkSpec, places: Places, num_layers: int) -> None:
        super().__init__()
        self.activations, self.side = SirenActivations(spec, places), places.side
        self.num_layers = num_layers
        self.channels = sum(spec.shapes[bias][0] for bias in spec.vectors[-num_layers:])

    def forward(self, feats: WeightSpaceFeatures) -> Tensor:
        """Runs the SIRENs."""
        computed = torch.cat(self.activations(feats)[-self.num_layers :], dim=1)
        return computed.unflatten(-1, (self.side, self.side))
