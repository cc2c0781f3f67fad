"""Predicting the test accuracy of MLPs from their weights (NFN appendix E.2)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import nn

from nfn_optim.networks import HeadConfig, InputConfig

from ...tasks import Dataset, mlp
from ...zoo import ClassifierConfig
from ..data import num_classes
from ..harness import FitConfig, Method
from ..networks import Probed, paper_methods
from ._generalization import (
    Activation,
    GeneralizationSize,
    and_beyond,
    generalization_suite,
)

_WIDTHS = {"tiny": 16, "small": 32, "paper": 128}


def _mlp(hidden: tuple[int, ...], dataset: Dataset, activation: Activation) -> nn.Sequential:
    """An MLP with hidden layers of the given widths."""
    widths = (dataset.x_train[0].numel(), *hidden, num_classes(dataset))
    return nn.Sequential(nn.Flatten(), *mlp(widths, activation))


def _methods(
    hidden: tuple[int, ...], bands: int, head: HeadConfig, dropout: float = 0.0
) -> dict[str, Method]:
    names, positions = ("statnn", "np", "hnp"), InputConfig(bands=bands)
    methods = paper_methods(names, hidden, head, InputConfig(), positions, dropout)
    return and_beyond(methods, Probed(None, 60, head, learned=True))


_PAPER = GeneralizationSize(
    data="mnist",
    num_networks=2_000,
    architecture=partial(_mlp, (_WIDTHS["paper"],) * 2),
    classifiers=ClassifierConfig(
        checkpoints=tuple(range(400, 8_001, 400)),
        kept=10,
        lr=(1e-3, 1e-1),
        init_scale=(0.2, 4.0),
        dropout=(0.0, 0.5),
        activations=("relu",),
        optimizers=("adam", "momentum"),
        num_evaluated=10_000,
    ),
    test_part=0.1,
    validation_part=0.1,
    methods=_methods((16, 16, 5), 6, HeadConfig()),
    fit=FitConfig(num_steps=100_000, batch_size=8, eval_every=2_000),
    num_seeds=5,
)
_SMALL = replace(
    _PAPER,
    num_networks=38_400,
    pixels=7,
    architecture=partial(_mlp, (_WIDTHS["small"],) * 2),
    classifiers=replace(
        _PAPER.classifiers,
        checkpoints=tuple(range(50, 1_001, 50)),
        kept=5,
        num_evaluated=5_000,
        num_train_evaluated=500,
    ),
    test_part=0.15,
    ordered=True,
    auxiliary=1.0,
    methods=_methods((8, 8, 5), 3, HeadConfig((256, 256))),
    fit=FitConfig(
        num_steps=12_000,
        batch_size=64,
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
    architecture=partial(_mlp, (_WIDTHS["tiny"],) * 2),
    classifiers=replace(_SMALL.classifiers, checkpoints=(20, 60, 200), kept=None),
    test_part=0.2,
    methods=_methods((8, 8, 5), 3, HeadConfig((64, 64)), dropout=0.1),
    fit=replace(_SMALL.fit, num_steps=150, batch_size=16, eval_every=50),
    num_seeds=1,
)


SUITE = generalization_suite(
    name="mlp-generalization",
    summary="predicts the test accuracy of an MLP of 3 layers from its weights",
    data=("digits", "mnist", "fashion_mnist"),
    sizes={"tiny": _TINY, "small": _SMALL, "paper": _PAPER},
    paper={"mnist": {"statnn": 0.854, "np": 0.859, "hnp": 0.876}},
)
DEEP_SUITE = replace(
    SUITE,
    name="mlp-generalization-5",
    summary="the same for an MLP of 5 layers",
    sizes={
        name: replace(size, architecture=partial(_mlp, (_WIDTHS[name],) * 4))
        for name, size in SUITE.sizes.items()
    },
    paper={"mnist": {"statnn": 0.860, "np": 0.855, "hnp": 0.871}},
)
