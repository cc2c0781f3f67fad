"""Three families that the weights `small` are fine-tuned on: CNNs, attention blocks, regressions.

F=tests/benchmarks/fine_tuning_families.py
nfn-optim train --init small --tasks $F:cnns --out cnns.safetensors
nfn-optim evaluate --checkpoint cnns.safetensors --tasks $F:cnns --peers adamw --steps 200
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meta_train import TaskFamily
from meta_train.tasks import ImageCNNs, ModuleTask, Task, load_data

_SAMPLES, _VALIDATION = 2_000, 500
_SINES = 4


class Encoder(nn.Module):
    """Classifies digits whose rows are its tokens."""

    def __init__(self, side: int, layers: int, hidden: int) -> None:
        super().__init__()
        self.embed = nn.Linear(side, 32)
        self.places = nn.Parameter(0.02 * torch.randn(side, 32))
        block = nn.TransformerEncoderLayer(32, 4, hidden, dropout=0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of classes, from images (images, rows, columns)."""
        scores: Tensor = self.head(self.blocks(self.embed(images) + self.places).mean(1))
        return scores


class AttentionBlocks(TaskFamily):
    """Encoders of width 32 on MNIST, 14x14: one or two blocks, batches of 16 to 128."""

    def sample(self, generator: torch.Generator) -> Task:
        """Draws images, a depth, a width and a batch size."""
        data = load_data("mnist")
        chosen = torch.randperm(len(data.x_train), generator=generator)[: _SAMPLES + _VALIDATION]
        images = F.avg_pool2d(data.x_train[chosen], 2).squeeze(1)
        labels = data.y_train[chosen]
        layers, hidden = _draw((1, 2), generator), _draw((32, 64, 128), generator)
        return ModuleTask(
            partial(Encoder, 14, layers, hidden),
            F.cross_entropy,
            (images[:_SAMPLES], labels[:_SAMPLES]),
            validation_data=(images[_SAMPLES:], labels[_SAMPLES:]),
            batch_size=_draw((16, 32, 64, 128), generator),
        )


class Sines(TaskFamily):
    """MLPs 8-w-1 that fit sums of sines, with batches of 32 to 256."""

    def sample(self, generator: torch.Generator) -> Task:
        """Draws a function, a width, an activation and a batch size."""
        inputs = torch.randn(_SAMPLES + _VALIDATION, 8, generator=generator)
        waves = torch.randn(8, _SINES, generator=generator) / 8**0.5
        phases = 6.3 * torch.rand(_SINES, generator=generator)
        targets = torch.sin(2 * inputs @ waves + phases).sum(1, keepdim=True)
        width = _draw((16, 32, 64, 128), generator)
        activation = (nn.Tanh, nn.ReLU, nn.GELU)[_draw((0, 1, 2), generator)]
        return ModuleTask(
            lambda: nn.Sequential(nn.Linear(8, width), activation(), nn.Linear(width, 1)),
            F.mse_loss,
            (inputs[:_SAMPLES], targets[:_SAMPLES]),
            validation_data=(inputs[_SAMPLES:], targets[_SAMPLES:]),
            batch_size=_draw((32, 64, 128, 256), generator),
        )


def _draw(choices: tuple[int, ...], generator: torch.Generator) -> int:
    return choices[int(torch.randint(len(choices), (), generator=generator))]


cnns = ImageCNNs("mnist", max_side=14, max_channels=16)
attention = AttentionBlocks()
regressions = Sines()
