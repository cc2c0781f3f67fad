"""Masks of MLPs written from what their neurons read and what reads them.

A trained weight moves from its start along what its layer reads and what is asked of its output, so
the kept weights of a neuron are alike: they are products of what is known of both of its ends.
Renumbering neurons renumbers the masks. Shape legend: `n` networks, a population has `h` neurons,
`c` channels of features, `k` products of rank `r`, `z` latent channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures

from ..harness import Interface, Method
from ._mask_vae import LATENT_CHANNELS, MaskVAE


@dataclass(frozen=True)
class NeuronMasks(Method):
    """A `MaskVAE` for MLPs, with latents of neurons: they stand beside the biases.

    Entries that are drawn one by one say nothing of each other. A latent of a neuron turns all of
    its weights one way.

    Attributes:
        width: Of the states of neurons, and of the hidden layers of their MLPs.
        rank: Of a product of two populations' states; also, how many numbers neurons tell others.
        products: How many of them an entry reads.
        hidden: Hidden numbers of an entry.
    """

    width: int = 64
    rank: int = 16
    products: int = 4
    hidden: int = 8

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        spec = interface.spec
        return MaskVAE(NeuronEncoder(spec, self), NeuronDecoder(spec, self))


class NeuronStates(nn.Module):
    """States of hidden neurons, by one pass forwards through the weights and one back.

    Inputs and outputs are told apart: what they tell the neurons beside them is learned.

    Args:
        spec: The symmetry of MLPs, with a bias for every layer.
        config: Widths.
        channels: Of the weights that are read.
        own: Numbers of each neuron that are given.

    Shape:
        Weights `(n, c, out, in)` of each layer and `(n, h, own)` of each hidden population, to
        states `(n, h, width)` of each.
    """

    def __init__(self, spec: NetworkSpec, config: NeuronMasks, channels: int, own: int) -> None:
        super().__init__()
        shapes = [spec.shapes[name] for name in spec.weights]
        told, width, hidden = config.rank, config.width, range(len(shapes) - 1)
        self.inputs = nn.Parameter(torch.randn(shapes[0][1], told))
        self.outputs = nn.Parameter(torch.randn(shapes[-1][0], told))
        read = channels * told
        self.forwards = nn.ModuleList(_mlp(read + own, width, told) for _ in hidden)
        self.states = nn.ModuleList(_mlp(2 * read + own, width, width) for _ in hidden)
        self.backwards = nn.ModuleList(nn.Linear(width, told) for _ in hidden)

    def forward(self, weights: list[Tensor], own: list[Tensor]) -> list[Tensor]:
        """See the class."""
        tell, heard = self.inputs.expand(len(weights[0]), -1, -1), []
        for weight, given, mlp in zip(weights, own, self.forwards, strict=False):
            heard.append(_hear(weight, tell))
            tell = mlp(torch.cat([heard[-1], given], -1))
        tell, states = self.outputs.expand(len(weights[0]), -1, -1), []
        for place in reversed(range(len(heard))):
            behind = _hear(weights[place + 1].mT, tell)
            states.append(self.states[place](torch.cat([heard[place], behind, own[place]], -1)))
            tell = self.backwards[place](states[-1])
        return states[::-1]


class NeuronDecoder(nn.Module):
    """Logits of masks from the states of neurons.

    Args:
        spec: The symmetry of MLPs.
        config: Widths.

    Shape:
        Starts and latents `(n, *axes, 1 + z)` to `(n, *axes, 1)`.
    """

    def __init__(self, spec: NetworkSpec, config: NeuronMasks) -> None:
        super().__init__()
        self.spec, self.shape = spec, (config.products, config.rank)
        self.read = NeuronStates(spec, config, 1, LATENT_CHANNELS)
        size, shapes = config.products * config.rank, [spec.shapes[name] for name in spec.weights]
        self.inputs = nn.Parameter(torch.randn(shapes[0][1], size))
        self.outputs = nn.Parameter(torch.randn(shapes[-1][0], size))
        hidden = range(len(shapes) - 1)
        self.as_output = nn.ModuleList(nn.Linear(config.width, size) for _ in hidden)
        self.as_input = nn.ModuleList(nn.Linear(config.width, size) for _ in hidden)
        self.entries = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(2 * config.products, config.hidden, 1),
                nn.SiLU(),
                nn.Conv2d(config.hidden, 1, 1),
            )
            for _ in spec.weights
        )

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """See the class."""
        starts = [feats[name][..., :1].movedim(-1, 1) for name in self.spec.weights]
        states = self.read(starts, [feats[name][..., 1:] for name in self.spec.vectors[:-1]])
        batch = len(starts[0])
        ends_in = [self.inputs.expand(batch, -1, -1), *_each(self.as_input, states)]
        ends_out = [*_each(self.as_output, states), self.outputs.expand(batch, -1, -1)]
        logits = {name: feats[name][..., :1] for name in self.spec.vectors}
        for place, name in enumerate(self.spec.weights):
            moves = self._by_product(ends_out[place]) @ self._by_product(ends_in[place]).mT
            moves = moves / sqrt(self.shape[1])
            entries = torch.cat([(starts[place] + moves).abs(), moves], 1)
            logits[name] = self.entries[place](entries).movedim(1, -1)
        return feats.like([logits[name] for name in self.spec.names])

    def _by_product(self, ends: Tensor) -> Tensor:
        """`(n, h, k * r)` as `(n, k, h, r)`."""
        return ends.unflatten(-1, self.shape).movedim(-2, 1)


class NeuronEncoder(nn.Module):
    """Means and log variances of neurons' latents; other entries say what the prior does.

    Args:
        spec: The symmetry of MLPs.
        config: Widths.

    Shape:
        Starts and masks `(n, *axes, 2)` to `(n, *axes, 2 * z)`.
    """

    def __init__(self, spec: NetworkSpec, config: NeuronMasks) -> None:
        super().__init__()
        self.spec = spec
        self.read = NeuronStates(spec, config, 2, 0)
        self.write = nn.ModuleList(
            nn.Linear(config.width, 2 * LATENT_CHANNELS) for _ in spec.vectors[:-1]
        )

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """See the class."""
        hidden, weights = self.spec.vectors[:-1], []
        for name in self.spec.weights:
            start, mask = feats[name].unbind(-1)
            weights.append(torch.stack([start * mask, mask], 1))
        states = self.read(weights, [feats[name][..., :0] for name in hidden])
        written = dict(zip(hidden, _each(self.write, states), strict=True))
        for name in set(self.spec.names) - set(hidden):
            written[name] = feats[name].new_zeros(*feats[name].shape[:-1], 2 * LATENT_CHANNELS)
        return feats.like([written[name] for name in self.spec.names])


def _hear(weights: Tensor, tell: Tensor) -> Tensor:
    """What neurons are told through weights `(n, c, h, i)` by `(n, i, r)`: `(n, h, c * r)`."""
    heard = weights @ tell.unsqueeze(1) / sqrt(weights.shape[-1])
    return heard.movedim(1, -2).flatten(-2)


def _each(layers: nn.ModuleList, states: list[Tensor]) -> list[Tensor]:
    return [layer(state) for layer, state in zip(layers, states, strict=True)]


def _mlp(n_in: int, width: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, width), nn.ReLU(), nn.Linear(width, n_out))
