"""Editors of SIRENs that read what every neuron computes at places of a grid.

Weights are not read entry by entry: a hidden neuron is what it shows at the places, and a change of
a weight between two of them is a product of what both write. Renumbering neurons renumbers the
changes. Shape legend: `n` networks, `d` coordinates, `c` values, `p` places, `k` networks written
for each; a population has `h` hidden neurons.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures

from ..harness import Interface, Method, Raw
from ._image_readers import ImageReader
from ._siren_pass import Places


class SirenActivations(nn.Module):
    """What SIRENs compute at places, layer by layer.

    Args:
        spec: Their symmetry.
        places: Where.

    Shape:
        Features `(n, *axes, 1)`, weights as they are, to a list: `(n, h, p)` for each hidden
        population, and `(n, c, p)`.
    """

    def __init__(self, spec: NetworkSpec, places: Places) -> None:
        super().__init__()
        self.layers, self.omega = list(zip(spec.weights, spec.vectors, strict=True)), places.omega
        self.grid: Tensor
        self.register_buffer("grid", places.grid(spec.shapes[spec.weights[0]][1]))

    def forward(self, feats: WeightSpaceFeatures) -> list[Tensor]:
        """Runs the SIRENs."""
        x, computed = self.grid.expand(feats.batch_shape[0], -1, -1), []
        for weight, bias in self.layers:
            x = torch.baddbmm(feats[bias], feats[weight].squeeze(-1), x)
            x = x if weight == self.layers[-1][0] else (self.omega * x).sin()
            computed.append(x)
        return computed


@dataclass(frozen=True)
class NeuronEditor(Method):
    """Writes changes of SIRENs from what their neurons, and the whole, compute at places.

    One network reads what the SIREN shows. An MLP, for each hidden population, reads what a neuron
    computes, how that agrees with each map which the first one draws, the neuron's bias and weights
    to inputs and outputs, and what the first one says of the whole. It writes the change of the
    bias and of these weights, and factors of the change of weights to other hidden neurons.

    Attributes:
        places: Where SIRENs are evaluated.
        image: Reads what SIRENs show.
        networks: Edited networks to write.
        width: Of the hidden layers of the neurons' MLPs; twice as many numbers tell of the whole.
        rank: Of the change of a weight between hidden neurons.
    """

    places: Places
    image: ImageReader
    networks: int = 1
    width: int = 256
    rank: int = 8

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        return Raw(NeuronEdits(interface.spec, self))


class NeuronEdits(nn.Module):
    """The network of a `NeuronEditor`.

    Args:
        spec: The symmetry of SIRENs.
        config: Places and widths.

    Shape:
        Features `(n, *axes, 1)`, weights as they are, to `(n, *axes, k)`.
    """

    def __init__(self, spec: NetworkSpec, config: NeuronEditor) -> None:
        super().__init__()
        self.spec, self.networks, self.rank = spec, config.networks, config.rank
        self.activations = SirenActivations(spec, config.places)
        places = self.activations.grid.shape[1]
        self.inputs, self.outputs = (
            spec.shapes[spec.weights[0]][1],
            spec.shapes[spec.vectors[-1]][0],
        )
        told = 2 * config.width
        self.image = config.image.build(self.outputs, config.places.side, told)
        read = places + config.image.maps + 1
        depth = len(spec.vectors) - 1
        self.before = [self.inputs, *[config.rank] * (depth - 1)]  # written for what is read
        self.after = [*[config.rank] * (depth - 1), self.outputs]  # and for what reads
        self.neurons = nn.ModuleList(
            NeuronMLP(
                read + (hidden == 0) * self.inputs + (hidden == depth - 1) * self.outputs,
                told,
                config.width,
                self.networks * (self.before[hidden] + 1 + self.after[hidden]),
            )
            for hidden in range(depth)
        )
        self.last_bias = nn.Linear(told, self.networks * self.outputs)

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Changes of SIRENs of the spec."""
        *hidden, shown = self.activations(feats)
        told, maps = self.image(shown)
        factors: Tensor | None = None  # of the population before, (n, h, k, rank)
        changes = {}
        for layer, (neurons, computed) in enumerate(zip(self.neurons, hidden, strict=True)):
            agreement = computed @ maps.mT / computed.shape[-1] ** 0.5  # (n, h, maps)
            features = [computed, agreement, *self._own(feats, layer)]
            written = neurons(torch.cat(features, dim=-1), told)
            sizes = [self.before[layer], 1, self.after[layer]]
            before, bias, after = written.unflatten(-1, (self.networks, -1)).split(sizes, dim=-1)
            changes[self.spec.vectors[layer]] = bias.squeeze(-1)  # (n, h, k)
            if factors is None:  # inputs are told apart, and need none
                changes[self.spec.weights[layer]] = before.mT  # (n, h, d, k)
            else:
                products = torch.einsum("nikr,njkr->nijk", before, factors)
                changes[self.spec.weights[layer]] = products
            factors = after
        assert factors is not None
        changes[self.spec.weights[-1]] = factors.movedim(-1, 1)  # (n, c, h, k)
        changes[self.spec.vectors[-1]] = self.last_bias(told).unflatten(-1, (self.outputs, -1))
        return feats.like([changes[name] for name in self.spec.names])

    def _own(self, feats: WeightSpaceFeatures, layer: int) -> list[Tensor]:
        """Phases of a population, and weights to inputs and outputs that no other neuron has."""
        spec, omega = self.spec, self.activations.omega
        own = [omega * feats[spec.vectors[layer]]]  # (n, h, 1)
        if layer == 0:
            own.append(omega * feats[spec.weights[0]].squeeze(-1))
        if layer == len(self.neurons) - 1:
            outgoing = feats[spec.weights[-1]].squeeze(-1).mT  # (n, h, c)
            own.append(outgoing.shape[1] * outgoing)
        return own


class NeuronMLP(nn.Module):
    """Reads each neuron of a population, and what is known of the whole network.

    Args:
        features: Numbers of a neuron.
        told: Numbers of the network.
        width: Of two hidden layers.
        out: Numbers written for a neuron.

    Shape:
        `(n, h, features)` and `(n, told)` to `(n, h, out)`.
    """

    def __init__(self, features: int, told: int, width: int, out: int) -> None:
        super().__init__()
        self.read, self.listen = nn.Linear(features, width), nn.Linear(told, width)
        self.write = nn.Sequential(
            nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, out)
        )

    def forward(self, neurons: Tensor, told: Tensor) -> Tensor:
        """Reads and writes."""
        written: Tensor = self.write(self.read(neurons) + self.listen(told).unsqueeze(1))
        return written
