"""Networks that also run the classifiers that they read, on inputs that are learned with them.

Outputs for a few inputs show what a classifier computes, whatever the numbering of its neurons
(probes; Kahana et al., arXiv 2410.10811).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from nfn_optim import WeightSpaceFeatures
from nfn_optim.networks import HeadConfig

from ...population import as_rows, outputs_of
from ..harness import Classifiers, Interface, Method, Raw

_UNLIKELY = -20.0  # the smallest logarithm of a probability that is told apart
_LARGEST = 1e6  # the largest logit, so that squares are finite
_SHARPNESS = 4.0  # of probabilities when the standard deviation of logits is the unit
_FORMS, _HIDDEN, _TOLD = 4, 16, 4  # of a logit: how it comes, and what is made of it
_UNIT = 10.0  # of inputs: Adam's steps know no scale, so that inputs move farther than weights


class Probes(nn.Module):
    """The logits that classifiers give to learned inputs.

    Args:
        classifiers: What the networks compute.
        count: Number of inputs. They start as noise between 0 and 1, as pixels are.

    Shape:
        Features of `n` networks `(n, *axes, 1)`, weights as they are, to
        `(n, modules, count, classes)`.
    """

    def __init__(self, classifiers: Classifiers, count: int) -> None:
        super().__init__()
        self.classifiers = classifiers
        self.scaled = nn.Parameter(torch.rand(count, *classifiers.input_shape) / _UNIT)
        self.num_logits = count * classifiers.num_answers()

    @property
    def inputs(self) -> Tensor:
        """What the networks are run on, `(count, c, h, w)`."""
        return _UNIT * self.scaled

    def forward(self, features: WeightSpaceFeatures) -> Tensor:
        """Runs the networks, with each of the activations that they may have."""
        spec = features.spec
        weights = as_rows(spec, features.to_params())
        inputs = self.inputs
        answers = [outputs_of(m, spec, weights, inputs) for m in self.classifiers.modules]
        return torch.stack(answers, dim=1).nan_to_num().clamp(-_LARGEST, _LARGEST)


def in_forms(logits: Tensor) -> Tensor:
    """Writes every logit as a probability and its logarithm, of raw and of normalized logits.

    Accuracy depends on which class is ahead and not on by how much, as a probability near 0 or 1
    does. Logits are normalized by their standard deviation, so that classifiers with large and with
    small logits look alike.

    Shape:
        `(n, modules, count, classes)` to `(n, modules, count, classes, 4)`.
    """
    centered = logits - logits.mean(-1, keepdim=True)  # a shift of all changes no probability
    scale = centered.square().mean((2, 3), keepdim=True).add(1e-8).sqrt()
    forms = []
    for scaled in (centered, _SHARPNESS * centered / scale):
        logarithms = scaled.log_softmax(-1).clamp(min=_UNLIKELY)
        forms += [logarithms / 5, logarithms.exp()]  # fifths: near 1 in size, as the others
    return torch.stack(forms, dim=-1)


class ProbedMLP(nn.Module):
    """An MLP on the output of a network, and on answers to probes.

    Before that every logit passes through one small MLP, the same for all.

    Args:
        network: From features to the first hidden layer, before its rectifier; None reads nothing.
        probes: The answers.
        widths: Of the hidden layers, and the length of the result.
        dropout: Probability of dropping a hidden unit.

    Shape:
        Features `(n, *axes, 1)` to `(n, widths[-1])`.
    """

    def __init__(
        self, network: nn.Module | None, probes: Probes, widths: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.network, self.probes = network, probes
        self.judge = nn.Sequential(nn.Linear(_FORMS, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _TOLD))
        self.read = nn.Linear(_TOLD * probes.num_logits, widths[0])
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.ReLU(), nn.Dropout(dropout), nn.Linear(n_in, n_out)]
        self.head = nn.Sequential(*layers)

    def forward(self, features: WeightSpaceFeatures) -> Tensor:
        """Reads features, and runs the networks."""
        x = self.read(self.judge(in_forms(self.probes(features))).flatten(1))
        return self.head(x if self.network is None else x + self.network(features))


@dataclass(frozen=True)
class Probed(Method):
    """Runs the classifiers that it reads, on probes.

    Attributes:
        of: Reads their weights too, and is added to the MLP's first hidden layer; None reads none.
        probes: Number of inputs.
        head: The MLP; its length is the interface's.
    """

    of: Method | None
    probes: int
    head: HeadConfig

    def can_read(self, interface: Interface) -> bool:
        """Whether it is known what the classifiers compute."""
        return interface.classifiers is not None

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        assert interface.classifiers is not None
        assert interface.out_features is not None
        widths = (*self.head.hidden, interface.out_features)
        first = replace(interface, out_features=widths[0])
        return Raw(
            ProbedMLP(
                None if self.of is None else self.of.build(first),
                Probes(interface.classifiers, self.probes),
                widths,
                self.head.dropout,
            )
        )
