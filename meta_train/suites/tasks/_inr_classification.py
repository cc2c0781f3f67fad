"""Classifying images from the weights of INRs that show them (NFN section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nfn_optim.layers import HNPLinear, NPLinear
from nfn_optim.networks import EquivariantConfig, HeadConfig, InputConfig

from ...zoo import FieldConfig, LearningConfig
from ..data import (
    FAST_FIELD,
    INRAugmentation,
    Motion,
    inr_spec,
    num_classes,
    read_images,
)
from ..harness import (
    Data,
    FitConfig,
    Interface,
    Method,
    Outcome,
    StageProgress,
    Suite,
    plot_confusions,
)
from ..networks import (
    Aligned,
    DecodedImage,
    Equivariant,
    FlatWeights,
    Places,
    ShownImage,
    SirenPass,
    paper_methods,
    paper_transformer,
)
from ._classification_sizes import (
    Classification,
    ClassificationSize,
    LearnedStartSize,
)

READERS = ("mlp", "mlp-aug", "np", "hnp")
"""The paper's methods that classify SIRENs, but for the transformer."""


def plot_classes(
    truth: Tensor, outcomes: Mapping[str, Outcome], classes: Sequence[str], path: Path
) -> None:
    """Which class is taken for which, with each method's accuracy."""
    predicted = {
        f"{name}: accuracy {outcome.score:.3f}": outcome.predictions.argmax(-1)
        for name, outcome in outcomes.items()
    }
    plot_confusions(predicted, truth.cpu(), classes, path)


def _plot(experiment: Classification, outcomes: Mapping[str, Outcome], path: Path) -> None:
    of_logits = {
        name: replace(outcome, predictions=experiment.logits(outcome))
        for name, outcome in outcomes.items()
    }
    classes = list(map(str, range(experiment.num_classes)))
    plot_classes(experiment.test.targets, of_logits, classes, path)


def _interface(size: ClassificationSize | LearnedStartSize, data: Data) -> Interface:
    dataset = read_images(data)
    return Interface(inr_spec(size, dataset), out_features=num_classes(dataset))


def _prepare(
    size: ClassificationSize | LearnedStartSize,
    data: Data,
    device: torch.device,
    on_progress: StageProgress,
) -> Classification:
    return size.prepare(data, device, on_progress)


def _running(omega: float, head: HeadConfig) -> dict[str, Method]:
    """Methods that run SIRENs, or start as their forward pass."""
    np, hnp = (
        Equivariant(EquivariantConfig(layer=layer, hidden=()), head)
        for layer in (NPLinear, HNPLinear)
    )
    places = Places(side=8, span=0.85, omega=omega)
    return {
        "np+": SirenPass(places, np, per_position=True),
        "hnp+": SirenPass(places, hnp),
        "probes": ShownImage(Places(side=16, span=0.94, omega=omega)),
    }


_TINY_INPUTS, _TINY_HEAD = InputConfig(fourier=16, fourier_scale=0.3), HeadConfig((128, 128))
_TINY = ClassificationSize(
    data="digits",
    num_train=1000,
    num_validation=200,
    num_test=360,
    field=FieldConfig(hidden=(16, 16), omega=3.0, num_steps=300, lr=5e-3),
    augment=INRAugmentation(),
    methods={
        **paper_methods(
            READERS,
            (32, 32, 32),
            _TINY_HEAD,
            _TINY_INPUTS,
            replace(_TINY_INPUTS, bands=3, max_freq=3),
        ),
        "nft": paper_transformer(32, 1, _TINY_HEAD, _TINY_INPUTS),
    },
    fit=FitConfig(num_steps=600, batch_size=32, lr=1e-3, warmup=50, final_lr=0.0),
)
_PAPER_INPUTS, _PAPER_HEAD = InputConfig(fourier=128), HeadConfig(dropout=0.5)
_PAPER = ClassificationSize(
    data="mnist",
    num_train=45_000,
    num_validation=5_000,
    num_test=10_000,
    copies=10,
    field=FieldConfig(num_steps=5_000, lr=5e-5, num_points=784),
    augment=None,
    methods={
        **paper_methods(
            READERS,
            (512, 512, 512),
            _PAPER_HEAD,
            _PAPER_INPUTS,
            replace(_PAPER_INPUTS, bands=6),
        ),
        "nft": paper_transformer(512, 4, _PAPER_HEAD, _PAPER_INPUTS),
    },
    fit=FitConfig(num_steps=200_000, lr=1e-4, warmup=10_000, eval_every=3_000),
    num_seeds=3,
)
_SMALL_INPUTS, _SMALL_HEAD = InputConfig(fourier=32, fourier_scale=0.3), HeadConfig((512,))
_SMALL = replace(
    _PAPER,
    num_train=10_000,
    num_validation=1_000,
    num_test=2_000,
    copies=1,
    field=FAST_FIELD,
    normal=True,
    augment=INRAugmentation(flip=False, linear=0.05, shift=0.04),
    methods={
        **paper_methods(
            READERS,
            (48, 48, 48),
            _SMALL_HEAD,
            _SMALL_INPUTS,
            replace(_SMALL_INPUTS, bands=3, max_freq=3),
        ),
        **_running(FAST_FIELD.omega, _SMALL_HEAD),
        "nft": paper_transformer(48, 1, _SMALL_HEAD, _SMALL_INPUTS),
    },
    fit=FitConfig(num_steps=3_000, lr=1e-3, warmup=100, final_lr=0.0, eval_every=500),
    num_seeds=1,
)

_ALIGNED_HEAD = HeadConfig((512, 512), dropout=0.1)
_ONE_STEP = FieldConfig(omega=20.0, num_steps=1, lr=0.05)
_LEARNED = LearnedStartSize(
    data="mnist",
    num_train=_SMALL.num_train,
    num_validation=_SMALL.num_validation,
    num_test=_SMALL.num_test,
    field=_ONE_STEP,
    learning=LearningConfig(lr=5e-3),
    end_to_end=False,
    motion=Motion(linear=0.04, shift=0.04),
    label_smoothing=0.1,
    mirrored=("fashion_mnist", "cifar10"),
    methods={
        **_SMALL.methods,
        **_running(_ONE_STEP.omega, _SMALL_HEAD),
        "mlp+": Aligned(FlatWeights(_ALIGNED_HEAD)),
        "decoded": DecodedImage(),
    },
    fit=FitConfig(
        num_steps=4_000, batch_size=128, lr=2e-3, warmup=100, final_lr=0.0, eval_every=500
    ),
)
SUITE: Suite[Any, Classification] = Suite(
    name="inr-classification",
    summary="classifies an image from the weights of a SIREN that shows it",
    metric="test accuracy",
    data=("digits", "mnist", "fashion_mnist", "cifar10"),
    sizes={
        "tiny": _TINY,
        "small": _SMALL,
        "paper": _PAPER,
        "meta-learned": _LEARNED,
        "end-to-end": replace(_LEARNED, end_to_end=True),
    },
    paper={
        "mnist": {"mlp": 0.145, "mlp-aug": 0.210, "np": 0.929, "hnp": 0.925, "nft": 0.985},
        "fashion_mnist": {"mlp": 0.125, "mlp-aug": 0.159, "np": 0.756, "hnp": 0.727, "nft": 0.793},
        "cifar10": {"mlp": 0.169, "mlp-aug": 0.189, "np": 0.466, "hnp": 0.441, "nft": 0.634},
    },
    interface=_interface,
    prepare=_prepare,
    plot=_plot,
    more={"PSNR": Classification.fidelity},
)
