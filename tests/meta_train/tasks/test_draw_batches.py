"""Batches of many networks are those that `batch` gives each of them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meta_train.tasks import ModuleTask, draw_batches, stack


class Noisy(ModuleTask):
    """Batches of its own."""

    def batch(self, generator):
        inputs, targets = super().batch(generator)
        return inputs + torch.randn(inputs.shape, generator=generator), targets


def generators(seeds=(0, 7, 3)):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("count", [1, 5, 130])
@pytest.mark.parametrize("kind", [ModuleTask, Noisy])
def test_they_are_those_of_every_network_alone(kind, count):
    data = torch.randn(40, 2, 3), torch.randint(4, (40,))
    build = lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 4))  # noqa: E731
    task = kind(build, F.cross_entropy, data, batch_size=5)
    ours, theirs = generators(), generators()
    found = list(draw_batches(task, ours, count))
    assert len(found) == count
    for inputs, targets in found:
        expected = stack([task.batch(g) for g in theirs])
        assert torch.equal(inputs, expected[0])
        assert torch.equal(targets, expected[1])
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.get_state(), b.get_state())
