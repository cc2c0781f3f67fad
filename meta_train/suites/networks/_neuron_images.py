"""Readers of SIRENs that share a start: what each neuron computes is an image.

Shape legend: `n` SIRENs, `h` neurons of the last hidden layer, `c` values, `side` x `side` places.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures

from ..harness import Interface, Method, Raw
from ._neuron_editor import SirenActivations
from ._shown_image import convolutions, logits
from ._siren_pass import Places

_MOMENTUM = 0.1  # of the mean over networks, as in torch's batch normalization


@dataclass(frozen=True)
class NeuronImages(Method):
    """Runs SIRENs of two coordinates at places, and reads what neurons compute by convolutions.

    It reads nothing but weights, which are run. Channels are the neurons of the last hidden layer,
    and what the SIREN shows. Neurons are told apart by their numbers, so that SIRENs must be fitted
    from one start.

    Attributes:
        places: Where SIRENs are evaluated.
        widths: Channels of the convolutions; rows and columns are halved between them.
        dropout: Before the last layer.
    """

    places: Places
    widths: tuple[int, ...] = (32, 64, 128)
    dropout: float = 0.3

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        assert interface.out_features is not None
        maps = NeuronMaps(interface.spec, self.places)
        return Raw(
            maps,
            CenterPlaces(maps.channels, self.places.side),
            nn.BatchNorm2d(maps.channels, affine=False),
            *convolutions((maps.channels, *self.widths)),
            *logits(self.widths[-1], interface.out_features, self.dropout),
        )


class NeuronMaps(nn.Module):
    """What the last hidden layer of SIRENs and the SIRENs themselves compute at places.

    Args:
        spec: Their symmetry.
        places: Where.

    Attributes:
        channels: Neurons and values, `h + c`.

    Shape:
        Features `(n, *axes, 1)`, weights as they are, to `(n, h + c, side, side)`.
    """

    def __init__(self, spec: NetworkSpec, places: Places) -> None:
        super().__init__()
        self.activations, self.side = SirenActivations(spec, places), places.side
        self.channels = sum(spec.shapes[bias][0] for bias in spec.vectors[-2:])

    def forward(self, feats: WeightSpaceFeatures) -> Tensor:
        """Runs the SIRENs."""
        computed = torch.cat(self.activations(feats)[-2:], dim=1)
        return computed.unflatten(-1, (self.side, self.side))


class CenterPlaces(nn.Module):
    """Subtracts the mean over the networks of a batch at every place; later, of many batches.

    What all networks of a shared start compute alike is left out, and scales stay as they are.

    Args:
        channels: Of the maps.
        side: Rows and columns.

    Shape:
        Maps `(n, channels, side, side)` to the same.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(channels, side, side))

    def forward(self, maps: Tensor) -> Tensor:
        """Centers maps."""
        if not self.training:
            return maps - self.mean
        mean = maps.mean(0)
        self.mean.lerp_(mean.detach(), _MOMENTUM)
        return maps - mean
