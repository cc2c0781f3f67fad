"""Readers of SIRENs that run them at places of a grid, and look at the image that they show."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures

from ..harness import Interface, Method, Raw
from ._image_readers import convolutions
from ._neuron_editor import SirenActivations
from ._siren_pass import Places

_LAST = 2  # rows and columns that the last layer sees


@dataclass(frozen=True)
class ShownImage(Method):
    """Runs SIRENs of two coordinates at places, and classifies what they show by convolutions.

    It reads nothing but weights, but learns nothing of them: it tells how much of an image's class
    a SIREN still shows.

    Attributes:
        places: Where SIRENs are evaluated.
        widths: Channels of the convolutions; each halves rows and columns.
        dropout: Before the last layer.
    """

    places: Places
    widths: tuple[int, ...] = (32, 64, 128)
    dropout: float = 0.3

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        assert interface.out_features is not None
        shown = interface.spec.shapes[interface.spec.vectors[-1]][0]
        return Raw(
            Show(interface.spec, self.places),
            *convolutions((shown, *self.widths)),
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


class Show(nn.Module):
    """The images that SIRENs of two coordinates show.

    Args:
        spec: Their symmetry.
        places: Where.

    Shape:
        Features `(n, *axes, 1)`, weights as they are, to `(n, c, side, side)`.
    """

    def __init__(self, spec: NetworkSpec, places: Places) -> None:
        super().__init__()
        self.activations, self.side = SirenActivations(spec, places), places.side

    def forward(self, feats: WeightSpaceFeatures) -> Tensor:
        """Runs the SIRENs."""
        return self.activations(feats)[-1].unflatten(-1, (self.side, self.side))
