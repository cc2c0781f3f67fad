"""Networks that generate masks, and what networks reach under them (NFN section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import nan
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nfn_optim import WeightSpaceFeatures

from ...population import as_params
from ...support import Progress
from ..data import SparseNetworks
from ..harness import Examples, FitConfig, Method, Objective, Outcome, fit, seeded
from ..networks import (
    Autoencode,
    Corrector,
    MaskVAE,
    decoder_interface,
    draw_scores,
    encoder_interface,
    flatten,
    join_features,
    negative_bound,
)
from ._matched_tickets import expected_networks
from ._rehearsed_masks import REACHED, Rehearsal

_TEST_SEED = 2  # starts and tickets have 0 and 1


class Learned(NamedTuple):
    """How a network was trained to generate masks.

    Attributes:
        validation: The score of its best validation.
        seconds: Time of training.
        parameters: Number of trained parameters.
    """

    validation: float
    seconds: float
    parameters: int


@dataclass(frozen=True, eq=False)
class Tickets:
    """The suite's experiment; starts are in units of their standard deviation.

    Attributes:
        train: Features `(n, *axes, 2)`, starts and masks; targets are the masks of the weights.
        validation: The same, for validation.
        starts: Networks `(n, d)` that masks are generated for.
        tickets: Their masks by magnitude pruning.
        moves: How far training has moved some of the networks to learn from `(m, d)`.
        networks: What trains them.
        encoder: Encodes masks for networks that only decode.
        config: How networks that generate masks are trained, but for correctors, which say it.
    """

    train: Examples
    validation: Examples
    starts: Tensor
    tickets: Tensor
    moves: Tensor
    networks: SparseNetworks
    encoder: Method
    config: FitConfig

    def run(self, network: nn.Module, seed: int, on_progress: Progress) -> Outcome:
        """Trains a network to generate masks, and networks under the masks it generates."""
        with seeded(seed, self.starts.device):
            if isinstance(network, Corrector):
                masks, learned = self._rehearse(network, seed, on_progress)
            else:
                masks, learned = self._autoencode(network, seed, on_progress)
        return replace(
            self.reach(masks, seed, on_progress),
            validation=learned.validation,
            seconds=learned.seconds,
            parameters=learned.parameters,
        )

    def _autoencode(
        self, network: nn.Module, seed: int, on_progress: Progress
    ) -> tuple[Tensor, Learned]:
        """Masks that are as likely as tickets."""
        vae = self.as_vae(network)
        model = Autoencode(vae, self.networks.is_weight)
        parts = (self.train, self.validation)
        learned = self._fit(model, parts, _OBJECTIVE, self.config, seed, on_progress)
        return self.masks(draw_scores(vae, self.new)), learned

    def _rehearse(
        self, network: Corrector, seed: int, on_progress: Progress
    ) -> tuple[Tensor, Learned]:
        """Masks under which a short training comes far."""
        model = Rehearsal(network, self.networks, self.counts)
        parts = (self._with_expected(self.train, own=True), self._with_expected(self.validation))
        learned = self._fit(model, parts, REACHED, network.config.fit, seed, on_progress)
        network.eval()
        read = join_features(self.new, self.expected(self.new))
        with torch.no_grad():
            scores = [
                flatten(network(read.map(itemgetter(slice(k, k + 1)))))
                for k in range(len(self.starts))
            ]
        return self.masks(torch.cat(scores)), learned

    def _with_expected(self, pairs: Examples, *, own: bool = False) -> Examples:
        """Starts, and where training may take them, in place of starts and masks."""
        starts = pairs.features.map(lambda tensor: tensor[..., :1])
        return replace(pairs, features=join_features(starts, self.expected(starts, own=own)))

    @property
    def new(self) -> WeightSpaceFeatures:
        """What masks are generated for, as features `(n, *axes, 1)`."""
        return self.train.features.like(self.networks.in_deviations(self.starts))

    def expected(self, starts: WeightSpaceFeatures, *, own: bool = False) -> WeightSpaceFeatures:
        """Where training may take starts, see `expected_networks`."""
        moves = starts.like(self.networks.in_deviations(self.moves))
        return expected_networks(starts, moves, own=own)

    def _fit(
        self,
        model: nn.Module,
        parts: tuple[Examples, Examples],
        objective: Objective[Any],
        config: FitConfig,
        seed: int,
        on_progress: Progress,
    ) -> Learned:
        model = model.to(self.starts.device)
        reached, seconds = fit(model, *parts, objective, config, seed, on_progress)
        parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
        return Learned(reached, seconds, parameters)

    def as_vae(self, network: nn.Module) -> MaskVAE:
        """A VAE as it is; any other network is the decoder of one."""
        if isinstance(network, MaskVAE):
            return network
        interface = encoder_interface(decoder_interface(self.networks.spec))
        return MaskVAE(self.encoder.build(interface), network)

    def masks(self, scores: Tensor) -> Tensor:
        """Masks `(n, d)` of scores, each layer as dense as in training tickets on average.

        One threshold for all layers would empty a layer whose scores are alike.
        """
        return self.networks.keep_largest_of_layers(scores, self.counts)

    @property
    def counts(self) -> dict[str, int]:
        """Weights that training tickets keep in each layer on average, by name."""
        tickets = torch.ones(len(self.train), self.starts.shape[1], device=self.starts.device)
        tickets[:, self.networks.is_weight] = self.train.targets
        return self.networks.counts(tickets)

    def reach(self, masks: Tensor, seed: int, on_progress: Progress) -> Outcome:
        """Trains networks from the starts under masks `(n, d)`.

        The outcome's predictions are the networks' test accuracies, and the parts of their layers'
        weights that are kept: `(n, 1 + layers)`.
        """
        networks, steps = self.networks, self.networks.config.test_steps
        trained = networks.train_masked(self.starts, masks, steps, _TEST_SEED + seed, on_progress)
        kept = as_params(networks.spec, masks)
        densities = [kept[name].flatten(1).mean(1) for name in networks.spec.weights]
        accuracies = networks.accuracies(trained)
        return Outcome(
            score=float(accuracies.mean()),
            validation=nan,
            seconds=0.0,
            parameters=0,
            predictions=torch.stack([accuracies, *densities], dim=1).cpu(),
        )


_OBJECTIVE: Objective[Examples] = Objective(
    negative_bound, lambda *pair: float(negative_bound(*pair)), lower_is_better=True
)


def dense(experiment: Tickets, seed: int, on_progress: Progress) -> Outcome:
    """Networks without masks."""
    return experiment.reach(torch.ones_like(experiment.starts), seed, on_progress)


def random(experiment: Tickets, seed: int, on_progress: Progress) -> Outcome:
    """Masks drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(experiment.starts.shape, generator=generator).to(experiment.starts)
    return _keep_largest(experiment, scores, seed, on_progress)


