"""Images that classifiers agree on, found from the classifiers alone.

Many networks that learned one task see the same in an image only where it is much like those that
they learned from: an image of which all say that it is a 3 looks like a 3 (as in distillation
without data; Yin et al., arXiv 1912.08795).

Shape legend: `n` networks of `d` parameters, `k` images `(c, h, w)`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Answer = Callable[[Tensor, Tensor], Tensor]
"""From numbers of networks `(n,)` and images to logits `(n, k, classes)`."""

_STEPS, _RATE, _NETWORKS = 600, 0.2, 24
_SMOOTH, _DARK = 0.25, 0.15  # weights of differences between neighbors, and of brightness
_MEAN, _BLOBS, _PLACES = -1.0, 5.0, 5  # of pixels before their sigmoid, at the start
_TURN, _STRETCH, _SHEAR, _SHIFT = 0.35, 0.2, 0.2, 0.2  # largest; in radians, parts, half images


def consensus_images(
    answer: Answer, networks: int, classes: Tensor, shape: tuple[int, ...]
) -> Tensor:
    """Images `(k, c, h, w)` of given classes, with pixels between 0 and 1.

    They minimize the cross-entropy of all networks, a few drawn a step, and are smooth and dark as
    far as networks do not ask for more. Each starts from blobs of its own, which become parts of
    what it shows, so that images of a class differ. At the end each is turned, stretched, sheared
    and shifted at random, so that some are hard.

    Args:
        answer: Runs classifiers that have learned the task. Gradients must reach the images.
        networks: How many there are.
        classes: `(k,)`.
        shape: Of an image.
    """
    pixels = _blobs(len(classes), shape).to(classes.device).requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr=_RATE)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, _STEPS)
    for _ in range(_STEPS):
        some = torch.randint(networks, (_NETWORKS,), device=classes.device)
        offset = torch.randint(-1, 2, (2,)).tolist()
        images = pixels.sigmoid()
        logits = answer(some, images.roll(offset, (-2, -1)))
        loss = F.cross_entropy(logits.flatten(0, 1), classes.repeat(len(logits)))
        loss = loss + _SMOOTH * _roughness(images) + _DARK * images.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return _moved(pixels.detach().sigmoid())


def _blobs(count: int, shape: tuple[int, ...]) -> Tensor:
    """Noise of two scales: of pixels, and of a few places of an image."""
    channels, *sides = shape
    coarse = torch.randn(count, channels, _PLACES, _PLACES)
    blobs = F.interpolate(coarse, sides, mode="bilinear", align_corners=True)
    return _MEAN + _BLOBS * blobs + torch.randn(count, *shape)


def _roughness(images: Tensor) -> Tensor:
    """Mean difference of neighbors along rows and columns."""
    return images.diff(dim=-1).abs().mean() + images.diff(dim=-2).abs().mean()


def _moved(images: Tensor) -> Tensor:
    """Each image after an affine map of its own, dark where it shows nothing."""

    def draw(largest: float) -> Tensor:
        return largest * (2 * torch.rand(len(images), device=images.device) - 1)

    angle, shear = draw(_TURN), draw(_SHEAR)
    width, height = 1 + draw(_STRETCH), 1 + draw(_STRETCH)
    first = torch.stack([width * angle.cos(), shear - angle.sin(), draw(_SHIFT)], dim=1)
    second = torch.stack([angle.sin(), height * angle.cos(), draw(_SHIFT)], dim=1)
    places = F.affine_grid(
        torch.stack([first, second], dim=1), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, places, align_corners=False)
