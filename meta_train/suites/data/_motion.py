"""Random motions of images and of the coordinates that they are shown at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...support import require_not_negative
from ...zoo import image_grid
from ._images import Images


@dataclass(frozen=True)
class Motion:
    """Draws where moved images have their pixels: turned, stretched, sheared and shifted.

    Attributes:
        linear: Standard deviation of the entries of a linear map of the coordinates around the
            identity.
        shift: Standard deviation of its shift; the image is 2 wide.
        mirror: Whether left and right change places in half of the images.

    Raises:
        ValueError: If a number is negative.
    """

    linear: float
    shift: float
    mirror: bool = False

    def __post_init__(self) -> None:
        require_not_negative(self, "linear", "shift")

    def __call__(self, coords: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """Moves points `(m, d)` for `n` images, each on its own: `(n, m, d)`."""
        d = coords.shape[-1]
        maps = torch.eye(d) + self.linear * torch.randn(n, d, d, generator=generator)
        if self.mirror:
            maps[..., -1] *= torch.randn(n, 1, generator=generator).sign()
        shifts = self.shift * torch.randn(n, 1, d, generator=generator)
        return coords @ maps.to(coords) + shifts.to(coords)


@dataclass(frozen=True)
class MoveImages:
    """Moves images at random; what comes in from outside is black.

    Attributes:
        motion: How far.
    """

    motion: Motion

    def __call__(self, images: Images, generator: torch.Generator) -> Images:
        """Moves every image on its own; labels stay."""
        pixels = images.features
        n, _, height, width = pixels.shape
        places = self.motion(image_grid(height, width).to(pixels), n, generator)
        columns_first = places.flip(-1).unflatten(1, (height, width))
        moved = F.grid_sample(pixels, columns_first, align_corners=True)
        return Images(moved.clamp(0, 1), images.targets)
