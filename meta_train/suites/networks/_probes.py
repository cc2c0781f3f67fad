"""Networks that also run the classifiers that they read, on images that classifiers agree on.

What a classifier answers, and what its hidden neurons do, shows what it computes, whatever the
numbering of its neurons (probes; Kahana et al., arXiv 2410.10811).

Shape legend: `n` classifiers, `m` activations that they may have, `k` probes, `c` neurons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.networks import HeadConfig

from ...population import as_rows, outputs_of
from ..harness import Classifiers, Examples, Interface, Method, Noted, Prepared, Raw
from ._consensus import consensus_images

_UNLIKELY = -20.0  # the smallest logarithm of a probability that is told apart
_LARGEST = 1e6  # the largest number, so that squares are finite
_SHARPNESS = 4.0  # of probabilities when the standard deviation of logits is the unit
_FORMS, _HIDDEN, _TOLD = 4, 16, 4  # of an answer: how it comes, and what is made of it
_FEW = 4  # one probe in so many tells the activation, and is followed through hidden layers
_MOST = 60  # probes that do
_PATTERNS = 32  # that neurons of a layer are compared with
_BEST = 0.5  # part of the training networks whose agreement makes probes
_UNIT = 10.0  # of images: Adam's steps know no scale, so that they move farther than weights


class Answers(NamedTuple):
    """What classifiers answer to probes.

    Attributes:
        forms: Of the logit of each probe's own class, see `in_forms`, `(n, k, 4)`.
        hidden: Of each hidden layer what its neurons do at the first probes, means over places in
            units of the layer's root mean square, `(n, few, c)`.
    """

    forms: Tensor
    hidden: list[Tensor]

    @classmethod
    def noted(cls, notes: tuple[Tensor, ...], dtype: torch.dtype) -> Answers:
        """Answers as `Probes.note` noted them."""
        forms, *hidden = (note.to(dtype) for note in notes)
        return cls(forms, hidden)


class Probes(Prepared):
    """The answers of classifiers to images that they agree on.

    A classifier is run with each activation that it may have; that with which it agrees better
    with the others is taken for its own.

    Args:
        classifiers: What the networks compute.
        count: Number of images. Each has a class, the same number for all.
        learned: Whether images are then trained with the network that reads the answers.

    Shape:
        Features of `n` networks `(n, *axes, 1)`, weights as they are, to `Answers`.
    """

    def __init__(self, classifiers: Classifiers, count: int, *, learned: bool = False) -> None:
        super().__init__()
        self.classifiers = classifiers
        self.few = max(1, min(count // _FEW, _MOST))
        self.parts = [hidden_parts(module) for module in classifiers.modules]
        self.classes: Tensor
        scaled = torch.rand(count, *classifiers.input_shape) / _UNIT
        self.scaled = nn.Parameter(scaled, requires_grad=learned)
        self.register_buffer("classes", torch.arange(count) % classifiers.num_answers())

    @property
    def images(self) -> Tensor:
        """What the networks are run on, `(k, channels, h, w)`."""
        return _UNIT * self.scaled

    def prepare(self, examples: Examples) -> None:
        """Finds the images from the more accurate half of the classifiers to learn from."""
        accuracies = examples.targets[:, 0]
        best = accuracies.argsort(descending=True)[: max(1, round(_BEST * len(examples)))]
        learned = examples.take(best)
        spec, known = learned.features.spec, self._known(learned.odd)
        rows = as_rows(spec, learned.features.to_params())

        def answer(some: Tensor, images: Tensor) -> Tensor:
            own = self._own(spec, rows[some], images) if known is None else known[some]
            return _run_each(self.classifiers.modules, own, spec, rows[some], images)

        shape = self.classifiers.input_shape
        found = consensus_images(answer, len(rows), self.classes, shape)
        self.scaled.data.copy_(found / _UNIT)

    def _known(self, odd: Tensor | None) -> Tensor | None:
        """Which module each classifier is, where it is known which have odd activations."""
        are_odd = [_is_odd(module) for module in self.classifiers.modules]
        if odd is None or sorted(are_odd) != [False, True]:
            return None
        return (odd if are_odd[1] else ~odd).long()

    def forward(self, features: WeightSpaceFeatures) -> Answers:
        """Runs the networks."""
        params, images = features.to_params(), self.images
        rows = as_rows(features.spec, params)
        modules, few = self.classifiers.modules, images[: self.few]
        own = self._own(features.spec, rows, few)
        logits = _run_each(modules, own, features.spec, rows, images)
        hidden = []
        for parts in zip(*self.parts, strict=True):
            spec = NetworkSpec.from_module(parts[0])
            hidden.append(_in_units(_run_each(parts, own, spec, as_rows(spec, params), few)))
        return Answers(of_class(in_forms(logits), self.classes), hidden)

    def note(self, features: WeightSpaceFeatures) -> tuple[Tensor, ...]:
        """The answers in half precision, where images do not change in training."""
        if self.scaled.requires_grad:
            return ()
        answers = self(features)
        return tuple(each.half() for each in (answers.forms, *answers.hidden))

    @torch.no_grad()
    def _own(self, spec: NetworkSpec, rows: Tensor, images: Tensor) -> Tensor:
        """With which activation classifiers find the images' classes more likely, `(n,)`."""
        if len(self.classifiers.modules) == 1:
            return torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
        likely = []
        for module in self.classifiers.modules:
            forms = in_forms(_answers(module, spec, rows, images))
            likely.append(of_class(forms, self.classes[: len(images)])[..., 2].mean(1))
        return torch.stack(likely).argmax(0)


