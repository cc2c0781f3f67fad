"""Classifiers of images: a wide MLP and convolutional networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._data import images
from ._problem import Problem, classification


def wide_mlp(generator: torch.Generator) -> Problem:
    """Fashion-MNIST, 784-512-512-10."""
    widths = ((784, 512), (512, 512))
    hidden = [layer for n_in, n_out in widths for layer in (nn.Linear(n_in, n_out), nn.ReLU())]
    model = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(512, 10))
    return classification(model, images("fashion_mnist"), generator)


def digits_mlp(generator: torch.Generator) -> Problem:
    """scikit-learn's digits, 64-32-10."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    return classification(model, images("digits", 8), generator)


def digits_cnn(generator: torch.Generator) -> Problem:
    """The same digits, two convolutions with batch normalization."""
    model = nn.Sequential(
        *_normalized(1, 16), *_normalized(16, 32, stride=2), nn.Flatten(), nn.Linear(32 * 4 * 4, 10)
    )
    return classification(model, images("digits", 8), generator)


def cnn_flatten(generator: torch.Generator) -> Problem:
    """EMNIST, 47 classes, two convolutions whose map is flattened."""
    return classification(_cnn(_flatten(32, 47)), images("emnist_bymerge47"), generator)


def cnn_pool(generator: torch.Generator) -> Problem:
    """Farsi digits, two convolutions and a global pool."""
    return classification(_cnn(_pool(32, 10)), images("hoda_farsi_digits"), generator)


def cnn_batch_norm(generator: torch.Generator) -> Problem:
    """EMNIST, two convolutions with batch normalization."""
    model = nn.Sequential(
        *_normalized(1, 16, stride=2), *_normalized(16, 32, stride=2), *_flatten(32, 47)
    )
    return classification(model, images("emnist_bymerge47"), generator)


def cnn_small_batch(generator: torch.Generator) -> Problem:
    """Pneumonia in X-ray images, batches of eight."""
    return classification(_cnn(_pool(32, 2)), images("pneumoniamnist"), generator, batch=8)


def resnet(generator: torch.Generator) -> Problem:
    """EMNIST at 14x14, a residual network of three widths."""
    blocks = (_Residual(12, 12), _Residual(12, 24, stride=2), _Residual(24, 48, stride=2))
    model = nn.Sequential(*_normalized(1, 12), *blocks, *_pool(48, 47))
    return classification(model, images("emnist_bymerge47", 14), generator)


def convnext(generator: torch.Generator) -> Problem:
    """Fashion-MNIST, patches of 4x4 and two blocks with depthwise convolutions."""
    blocks = [_ConvNeXtBlock(48) for _ in range(2)]
    model = nn.Sequential(nn.Conv2d(1, 48, 4, stride=4), *blocks, *_pool(48, 10))
    return classification(model, images("fashion_mnist"), generator, batch=32)


class _Residual(nn.Module):
    """Two 3x3 convolutions beside a path without, or with one 1x1."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Sequential(*_normalized(channels, out, stride=stride))
        self.second = nn.Sequential(*_normalized(out, out)[:-1])
        straight = stride == 1 and channels == out
        self.beside = nn.Identity() if straight else nn.Conv2d(channels, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.second(self.first(x)) + self.beside(x)).relu()


class _ConvNeXtBlock(nn.Module):
    """A depthwise 7x7 convolution, layer norm over channels and a wide pair of linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.wide = nn.Linear(channels, 4 * channels)
        self.narrow = nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).movedim(1, -1))  # (b, h, w, c)
        y = self.narrow(nn.functional.gelu(self.wide(y)))
        return x + (self.scale * y).movedim(-1, 1)


def _cnn(head: list[nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        *head,
    )


def _normalized(channels: int, out: int, *, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(out), nn.ReLU()]


def _flatten(channels: int, classes: int) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(channels * 7 * 7, classes)]


def _pool(channels: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
