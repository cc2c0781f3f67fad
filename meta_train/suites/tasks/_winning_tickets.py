"""Generating the masks of winning tickets for new networks (NFN section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.layers import NPLinear, Pointwise
from nfn_optim.networks import EquivariantConfig, InputConfig

from ...support import Progress, require_counts
from ...tasks import Dataset
from ..data import SparseNetworks, TicketConfig, classifier, num_classes, read_images
from ..harness import (
    Data,
    Examples,
    FitConfig,
    Interface,
    Method,
    Outcome,
    Size,
    StageProgress,
    Suite,
    plot_values,
)
from ..networks import (
    Corrected,
    Equivariant,
    MaskGenerator,
    NeuronMasks,
    Rehearsals,
    decoder_interface,
    join_channels,
)
from ._ticket_experiment import (
    Tickets,
    dense,
    from_imp,
    from_imp_error,
    imp,
    magnitude,
    matched,
    random,
    standard_error,
)

_STARTS_SEED, _TICKETS_SEED = range(2)
_MOVES = 64  # movements that new networks can choose from: more gain nothing


@dataclass(frozen=True, kw_only=True)
class TicketSize(Size):
    """A size of the suite.

    Attributes:
        num_train: Starts and tickets for training.
        num_validation: Starts and tickets for validation.
        num_test: Starts that masks are generated for.
        tickets: The networks, and how tickets are found.
        encoder: Encodes masks in training where a network of the caller's own is the decoder.

    Raises:
        ValueError: If a number is below 1.
    """

    num_train: int
    num_validation: int
    num_test: int
    tickets: TicketConfig
    encoder: Method

    def __post_init__(self) -> None:
        require_counts(self, "num_train", "num_validation", "num_test")


def _classifier(size: TicketSize, data: Data) -> tuple[Dataset, nn.Sequential]:
    dataset = read_images(data)
    pixels = dataset.x_train[0].numel()
    return dataset, classifier(pixels, num_classes(dataset), size.tickets)


def _interface(size: TicketSize, data: Data) -> Interface:
    return decoder_interface(NetworkSpec.from_module(_classifier(size, data)[1]))


def _prepare(
    size: TicketSize, data: Data, device: torch.device, on_progress: StageProgress
) -> Tickets:
    dataset, module = _classifier(size, data)
    dataset = Dataset(**{name: tensor.to(device) for name, tensor in vars(dataset).items()})
    spec = NetworkSpec.from_module(module)
    networks = SparseNetworks(module, spec, dataset, size.tickets)
    counts = [size.num_train, size.num_validation, size.num_test]
    generator = torch.Generator().manual_seed(_STARTS_SEED)
    starts = networks.starts(sum(counts), generator)
    tickets = networks.find_tickets(starts, _TICKETS_SEED, partial(on_progress, "tickets"))
    channels = join_channels(networks.in_deviations(starts), networks.as_channel(tickets))
    features = WeightSpaceFeatures(spec, dict(zip(spec.names, channels, strict=True)))
    pairs = Examples(features, tickets[:, networks.is_weight])
    train, held_out = size.num_train, size.num_train + size.num_validation
    return Tickets(
        pairs.take(slice(train)),
        pairs.take(slice(train, held_out)),
        starts[held_out:],
        tickets[held_out:],
        _moves(networks, starts[: size.num_train][:_MOVES], partial(on_progress, "movements")),
        networks,
        size.encoder,
        size.fit,
    )


def _moves(networks: SparseNetworks, starts: Tensor, on_progress: Progress) -> Tensor:
    """How far training moves networks `(n, d)` before pruning; the cache has that from tickets."""
    masks, steps = torch.ones_like(starts), networks.config.num_steps
    return networks.train_masked(starts, masks, steps, _TICKETS_SEED, on_progress) - starts


def _plot(experiment: Tickets, outcomes: Mapping[str, Outcome], path: Path) -> None:
    accuracies = {name: reached.predictions[:, 0] for name, reached in outcomes.items()}
    plot_values(accuracies, "test accuracy of each sparse network", path)


def _networks(hidden: tuple[int, ...], max_freq: float, norm: bool) -> dict[str, Equivariant]:
    """The paper's networks by name."""
    inputs = InputConfig(bands=4, max_freq=max_freq)
    return {
        name: Equivariant(EquivariantConfig(inputs, layer, hidden, norm=norm))
        for name, layer in (("pt", Pointwise), ("np", NPLinear))
    }


