"""Readers of SIRENs that share a start: a linear map tells from weights what they were fitted to.

After one step of gradient descent weights are a linear function of the image. The map back is found
by least squares. Shape legend: `n` SIRENs of `p` parameters, `c` values, `side` x `side` places.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nfn_optim import NetworkSpec, WeightSpaceFeatures

from ...population import as_rows
from ..harness import Examples, Interface, Method, Prepared, Raw
from ._image_readers import convolution
from ._shown_image import logits

_RIDGE = 1.0  # counts as much as one SIREN whose entries are all one deviation off
_TINY = 1e-12  # added to deviations: an entry may be the same everywhere


@dataclass(frozen=True)
class DecodedImage(Method):
    """Reads by convolutions the images that a linear map makes of weights.

    Entries are told apart by their numbers, so that SIRENs must be fitted from one start.

    Attributes:
        side: Rows and columns of the images.
        width: Channels of the first convolutions; the later ones have twice as many.
        dropout: Before the last layer.

    Raises:
        ValueError: If the side is odd.
    """

    side: int = 28
    width: int = 64
    dropout: float = 0.3

    def __post_init__(self) -> None:
        if self.side % 2:
            raise ValueError(f"side must be even, as 2x2 pixels are read as one; got {self.side}.")

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        assert interface.out_features is not None
        decode = LinearDecoder(interface.spec, self.side)
        wide = 2 * self.width
        return Raw(
            decode,
            Bfloat16(
                nn.PixelUnshuffle(2),
                *convolution(4 * decode.channels, self.width),
                Residual(self.width),
                nn.MaxPool2d(2),
                *convolution(self.width, wide),
                Residual(wide),
            ),
            *logits(wide, interface.out_features, self.dropout),
        )


class LinearDecoder(Prepared):
    """The images that SIRENs were fitted to, less their mean, as a linear map tells from weights.

    The map is fitted to the training SIRENs by ridge regression, with every entry in units of its
    own, and then fixed. Before that it is drawn at random.

    Args:
        spec: The symmetry of SIRENs of two coordinates.
        side: Rows and columns of the images.

    Attributes:
        channels: Of the images, `c`.

    Shape:
        Features `(n, *axes, 1)`, weights as they are, to `(n, c, side, side)`.
    """

    def __init__(self, spec: NetworkSpec, side: int) -> None:
        super().__init__()
        self.side, self.channels = side, spec.shapes[spec.vectors[-1]][0]
        self.mean: Tensor
        self.map: Tensor
        self.register_buffer("mean", torch.zeros(spec.num_entries))
        self.register_buffer("map", torch.randn(spec.num_entries, self.channels * side**2))

    def prepare(self, examples: Examples) -> None:
        """Fits the map to SIRENs whose targets are the images `(n, c, h, w)` they were fitted to.

        Images of another size are averaged to that of the decoder.

        Raises:
            ValueError: If targets are not images of as many channels.
        """
        shape = tuple(examples.targets.shape)
        if len(shape) != 4 or shape[1] != self.channels:
            raise ValueError(
                "a LinearDecoder is fitted to SIRENs and the images they were fitted to, of shape "
                f"(n, {self.channels}, h, w); got targets of shape {shape}. Give these images as "
                "the targets of `known`."
            )
        rows = as_rows(examples.features.spec, examples.features.to_params()).double()
        images = F.adaptive_avg_pool2d(examples.targets, self.side).flatten(1).double()
        mean, scale = rows.mean(0), rows.std(0, correction=0) + _TINY
        told = (rows - mean) / scale  # (n, p)
        ridge = _RIDGE * torch.eye(told.shape[1]).to(told)
        found = torch.linalg.solve(told.mT @ told + ridge, told.mT @ (images - images.mean(0)))
        self.mean.copy_(mean)
        self.map.copy_(found / scale.unsqueeze(-1))

    def forward(self, feats: WeightSpaceFeatures) -> Tensor:
        """Images of SIRENs."""
        decoded = (as_rows(feats.spec, feats.to_params()) - self.mean) @ self.map
        return decoded.unflatten(1, (self.channels, self.side, self.side))


class Bfloat16(nn.Sequential):
    """Runs its layers in bfloat16, where torch's autocast does, with channels as the last axis.

    Processors with instructions for it take half the time. Weights are kept in float32.

    Args:
        layers: Of images.

    Shape:
        Images `(n, c, h, w)` to what the layers make of them, with the dtype of the images.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Runs the layers."""
        with torch.autocast(x.device.type, torch.bfloat16):
            written: Tensor = super().forward(x.contiguous(memory_format=torch.channels_last))
        return written.to(x.dtype)


class Residual(nn.Module):
    """A convolution whose output is added to its input (arXiv 1512.03385).

    Args:
        channels: Of both.

    Shape:
        `(n, channels, h, w)` to the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution, self.norm, self.activation = convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Adds."""
        changed: Tensor = self.activation(x + self.norm(self.convolution(x)))
        return changed
