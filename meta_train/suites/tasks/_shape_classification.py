"""Classifying 3-D shapes from SIRENs fitted to the distance to them (NFN section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F

from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.networks import HeadConfig, InputConfig

from ...zoo import FieldConfig, cache_folder, fit_fields, siren
from ..data import (
    SHAPE_CLASSES,
    INRAugmentation,
    Shapes,
    class_folders,
    draw_shapes,
    read_shapes,
    sample_distances,
)
from ..harness import (
    Data,
    Examples,
    FitConfig,
    Interface,
    Objective,
    Outcome,
    Size,
    StageProgress,
    Suite,
    Supervised,
)
from ..networks import paper_methods
from ._classification_sizes import accuracy
from ._inr_classification import READERS, plot_classes

_SYNTHETIC, _PAPERS = "synthetic", "shapenet10"


@dataclass(frozen=True, kw_only=True)
class ShapeSize(Size):
    """A size of the suite.

    Attributes:
        num_train: Shapes for training.
        num_validation: Shapes for validation.
        num_test: Shapes for testing.
        field: The SIREN, and how it is fitted.
        num_places: Places of a shape where its distance is known.
        augment: What is done to training batches beside drawing them.
    """

    num_train: int
    num_validation: int
    num_test: int
    field: FieldConfig
    num_places: int = 1024
    augment: INRAugmentation | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class ShapeClassification(Supervised):
    """The suite's experiment.

    Attributes:
        classes: Their names, for the picture.
    """

    classes: tuple[str, ...]


def _classes(data: Data) -> tuple[str, ...]:
    if isinstance(data, Path):
        return tuple(folder.name for folder in class_folders(data))
    return tuple(SHAPE_CLASSES)


def _interface(size: ShapeSize, data: Data) -> Interface:
    spec = NetworkSpec.from_module(siren(3, 1, size.field))
    return Interface(spec, out_features=len(_classes(data)))


def _shapes(size: ShapeSize, data: Data) -> Shapes:
    """As many as the size needs."""
    total = size.num_train + size.num_validation + size.num_test
    if data == _SYNTHETIC:
        return draw_shapes(total, seed=0)
    if not isinstance(data, Path):
        raise ValueError(
            f"this suite reads 3-D shapes, not {_what(data)}. Pass the folder that has a folder of "
            f"shapes for each class, or {_SYNTHETIC!r}."
        )
    shapes = read_shapes(data, seed=0)
    if len(shapes.labels) < total:
        raise ValueError(
            f"{data} has {len(shapes.labels)} shapes; this size needs {total}. Use a smaller one."
        )
    return shapes


def _what(data: Data) -> str:
    return f"the name {data!r}" if isinstance(data, str) else f"a {type(data).__name__}"


def _prepare(
    size: ShapeSize, data: Data, device: torch.device, on_progress: StageProgress
) -> ShapeClassification:
    shapes = _shapes(size, data)
    coords, distances = sample_distances(shapes, size.num_places, seed=0)
    progress = partial(on_progress, "SIRENs")
    spec, params = fit_fields(
        coords, distances, size.field, on_progress=progress, cache=cache_folder()
    )
    features = WeightSpaceFeatures.from_params(spec, params)
    examples = Examples(features, shapes.labels).to(device)
    first, second = size.num_train, size.num_train + size.num_validation
    return ShapeClassification(
        examples.take(slice(first)),
        examples.take(slice(first, second)),
        examples.take(slice(second, second + size.num_test)),
        Objective(F.cross_entropy, accuracy, augment=size.augment),
        size.fit,
        classes=_classes(data),
    )


def _plot(experiment: ShapeClassification, outcomes: Mapping[str, Outcome], path: Path) -> None:
    plot_classes(experiment.test.targets, outcomes, experiment.classes, path)


_INPUTS = InputConfig(fourier=16, fourier_scale=0.3)
_POSITIONS = replace(_INPUTS, bands=3, max_freq=3)
_TINY = ShapeSize(
    data=_SYNTHETIC,
    num_train=400,
    num_validation=100,
    num_test=200,
    field=FieldConfig(hidden=(32,), omega=10.0, num_steps=200, lr=1e-2),
    methods=paper_methods(READERS, (16, 16, 16), HeadConfig((64, 64)), _INPUTS, _POSITIONS),
    fit=FitConfig(num_steps=800, lr=3e-3, warmup=20, final_lr=0.0),
    augment=INRAugmentation(linear=0.1, shift=0.05),
)
_PAPER = ShapeSize(
    data=_SYNTHETIC,
    num_train=20_000,
    num_validation=2_000,
    num_test=4_000,
    field=FieldConfig(hidden=(128,), num_steps=1_000, lr=1e-3),
    methods=paper_methods(
        READERS,
        (512, 512, 512),
        HeadConfig(dropout=0.5),
        InputConfig(fourier=128, fourier_scale=1.0),
        InputConfig(fourier=128, fourier_scale=1.0, bands=6),
    ),
    fit=FitConfig(num_steps=200_000, lr=1e-4, warmup=10_000, eval_every=3_000),
    num_seeds=3,
    num_places=10_000,
)
_SMALL = replace(
    _PAPER,
    num_train=3_000,
    num_validation=300,
    num_test=500,
    field=FieldConfig(hidden=(128,), omega=10.0, num_steps=200, lr=1e-2),
    methods=paper_methods(READERS, (32, 32, 32), HeadConfig((256, 256)), _INPUTS, _POSITIONS),
    fit=FitConfig(num_steps=1_500, lr=3e-3, warmup=50, final_lr=0.0, eval_every=250),
    num_seeds=1,
    num_places=1024,
    augment=_TINY.augment,
)

SUITE = Suite(
    name="shape-classification",
    summary="classifies a 3-D shape from the weights of a SIREN fitted to the distance to it",
    metric="test accuracy",
    data=(_SYNTHETIC, _PAPERS),
    sizes={"tiny": _TINY, "small": _SMALL, "paper": _PAPER},
    paper={_PAPERS: {"mlp": 0.254, "mlp-aug": 0.338, "np": 0.887, "hnp": 0.869}},
    interface=_interface,
    prepare=_prepare,
    plot=_plot,
)
