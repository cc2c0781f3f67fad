"""Generating the masks of winning tickets for new networks (NFN section 3.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import nan
from pathlib import Path

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures

from ..population import as_params
from ..support import require_counts
from ..tasks import Dataset
from ..zoo import cache_folder
from ._examples import Examples
from ._fit import Advance, FitConfig, Objective, fit, seeded
from ._images import num_classes, read_images
from ._interface import Interface
from ._mask_vae import (
    Autoencode,
    as_vae,
    draw_scores,
    interface_of,
    join_channels,
    negative_bound,
    vae_of,
)
from ._methods import METHODS, NetworkSize
from ._picture import draw_bars
from ._suite import Data, Outcome, Progress, Size, Suite
from ._tickets import Classifiers, TicketConfig, classifier

_STARTS_SEED, _TICKETS_SEED, _TEST_SEED = range(3)


@dataclass(frozen=True, kw_only=True)
class TicketSize(Size):
    """A size of the suite.

    Attributes:
        num_train: Starts and tickets to learn from.
        num_validation: Those to stop by.
        num_test: Starts that masks are generated for.
        tickets: The networks, and how tickets are found.

    Raises:
        ValueError: If a number is below 1.
    """

    num_train: int
    num_validation: int
    num_test: int
    tickets: TicketConfig

    def __post_init__(self) -> None:
        require_counts(self, "num_train", "num_validation", "num_test")


@dataclass(frozen=True, eq=False)
class Tickets:
    """The suite's problem; starts are in units of their standard deviation.

    Attributes:
        train: Features `(n, *axes, 2)`, starts and masks; targets are the masks of the weights.
        validation: The same, to stop by.
        starts: Networks `(n, d)` that masks are generated for.
        tickets: Their masks by magnitude pruning.
        classifiers: What trains them.
        size: Settings.
    """

    train: Examples
    validation: Examples
    starts: Tensor
    tickets: Tensor
    classifiers: Classifiers
    size: TicketSize

    def digest(self) -> str:
        """A hash of data and settings."""
        numbers = self.tickets.cpu().numpy().tobytes() + self.starts.cpu().numpy().tobytes()
        parts = (self.train.digest(), self.validation.digest(), self.classifiers.key)
        size = (self.size.fit, self.size.network)
        settings = (parts, size, hashlib.sha256(numbers).hexdigest())
        return hashlib.sha256(repr(settings).encode()).hexdigest()

    def run(self, network: nn.Module, seed: int, advance: Advance) -> Outcome:
        """Trains a network to generate masks, and networks under the masks it generates."""
        device = self.starts.device
        with seeded(seed, device):
            vae = as_vae(network, interface_of(self.classifiers.spec), self.size.network).to(device)
            model = Autoencode(vae, self.classifiers.is_weight).to(device)
            bound, seconds = fit(
                model, self.train, self.validation, _OBJECTIVE, self.size.fit, seed, advance
            )
            starts = self.train.features.like(features_of(self.classifiers, self.starts))
            masks = self.masks(draw_scores(vae, starts))
        parameters = sum(p.numel() for p in vae.parameters() if p.requires_grad)
        return replace(
            self.reach(masks, seed, advance),
            validation=bound,
            seconds=seconds,
            parameters=parameters,
        )

    def masks(self, scores: Tensor) -> Tensor:
        """Masks `(n, d)` of scores, each layer as dense as in training tickets on average.

        A bar for all layers would leave none of a layer whose weights are alike.
        """
        tickets = torch.ones(len(self.train), self.starts.shape[1], device=self.starts.device)
        tickets[:, self.classifiers.is_weight] = self.train.targets
        return self.classifiers.keep_largest_of_layers(scores, self.classifiers.counts(tickets))

    def reach(self, masks: Tensor, seed: int, advance: Advance) -> Outcome:
        """Trains networks from the starts under masks `(n, d)`.

        The outcome's predictions are the networks' test accuracies, and the parts of their layers'
        weights that are kept: `(n, 1 + layers)`.
        """
        steps = self.size.tickets.test_steps
        trained = self.classifiers.train(self.starts, masks, steps, _TEST_SEED + seed, advance)
        kept = as_params(self.classifiers.spec, masks)
        densities = [kept[name].flatten(1).mean(1) for name in self.classifiers.spec.weights]
        accuracies = self.classifiers.accuracies(trained)
        return Outcome(
            score=float(accuracies.mean()),
            validation=nan,
            seconds=0.0,
            parameters=0,
            predictions=torch.stack([accuracies, *densities], dim=1).cpu(),
        )


_OBJECTIVE = Objective(
    negative_bound, lambda *pair: float(negative_bound(*pair)), lower_is_better=True
)


def features_of(classifiers: Classifiers, starts: Tensor) -> list[Tensor]:
    """Starts `(n, d)` in units of their deviations as features `(n, *axes, 1)` in order."""
    units = starts / torch.where(classifiers.is_weight, classifiers.deviations, 1.0)
    return channel_of(classifiers.spec, units)


def channel_of(spec: NetworkSpec, rows: Tensor) -> list[Tensor]:
    """Parameters `(n, d)`, one after another, as features `(n, *axes, 1)` in order."""
    return list(WeightSpaceFeatures.from_params(spec, as_params(spec, rows)).values())


def _classifier(size: TicketSize, data: Data) -> tuple[Dataset, nn.Sequential]:
    dataset = read_images(data)
    pixels = dataset.x_train[0].numel()
    return dataset, classifier(pixels, num_classes(dataset), size.tickets)


def _interface(size: TicketSize, data: Data) -> Interface:
    return interface_of(NetworkSpec.from_module(_classifier(size, data)[1]))


def _prepare(size: TicketSize, data: Data, device: torch.device, on_progress: Progress) -> Tickets:
    dataset, module = _classifier(size, data)
    dataset = Dataset(**{name: tensor.to(device) for name, tensor in vars(dataset).items()})
    classifiers = Classifiers.of(module, dataset, size.tickets, cache_folder())
    counts = [size.num_train, size.num_validation, size.num_test]
    generator = torch.Generator().manual_seed(_STARTS_SEED)
    starts = classifiers.starts(sum(counts), generator)
    spec = classifiers.spec
    tickets = classifiers.find_tickets(starts, _TICKETS_SEED, partial(on_progress, "tickets"))
    channels = join_channels(features_of(classifiers, starts), channel_of(spec, tickets))
    features = WeightSpaceFeatures(spec, dict(zip(spec.names, channels, strict=True)))
    pairs = Examples(features, tickets[:, classifiers.is_weight])
    train, held_out = size.num_train, size.num_train + size.num_validation
    return Tickets(
        pairs.take(slice(train)),
        pairs.take(slice(train, held_out)),
        starts[held_out:],
        tickets[held_out:],
        classifiers,
        size,
    )


def _dense(problem: Tickets, seed: int, advance: Advance) -> Outcome:
    return problem.reach(torch.ones_like(problem.starts), seed, advance)


def _random(problem: Tickets, seed: int, advance: Advance) -> Outcome:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(problem.starts.shape, generator=generator).to(problem.starts)
    kept = problem.classifiers.num_kept()
    return problem.reach(problem.classifiers.keep_largest(scores, kept), seed, advance)


def _magnitude(problem: Tickets, seed: int, advance: Advance) -> Outcome:
    kept = problem.classifiers.num_kept()
    masks = problem.classifiers.keep_largest(problem.starts.abs(), kept)
    return problem.reach(masks, seed, advance)


def _imp(problem: Tickets, seed: int, advance: Advance) -> Outcome:
    return problem.reach(problem.tickets, seed, advance)


def standard_error(problem: Tickets, outcome: Outcome) -> float:
    """Of the mean accuracy, over the starts that networks were trained from."""
    accuracies = outcome.predictions[:, 0]
    return float(accuracies.std() / len(accuracies) ** 0.5)


def _draw(problem: Tickets, outcomes: Mapping[str, Outcome], path: Path) -> None:
    sparsity = {name: 1 - reached.predictions[:, 1:].mean(0) for name, reached in outcomes.items()}
    draw_bars(sparsity, problem.classifiers.spec.weights, "sparsity", path)


_TINY = TicketSize(
    data="digits",
    num_train=48,
    num_validation=8,
    num_test=16,
    tickets=TicketConfig(hidden=(64, 64), sparsity=0.9, num_steps=150, test_steps=250, lr=5e-3),
    network=NetworkSize(channels=(8, 8, 8), norm=True, bands=4, max_freq=16),
    fit=FitConfig(num_steps=400, batch_size=4, lr=1e-2, warmup=10, final_lr=0.0, eval_every=100),
)
_PAPER = TicketSize(
    data="mnist",
    num_train=400,
    num_validation=10,
    num_test=50,
    tickets=TicketConfig(num_steps=5_000, test_steps=5_000),
    network=NetworkSize(channels=(64, 64, 64), norm=True, bands=4, max_freq=56),
    fit=FitConfig(num_steps=20_000, batch_size=4, lr=1e-3),
)
_SMALL = replace(
    _PAPER,
    num_train=256,
    num_validation=8,
    num_test=16,
    tickets=TicketConfig(num_steps=1_000, test_steps=3_000),
    network=replace(_PAPER.network, channels=(12, 12, 12), norm=False),
    fit=FitConfig(num_steps=2_000, batch_size=1, lr=4e-3, warmup=50, final_lr=0.0, eval_every=500),
)

SUITE = Suite(
    name="winning-tickets",
    summary="generates the mask that lets a new network train well with a twentieth of its weights",
    metric="test accuracy of sparse networks",
    data=("digits", "mnist", "fashion_mnist"),
    sizes={"tiny": _TINY, "small": _SMALL, "paper": _PAPER},
    methods={name: vae_of(METHODS[name]) for name in ("pt", "np")},
    paper={"mnist": {"dense": 0.978, "random": 0.896, "imp": 0.962, "pt": 0.950, "np": 0.948}},
    interface=_interface,
    prepare=_prepare,
    draw=_draw,
    more={"standard error": standard_error},
    references={"dense": _dense, "random": _random, "magnitude": _magnitude, "imp": _imp},
)