def _generators(
    networks: Mapping[str, Equivariant], neurons: NeuronMasks, rehearsals: Rehearsals
) -> dict[str, Method]:
    """The paper's methods, one whose latents are those of neurons, and NP that corrects a guess."""
    methods: dict[str, Method] = {name: MaskGenerator(of) for name, of in networks.items()}
    return methods | {"neurons": neurons, "np-matched": Corrected(networks["np"], rehearsals)}


def _rehearsed(steps: int, batch_size: int = 1) -> Rehearsals:
    """A network that is trained for so many steps."""
    fit = FitConfig(
        num_steps=steps,
        batch_size=batch_size,
        lr=4e-3,
        warmup=min(20, steps // 10),
        final_lr=0.0,
        eval_every=max(1, steps // 5),
    )
    return Rehearsals(fit=fit)


_TINY_NETWORKS = _networks((8, 8, 8), 16, norm=True)
_SMALL_NETWORKS = _networks((12, 12, 12), 56, norm=False)
_PAPER_NETWORKS = _networks((64, 64, 64), 56, norm=True)
_TINY = TicketSize(
    data="digits",
    num_train=48,
    num_validation=8,
    num_test=16,
    tickets=TicketConfig(hidden=(64, 64), sparsity=0.9, num_steps=150, test_steps=250, lr=5e-3),
    methods=_generators(_TINY_NETWORKS, NeuronMasks(width=16, rank=8), _rehearsed(20)),
    encoder=_TINY_NETWORKS["pt"],
    fit=FitConfig(num_steps=400, batch_size=4, lr=1e-2, warmup=10, final_lr=0.0, eval_every=100),
)
_PAPER = TicketSize(
    data="mnist",
    num_train=400,
    num_validation=10,
    num_test=50,
    tickets=TicketConfig(num_steps=5_000, test_steps=5_000),
    methods=_generators(_PAPER_NETWORKS, NeuronMasks(), _rehearsed(3_000, batch_size=4)),
    encoder=_PAPER_NETWORKS["pt"],
    fit=FitConfig(num_steps=20_000, batch_size=4, lr=1e-3),
)
_SMALL = replace(
    _PAPER,
    num_validation=16,
    num_test=16,
    tickets=TicketConfig(num_steps=1_000, test_steps=3_000),
    methods=_generators(_SMALL_NETWORKS, NeuronMasks(), _rehearsed(600)),
    encoder=_SMALL_NETWORKS["pt"],
    fit=FitConfig(
        num_steps=6_000, batch_size=1, lr=4e-3, warmup=50, final_lr=0.0, eval_every=1_000
    ),
)

SUITE = Suite(
    name="winning-tickets",
    summary="generates the mask that lets a new network train well with a twentieth of its weights",
    metric="test accuracy of sparse networks",
    data=("digits", "mnist", "fashion_mnist"),
    sizes={"tiny": _TINY, "small": _SMALL, "paper": _PAPER},
    paper={"mnist": {"dense": 0.978, "random": 0.896, "imp": 0.962, "pt": 0.950, "np": 0.948}},
    interface=_interface,
    prepare=_prepare,
    plot=_plot,
    more={"standard error": standard_error},
    beside={"from imp": from_imp, "from imp, standard error": from_imp_error},
    references={
        "dense": dense,
        "random": random,
        "magnitude": magnitude,
        "matched": matched,
        "imp": imp,
    },
)
