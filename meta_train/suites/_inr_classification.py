"""Classifying images from the weights of INRs that show them (NFN section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..zoo import FieldConfig
from ._examples import Examples
from ._fit import FitConfig, Objective
from ._images import num_classes, read_images
from ._inr_augment import INRAugmentation
from ._inr_networks import hnp, np
from ._inrs import FAST, INRSize, inr_spec, make_inrs
from ._interface import Interface
from ._methods import METHODS, NetworkSize
from ._siren_pass import Places
from ._suite import Data, Progress, Suite
from ._supervised import Supervised


@dataclass(frozen=True, kw_only=True)
class ClassificationSize(INRSize):
    """A size of the suite.

    Attributes:
        augment: What is done to training batches beside drawing them.
    """

    augment: INRAugmentation | None


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Part of the labels with the largest logit."""
    return float((logits.argmax(-1) == labels).double().mean())


def _interface(size: ClassificationSize, data: Data) -> Interface:
    dataset = read_images(data)
    return Interface(inr_spec(size, dataset), out_features=num_classes(dataset))


def _prepare(
    size: ClassificationSize, data: Data, device: torch.device, on_progress: Progress
) -> Supervised:
    train, validation, test = (
        Examples(part.features, part.labels)
        for part in make_inrs(size, read_images(data), device, on_progress)
    )
    augment = size.augment
    if augment is not None and size.normal:
        augment = replace(augment, omega=size.field.omega)
    objective = Objective(F.cross_entropy, accuracy, augment=augment)
    return Supervised(train, validation, test, objective, size.fit)


_TINY = ClassificationSize(
    data="digits",
    num_train=1000,
    num_validation=200,
    num_test=360,
    field=FieldConfig(hidden=(16, 16), omega=3.0, num_steps=300, lr=5e-3),
    augment=INRAugmentation(),
    network=NetworkSize(
        channels=(32, 32, 32),
        head=(128, 128),
        fourier=16,
        fourier_scale=0.3,
        bands=3,
        max_freq=3,
        blocks=1,
    ),
    fit=FitConfig(num_steps=600, batch_size=32, lr=1e-3, warmup=50, final_lr=0.0),
)
_PAPER = ClassificationSize(
    data="mnist",
    num_train=45_000,
    num_validation=5_000,
    num_test=10_000,
    copies=10,
    field=FieldConfig(num_steps=5_000, lr=5e-5, num_points=784),
    augment=None,
    network=NetworkSize(dropout=0.5, fourier=128, fourier_scale=10.0, bands=6),
    fit=FitConfig(num_steps=200_000, lr=1e-4, warmup=10_000, eval_every=3_000),
    num_seeds=3,
)
_SMALL = replace(
    _PAPER,
    num_train=10_000,
    num_validation=1_000,
    num_test=2_000,
    copies=1,
    field=FAST,
    normal=True,
    augment=INRAugmentation(flip=False, linear=0.05, shift=0.04),
    network=NetworkSize(
        channels=(48,),
        head=(512,),
        places=Places(side=8, span=0.85, omega=FAST.omega),
        fourier=32,
        fourier_scale=0.3,
        blocks=1,
    ),
    fit=FitConfig(num_steps=3_000, lr=1e-3, warmup=100, final_lr=0.0, eval_every=500),
    num_seeds=1,
)

SUITE = Suite(
    name="inr-classification",
    summary="classifies an image from the weights of a SIREN that shows it",
    metric="test accuracy",
    data=("digits", "mnist", "fashion_mnist", "cifar10"),
    sizes={"tiny": _TINY, "small": _SMALL, "paper": _PAPER},
    methods={
        "mlp": METHODS["mlp"],
        "mlp-aug": METHODS["mlp-aug"],
        "np": np,
        "hnp": hnp,
        "nft": METHODS["nft"],
    },
    paper={
        "mnist": {"mlp": 0.145, "mlp-aug": 0.210, "np": 0.929, "hnp": 0.925, "nft": 0.985},
        "fashion_mnist": {"mlp": 0.125, "mlp-aug": 0.159, "np": 0.756, "hnp": 0.727, "nft": 0.793},
        "cifar10": {"mlp": 0.169, "mlp-aug": 0.189, "np": 0.466, "hnp": 0.441, "nft": 0.634},
    },
    interface=_interface,
    prepare=_prepare,
)
