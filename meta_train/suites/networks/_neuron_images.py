"""Readers of SIRENs that share a start: what each neuron computes is an image.

Shape legend: `n` SIRENs, `side` x `side` places.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..harness import Interface, Raw
from ._image_readers import convolutions
from ._shown_image import RunsSirens, SirenMaps, logits

_MOMENTUM = 0.1  # of the mean over networks, as in torch's batch normalization


@dataclass(frozen=True)
class NeuronImages(RunsSirens):
    """Reads what the neurons of the last hidden layer compute, and what SIRENs show.

    Neurons are told apart by their numbers, so that SIRENs must be fitted from one start.
    """

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        assert interface.out_features is not None
        maps = SirenMaps(interface.spec, self.places, num_layers=2)
        return Raw(
            maps,
            CenterPlaces(maps.channels, self.places.side),
            nn.BatchNorm2d(maps.channels, affine=False),
            *convolutions((maps.channels, *self.widths)),
            *logits(self.widths[-1], interface.out_features, self.dropout),
        )


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