def magnitude(experiment: Tickets, seed: int, on_progress: Progress) -> Outcome:
    """Masks that keep the largest weights of the starts."""
    return _keep_largest(experiment, experiment.starts.abs(), seed, on_progress)


def matched(experiment: Tickets, seed: int, on_progress: Progress) -> Outcome:
    """Masks of what is largest where networks move as another did, see `expected_networks`."""
    masks = experiment.masks(flatten(experiment.expected(experiment.new)).abs())
    return experiment.reach(masks, seed, on_progress)


def _keep_largest(experiment: Tickets, scores: Tensor, seed: int, on_progress: Progress) -> Outcome:
    networks = experiment.networks
    masks = networks.keep_largest(scores, networks.num_kept())
    return experiment.reach(masks, seed, on_progress)


def imp(experiment: Tickets, seed: int, on_progress: Progress) -> Outcome:
    """The starts' own tickets, found by iterative magnitude pruning."""
    return experiment.reach(experiment.tickets, seed, on_progress)


def standard_error(experiment: Tickets, outcome: Outcome) -> float:
    """Of the mean accuracy, over the starts that networks were trained from."""
    return _error(outcome.predictions[:, 0])


def from_imp(outcome: Outcome, others: Mapping[str, Outcome]) -> float:
    """How much higher the mean accuracy is than under IMP's masks; NaN without these."""
    return float(_differences(outcome, others).mean())


def from_imp_error(outcome: Outcome, others: Mapping[str, Outcome]) -> float:
    """Its standard error, over the starts that both trained from."""
    return _error(_differences(outcome, others))


def _error(values: Tensor) -> float:
    """Standard error of the mean."""
    return float(values.std() / len(values) ** 0.5)


def _differences(outcome: Outcome, others: Mapping[str, Outcome]) -> Tensor:
    accuracies = outcome.predictions[:, 0]
    if "imp" not in others:
        return torch.full_like(accuracies, nan)
    return accuracies - others["imp"].predictions[:, 0]
