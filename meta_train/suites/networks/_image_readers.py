"""Parts of networks that read images which SIRENs show at places of a grid.

Shape legend: `n` images of `c` channels, `side` x `side` places or `p` in all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from torch import Tensor, nn


class ImageReader(Protocol):
    """How an editor reads the image that a SIREN shows.

    Attributes:
        maps: How many maps it draws beside what it tells of the whole image.
    """

    @property
    def maps(self) -> int: ...

    def build(self, channels: int, side: int, told: int) -> nn.Module:
        """Makes the network.

        It goes from `(n, c, p)` to numbers of the whole image, `(n, told)`, and maps, `(n, maps,
        p)`.

        Raises:
            ValueError: If there are too few places.
        """


@dataclass(frozen=True)
class PixelMLP:
    """One hidden layer, twice as wide as what it tells, reads all places; there are no maps."""

    @property
    def maps(self) -> int:
        """None."""
        return 0

    def build(self, channels: int, side: int, told: int) -> nn.Module:
        """See `ImageReader`."""
        return TellImage(
            nn.Linear(channels * side**2, 2 * told), nn.ReLU(), nn.Linear(2 * told, told), nn.ReLU()
        )


class TellImage(nn.Sequential):
    """Layers that read places one after another.

    Shape:
        `(n, c, p)` to `(n, told)` and no maps, `(n, 0, p)`.
    """

    def forward(self, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Reads images."""
        return super().forward(shown.flatten(1)), shown[:, :0]


@dataclass(frozen=True)
class ConvolutionalReader:
    """Convolutions read the image, and draw maps of it.

    Attributes:
        widths: Channels of the convolutions, two or more; rows and columns are halved between them.
        maps: Of all places, drawn from the first convolution by two more.

    Raises:
        ValueError: If there are fewer widths.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    maps: int = 8

    def __post_init__(self) -> None:
        if len(self.widths) < 2:
            raise ValueError(f"a ConvolutionalReader needs at least two widths; got {self.widths}.")

    def build(self, channels: int, side: int, told: int) -> nn.Module:
        """See `ImageReader`."""
        least = 2 ** (len(self.widths) - 1)
        if side < least:
            raise ValueError(
                f"{len(self.widths)} convolutions need at least {least} places along every "
                f"coordinate, as they halve their number; got {side}. Take more places, or fewer "
                "widths."
            )
        return MapImage(channels, side, told, self)


class MapImage(nn.Module):
    """The network of a `ConvolutionalReader`.

    Args:
        channels: Of the images.
        side: Rows and columns of places.
        told: Numbers of the whole image.
        config: Widths and maps.

    Shape:
        `(n, c, p)` to `(n, told)` and `(n, maps, p)`.
    """

    def __init__(self, channels: int, side: int, told: int, config: ConvolutionalReader) -> None:
        super().__init__()
        self.side = side
        first, *_, last = config.widths
        self.look = nn.Sequential(*convolutions((channels, first)))
        least = side >> (len(config.widths) - 1)
        self.tell = nn.Sequential(
            nn.MaxPool2d(2),
            *convolutions(config.widths),
            nn.Flatten(),
            nn.Linear(last * least**2, told),
            nn.ReLU(),
        )
        self.draw = nn.Sequential(
            *convolutions((first, first)), nn.Conv2d(first, config.maps, 3, padding=1)
        )

    def forward(self, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Reads images."""
        seen = self.look(shown.unflatten(-1, (self.side, self.side)))
        return self.tell(seen), self.draw(seen).flatten(2)


def convolution(n_in: int, n_out: int) -> list[nn.Module]:
    """A convolution of 3x3, its normalization and activation; rows and columns are kept."""
    return [
        nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(),
    ]


def convolutions(widths: tuple[int, ...]) -> list[nn.Module]:
    """Convolutions from each width to the next; rows and columns are halved in between."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [*convolution(n_in, n_out), nn.MaxPool2d(2)]
    return layers[:-1]