def _is_odd(module: nn.Sequential) -> bool:
    return any(isinstance(layer, nn.Tanh) for layer in module)


def hidden_parts(module: nn.Sequential) -> list[nn.Sequential]:
    """The layers up to each activation; what neurons do at many places is averaged."""
    parts = []
    for end, layer in enumerate(module, start=1):
        if isinstance(layer, nn.ReLU | nn.Tanh):
            before = list(module)[:end]
            is_flat = any(isinstance(one, nn.Flatten) for one in before)
            mean = [] if is_flat else [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            parts.append(nn.Sequential(*before, *mean))
    return parts


def _answers(module: nn.Sequential, spec: NetworkSpec, rows: Tensor, images: Tensor) -> Tensor:
    return outputs_of(module, spec, rows, images).nan_to_num().clamp(-_LARGEST, _LARGEST)


def _in_units(hidden: Tensor) -> Tensor:
    """What neurons `(n, k, c)` do in units of its root mean square."""
    return hidden / hidden.square().mean((1, 2), keepdim=True).add(1e-8).sqrt()


def _run_each(
    modules: Sequence[nn.Sequential], own: Tensor, spec: NetworkSpec, rows: Tensor, images: Tensor
) -> Tensor:
    """Runs each network as the module that it is, `own` of all."""
    found = [(own == index).nonzero().flatten() for index in range(len(modules))]
    outputs = [
        _answers(module, spec, rows[index], images)
        for module, index in zip(modules, found, strict=True)
        if len(index)
    ]
    return torch.cat(outputs)[torch.cat(found).argsort()]


def in_forms(logits: Tensor) -> Tensor:
    """Writes every logit as a probability and its logarithm, of raw and of normalized logits.

    Accuracy depends on which class is ahead and not on by how much, as a probability near 0 or 1
    does. Logits are normalized by their standard deviation, so that classifiers with large and with
    small logits look alike.

    Shape:
        `(n, k, classes)` to `(n, k, classes, 4)`.
    """
    centered = logits - logits.mean(-1, keepdim=True)  # a shift of all changes no probability
    scale = centered.square().mean((1, 2), keepdim=True).add(1e-8).sqrt()
    forms = []
    for scaled in (centered, _SHARPNESS * centered / scale):
        logarithms = scaled.log_softmax(-1).clamp(min=_UNLIKELY)
        forms += [logarithms / 5, logarithms.exp()]  # fifths: near 1 in size, as the others
    return torch.stack(forms, dim=-1)


def of_class(forms: Tensor, classes: Tensor) -> Tensor:
    """Of forms `(n, k, classes, 4)` those of each probe's class `(k,)`: `(n, k, 4)`."""
    return forms[:, torch.arange(len(classes)), classes]


class Judge(nn.Module):
    """Reads what classifiers answer: one small MLP for all probes, with biases for each.

    Args:
        count: Number of probes.
        out_features: Length of the result.

    Shape:
        Forms `(n, k, 4)` to `(n, out_features)`.
    """

    def __init__(self, count: int, out_features: int) -> None:
        super().__init__()
        self.first = nn.Linear(_FORMS, _HIDDEN)
        self.offsets = nn.Parameter(torch.zeros(count, _HIDDEN))
        self.second = nn.Linear(_HIDDEN, _TOLD)
        self.read = nn.Linear(_TOLD * count, out_features)

    def forward(self, forms: Tensor) -> Tensor:
        """Reads answers."""
        judged = (self.first(forms) + self.offsets).relu()
        return self.read(self.second(judged).flatten(1))


class Neurons(nn.Module):
    """Reads hidden layers: each neuron is compared with learned patterns over the probes.

    Signs do not count, because odd neurons have either. Mean and largest likeness of a layer's
    neurons are read, whatever their numbering.

    Args:
        count: Number of probes.
        depth: Number of hidden layers.
        out_features: Length of the result.

    Shape:
        A list of `(n, k, c)`, one a layer, to `(n, out_features)`.
    """

    def __init__(self, count: int, depth: int, out_features: int) -> None:
        super().__init__()
        self.patterns = nn.ModuleList(nn.Linear(count, _PATTERNS, bias=False) for _ in range(depth))
        self.read = nn.Linear(2 * _PATTERNS * depth, out_features)

    def forward(self, hidden: list[Tensor]) -> Tensor:
        """Reads what neurons do."""
        told = []
        for layer, patterns in zip(hidden, self.patterns, strict=True):
            likeness = patterns(layer.mT).abs()
            told += [likeness.mean(1), likeness.amax(1)]
        return self.read(torch.cat(told, dim=1))


class ProbedMLP(nn.Module):
    """An MLP on the output of a network, and on answers to probes.

    Args:
        network: From features to the first hidden layer, before its rectifier; None reads nothing.
        probes: The answers.
        widths: Of the hidden layers, and the length of the result.
        dropout: Probability of dropping a hidden unit.

    Shape:
        Features `(n, *axes, 1)`, or these `Noted` with answers, to `(n, widths[-1])`.
    """

    def __init__(
        self, network: nn.Module | None, probes: Probes, widths: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.network, self.probes = network, probes
        self.judge = Judge(len(probes.classes), widths[0])
        self.neurons = Neurons(probes.few, len(probes.parts[0]), widths[0])
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.ReLU(), nn.Dropout(dropout), nn.Linear(n_in, n_out)]
        self.head = nn.Sequential(*layers)

    def forward(self, given: WeightSpaceFeatures | Noted) -> Tensor:
        """Reads features, and runs the networks where it is not noted what they answer."""
        if isinstance(given, Noted):
            features, answers = given.features, Answers.noted(given.notes, self.judge.offsets.dtype)
        else:
            features, answers = given, self.probes(given)
        x = self.judge(answers.forms) + self.neurons(answers.hidden)
        return self.head(x if self.network is None else x + self.network(features))


@dataclass(frozen=True)
class Probed(Method):
    """Runs the classifiers that it reads, on probes.

    Attributes:
        of: Reads their weights too, and is added to the MLP's first hidden layer; None reads none.
        probes: Number of images.
        head: The MLP; its length is the interface's.
        learned: Whether images are trained with it, from what networks agree on.
    """

    of: Method | None
    probes: int
    head: HeadConfig
    learned: bool = False

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
                Probes(interface.classifiers, self.probes, learned=self.learned),
                widths,
                self.head.dropout,
            )
        )
