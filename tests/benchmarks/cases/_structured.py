"""Images, texts and sequences; the networks of tests/architectures among them."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ._case import Case, cross_entropy, digits, squares

_OTHERS = runpy.run_path(str(Path(__file__).parents[2] / "architectures" / "conftest.py"))


def coloured(generator: Generator) -> tuple[Tensor, Tensor]:
    """Noise of 3 x 32 x 32 pixels, brighter in one of five stripes."""
    y = torch.randint(0, 5, (16,), generator=generator)
    x = torch.randn(16, 3, 32, 32, generator=generator)
    for stripe in range(5):
        x[y == stripe, :, 6 * stripe : 6 * stripe + 6] += 0.5
    return x, y


def volumes(generator: Generator) -> tuple[Tensor, Tensor]:
    y = torch.randint(0, 4, (8,), generator=generator)
    x = torch.randn(8, 1, 8, 8, 8, generator=generator)
    for slab in range(4):
        x[y == slab, :, 2 * slab : 2 * slab + 2] += 0.7
    return x, y


def blurred(generator: Generator) -> tuple[Tensor, Tensor]:
    """Spots under noise, and the spots."""
    line, centre = torch.linspace(-1, 1, 16), torch.rand(8, 2, generator=generator) * 1.2 - 0.6
    down = (line[None, :, None] - centre[:, :1, None]).square()
    across = (line[None, None] - centre[:, 1:, None]).square()
    spots = torch.exp(-12 * (down + across))[:, None]
    return spots + 0.5 * torch.randn(spots.shape, generator=generator), spots


def words(generator: Generator) -> Tensor:
    """Texts of 24 words; nine of ten follow from the word before."""
    text = torch.randint(0, 11, (16, 24), generator=generator)
    for place in range(1, 24):
        follows = torch.rand(16, generator=generator) < 0.9
        text[:, place] = torch.where(follows, (text[:, place - 1] * 7 + 3) % 11, text[:, place])
    return text


def next_word(model: Callable[..., Tensor], text: Tensor) -> Tensor:
    scores = model(text[:, :-1])  # of all places, or of the last
    return F.cross_entropy(scores.flatten(0, 1), text[:, -scores.shape[1] :].flatten())


def short(draw: Callable[[Generator], Tensor]) -> Callable[[Generator], Tensor]:
    return lambda generator: draw(generator)[:, :16]


class Recurrent(nn.Module):
    def __init__(self, kind: Any, tied: bool = False) -> None:
        super().__init__()
        self.words, self.body = nn.Embedding(11, 64), kind(64, 64, batch_first=True)
        self.head = nn.Linear(64, 11)
        if tied:
            self.head.weight = self.words.weight

    def forward(self, text: Tensor) -> Tensor:
        return self.head(self.body(self.words(text))[0])


class Elman(nn.Module):
    """A recurrence by hand over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.again, self.head = nn.Linear(8, 64), nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 64)
        for row in x.view(-1, 8, 8).unbind(1):
            h = torch.tanh(self.read(row) + self.again(h))
        return self.head(h)


class PostNorm(nn.Module):
    """Eight blocks of torch.nn over the rows of an image, normalized behind each part."""

    def __init__(self, norm_first: bool = False) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        self.places = nn.Parameter(0.02 * torch.randn(8, 32))
        block = nn.TransformerEncoderLayer(32, 4, 128, 0.0, batch_first=True, norm_first=norm_first)
        self.body = nn.TransformerEncoder(block, 8, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.embed(x.view(-1, 8, 8)) + self.places).mean(1))


class Denoiser(nn.Module):
    """A U-Net with attention in the middle."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.down, self.middle = self._conv(1, width), self._conv(width, 2 * width)
        self.attend, self.project = nn.Conv2d(2 * width, 6 * width, 1), nn.Conv2d(32, 32, 1)
        self.up, self.join = nn.ConvTranspose2d(2 * width, width, 2, 2), self._conv(32, width)
        self.head = nn.Conv2d(width, 1, 1)

    @staticmethod
    def _conv(inputs: int, outputs: int) -> nn.Sequential:
        conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        return nn.Sequential(conv, nn.GroupNorm(4, outputs), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        first = self.down(x)
        h = self.middle(F.max_pool2d(first, 2))
        b, c, rows, cols = h.shape
        q, k, v = self.attend(h).view(b, 3, c, rows * cols).unbind(1)
        seen = v @ (q.transpose(1, 2) @ k / c**0.5).softmax(-1).transpose(1, 2)
        h = h + self.project(seen.view(b, c, rows, cols))
        return self.head(self.join(torch.cat([first, self.up(h)], 1)))


class ConvNeXtBlock(nn.Module):
    """Its branch begins at a millionth of its size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.scale = nn.LayerNorm(width), nn.Parameter(1e-6 * torch.ones(width))
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        h = self.narrow(F.gelu(self.wide(h))) * self.scale
        return x + h.permute(0, 3, 1, 2)


def pooled(body: nn.Module, width: int, pool: nn.Module) -> nn.Sequential:
    return nn.Sequential(body, pool, nn.Flatten(), nn.Linear(width, 5))


def convnext() -> nn.Sequential:
    body = nn.Sequential(nn.Conv2d(3, 32, 4, 4), ConvNeXtBlock(32), ConvNeXtBlock(32))
    return pooled(body, 32, nn.AdaptiveAvgPool2d(1))


def conv3d() -> nn.Sequential:
    first = (nn.Conv3d(1, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU(), nn.MaxPool3d(2))
    body = nn.Sequential(*first, nn.Conv3d(8, 16, 3, padding=1), nn.ReLU())
    return pooled(body, 16, nn.AdaptiveAvgPool3d(1))


CASES = {
    **{
        f"{name}, images": Case(kind.make, coloured, cross_entropy, 60)
        for name, kind in _OTHERS["ARCHITECTURES"].items()
    },
    **{
        f"{name}, words": Case(make, short(words), next_word)
        for name, make in _OTHERS["LANGUAGE_MODELS"].items()
    },
    "ConvNeXt": Case(convnext, coloured, cross_entropy, 60),
    "Conv3d": Case(conv3d, volumes, cross_entropy),
    "denoising U-Net": Case(Denoiser, blurred, squares),
    "transformer, norm behind": Case(PostNorm, digits(), cross_entropy, 60),
    "transformer, norm before": Case(lambda: PostNorm(True), digits(), cross_entropy, 60),
    "LSTM": Case(lambda: Recurrent(nn.LSTM), words, next_word),
    "LSTM, tied": Case(lambda: Recurrent(nn.LSTM, tied=True), words, next_word),
    "GRU": Case(lambda: Recurrent(nn.GRU), words, next_word),
    "recurrence by hand": Case(Elman, digits(), cross_entropy),
}
