"""Generative networks: a VAE, a convolutional autoencoder, a small diffusion U-Net.

The noise of a step is part of its batch, so that it is the same for every optimizer.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._data import images, photograph
from ._problem import Batch, Problem, draw, held_out_loss

_LATENT = 20
_PATCH = 16  # pixels a side of a photograph's patch


def vae(generator: torch.Generator) -> Problem:
    """Fashion-MNIST, 784-200-20-200-784."""
    data = images("fashion_mnist")
    held_out = data.test[0], torch.zeros(len(data.test[0]), _LATENT)
    return Problem(
        _VAE(), _with_noise(data.train[0], generator), _vae_loss, held_out_loss(_vae_loss, held_out)
    )


class _VAE(nn.Module):
    """Images and noise `(b, 20)` to logits of pixels, means and log variances."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 200), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(200, _LATENT), nn.Linear(200, _LATENT)
        self.decoder = nn.Sequential(nn.Linear(_LATENT, 200), nn.ReLU(), nn.Linear(200, 784))

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.encoder(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        return self.decoder(mean + noise * (log_variance / 2).exp()), mean, log_variance


def _with_noise(x: Tensor, generator: torch.Generator) -> Iterator[Batch]:
    for (drawn,) in draw((x,), 64, generator):
        yield drawn, torch.randn(64, _LATENT, generator=generator)


def _vae_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Negative evidence lower bound a pixel."""
    x, noise = batch
    logits, mean, log_variance = model(x, noise)
    fit = F.binary_cross_entropy_with_logits(logits, x.flatten(1))
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
    return fit + divergence / 784


def autoencoder(generator: torch.Generator) -> Problem:
    """Farsi digits through a bottleneck of 16 numbers, convolutions both ways."""
    return reconstruction(conv_autoencoder(), "hoda_farsi_digits", generator)


def conv_autoencoder() -> nn.Module:
    """Images `(b, 1, 28, 28)` to logits of the same shape."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 16),
        nn.Linear(16, 32 * 7 * 7),
        nn.Unflatten(1, (32, 7, 7)),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),
    )


def reconstruction(model: nn.Module, name: str, generator: torch.Generator) -> Problem:
    """Cross-entropy of pixels between images and what the network makes of them."""
    data = images(name)
    held_out = (data.test[0],)
    score = held_out_loss(_pixel_loss, held_out)
    return Problem(model, draw((data.train[0],), 32, generator), _pixel_loss, score)


def _pixel_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.binary_cross_entropy_with_logits(model(batch[0]), batch[0])


def diffusion(generator: torch.Generator) -> Problem:
    """The noise in patches of a photograph, predicted by a U-Net that knows how much there is."""
    train, test = photograph("china.jpg"), photograph("flower.jpg")
    held_out = next(_noisy_patches(test, 64, torch.Generator().manual_seed(0)))
    score = held_out_loss(_noise_loss, held_out)
    return Problem(_UNet(24), _noisy_patches(train, 32, generator), _noise_loss, score)


class _UNet(nn.Module):
    """One level down and up; patches `(b, 3, 16, 16)` and noise levels `(b,)` in [0, 1]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.level = nn.Sequential(nn.Linear(1, channels), nn.SiLU(), nn.Linear(channels, channels))
        self.enter = nn.Conv2d(3, channels, 3, padding=1)
        self.down = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(4, 2 * channels)
        self.middle = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1)
        self.up = nn.ConvTranspose2d(2 * channels, channels, 4, stride=2, padding=1)
        self.exit = nn.Conv2d(2 * channels, 3, 3, padding=1)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        top = F.silu(self.enter(x) + self.level(level[:, None])[:, :, None, None])
        low = F.silu(self.middle(F.silu(self.norm(self.down(top)))))
        return self.exit(torch.cat([top, F.silu(self.up(low))], dim=1))


def _noisy_patches(photo: Tensor, size: int, generator: torch.Generator) -> Iterator[Batch]:
    """Patches in [-1, 1] mixed with noise, the levels of noise, and the noise."""
    patches = photo.unfold(1, _PATCH, 4).unfold(2, _PATCH, 4).permute(1, 2, 0, 3, 4).flatten(0, 1)
    for (drawn,) in draw((2 * patches - 1,), size, generator):
        level = torch.rand(size, generator=generator)
        noise = torch.randn(drawn.shape, generator=generator)
        angle = (level * torch.pi / 2)[:, None, None, None]
        yield angle.cos() * drawn + angle.sin() * noise, level, noise


def _noise_loss(model: nn.Module, batch: Batch) -> Tensor:
    noisy, level, noise = batch
    return F.mse_loss(model(noisy, level), noise)
