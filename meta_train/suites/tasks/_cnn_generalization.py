"""Predicting the test accuracy of small CNNs from their weights (NFN section 3.1)."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from nfn_optim.networks import HeadConfig, InputConfig

from ...tasks import Dataset
from ...zoo import ClassifierConfig, small_cnn
from ..data import num_classes
from ..harness import FitConfig, Method
from ..networks import Probed, paper_methods, paper_transformer
from ._generalization import (
    Activation,
    GeneralizationSize,
    and_beyond,
    generalization_suite,
)

_SMALLEST_UNPADDED = 15
_POSITIONS = InputConfig(bands=3, max_freq=3)


def _cnn(dataset: Dataset, activation: Activation) -> nn.Sequential:
    """The Small CNN Zoo's network, padded for small images."""
    _, channels, *sides = dataset.x_train.shape
    padding = 1 if min(sides) < _SMALLEST_UNPADDED else 0
    classes = num_classes(dataset)
    return small_cnn(activation, channels=channels, num_classes=classes, padding=padding)


def _methods(
    hidden: tuple[int, ...],
    positions: InputConfig,
    head: HeadConfig,
    blocks: int,
    dropout: float = 0.0,
    probes: int = 960,
) -> dict[str, Method]:
    """All methods; the transformer is as wide as the first NF-Layer: 5 channels make no heads."""
    names = ("statnn", "np", "hnp")
    methods = paper_methods(names, hidden, head, InputConfig(), positions, dropout)
    methods["nft"] = paper_transformer(hidden[0], blocks, head, InputConfig(), dropout)
    return and_beyond(methods, Probed(None, probes, head))


_PAPER = GeneralizationSize(
    data="cifar10",
    num_networks=30_000,
    architecture=_cnn,
    classifiers=ClassifierConfig(checkpoints=(8_342,), batch_size=512, num_evaluated=10_000),
    test_part=0.5,
    validation_part=0.2,
    methods=_methods((16, 16, 5), InputConfig(bands=6), HeadConfig(), blocks=4),
    fit=FitConfig(num_steps=75_000, batch_size=8, eval_every=1_500),
    num_seeds=2,
)
_SMALL = replace(
    _PAPER,
    data="mnist",
    num_networks=9_600,
    pixels=_SMALLEST_UNPADDED,
    classifiers=ClassifierConfig(
        checkpoints=tuple(range(600, 3_001, 200)),
        kept=10,
        num_evaluated=5_000,
        num_train_evaluated=500,
    ),
    test_part=0.15,
    validation_part=0.1,
    ordered=True,
    auxiliary=2.0,
    flips=True,
    methods=_methods((8, 8, 5), _POSITIONS, HeadConfig((256, 256)), blocks=1),
    fit=FitConfig(
        num_steps=9_000,
        batch_size=32,
        lr=5e-3,
        weight_decay=0.1,
        warmup=50,
        final_lr=0.0,
        eval_every=1_000,
    ),
    num_seeds=1,
)
_TINY = replace(
    _SMALL,
    data="digits",
    num_networks=192,
    pixels=None,
    classifiers=replace(_SMALL.classifiers, checkpoints=(20, 60, 200), kept=None),
    test_part=0.25,
    validation_part=0.2,
    methods=_methods((8, 8, 5), _POSITIONS, HeadConfig((64, 64)), blocks=1, dropout=0.1, probes=60),
    fit=replace(_SMALL.fit, num_steps=100, batch_size=16, eval_every=50),
    num_seeds=1,
)

SUITE = generalization_suite(
    name="cnn-generalization",
    summary="predicts the test accuracy of a small CNN from its weights",
    data=("digits", "mnist", "fashion_mnist", "cifar10", "svhn"),
    sizes={"tiny": _TINY, "small": _SMALL, "paper": _PAPER},
    paper={
        "cifar10": {"statnn": 0.915, "np": 0.922, "hnp": 0.934, "nft": 0.926},
        "svhn": {"statnn": 0.843, "np": 0.856, "hnp": 0.931, "nft": 0.858},
    },
)
