"""Networks that are trained already: whole ones on a second data set, and low-rank additions.

The loss is low at the first step, so that a first step that is too large shows at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from ._generative import conv_autoencoder, reconstruction
from ._problem import Problem
from ._texts import gpt_64, next_characters
from ._transformers import GPT

_STEPS, _RATE = 400, 2e-3  # of the training before


def autoencoder(generator: torch.Generator) -> Problem:
    """An autoencoder of clothes, trained on with Farsi digits."""
    model = copy.deepcopy(_clothes_autoencoder())
    return reconstruction(model, "hoda_farsi_digits", generator)


def code_to_genome(generator: torch.Generator) -> Problem:
    """A transformer trained on source code, then on a genome through additions of rank 4."""
    model = copy.deepcopy(_code_gpt())
    layers = [(n, m) for n, m in model.blocks.named_modules() if isinstance(m, nn.Linear)]
    for name, layer in layers:
        model.blocks.set_submodule(name, _LowRank(layer, 4))
    return next_characters("dna_vibrio_cholerae", lambda _: model, generator, batch=8, length=48)


class _LowRank(nn.Module):
    """A frozen linear layer and a trained one of low rank beside it, zero at first."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Linear(layer.in_features, rank, bias=False)
        self.up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.up(self.down(x))


@cache
def _clothes_autoencoder() -> nn.Module:
    return _trained(lambda g: reconstruction(conv_autoencoder(), "fashion_mnist", g))


@cache
def _code_gpt() -> GPT:
    model = _trained(gpt_64).requires_grad_(False)
    assert isinstance(model, GPT)
    return model


def _trained(problem: Callable[[torch.Generator], Problem]) -> nn.Module:
    """A network after a fixed number of steps of AdamW; the same in every process."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        posed = problem(generator)
        optimizer = torch.optim.AdamW(posed.model.parameters(), lr=_RATE)
        for _, batch in zip(range(_STEPS), posed.batches, strict=False):
            optimizer.zero_grad()
            posed.loss(posed.model, batch).backward()
            optimizer.step()
    return posed.model
