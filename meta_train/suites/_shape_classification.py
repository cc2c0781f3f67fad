"""Classifying 3-D shapes from SIRENs that know the distance to them (NFN section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F

from nfn_optim import NetworkSpec, WeightSpaceFeatures

from ..zoo import FieldConfig, cache_folder, fit_fields, siren
from ._examples import Examples
from ._fit import FitConfig, Objective
from ._inr_augment import INRAugmentation
from ._inr_classification import accuracy
from ._interface import Interface
from ._methods import METHODS, NetworkSize
from ._shape_classes import CLASSES
from ._shapes import Shapes, class_folders, draw_shapes, read_shapes, sample_distances
from ._suite import Data, Progress, Size, Suite
from ._supervised import Supervised

_SYNTHETIC = "synthetic"


@dataclass(frozen=True, kw_only=True)
class ShapeSize(Size):
    """A size of the suite.

    Attributes:
        num_train: Shapes to learn from.
        num_validation: Shapes to stop by.
        num_test: Shapes to report on.
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


def _interface(size: ShapeSize, data: Data) -> Interface:
    num_classes = len(class_folders(data)) if isinstance(data, Path) else len(CLASSES)
    return Interface(NetworkSpec.from_module(siren(3, 1, size.field)), out_features=num_classes)


def _shapes(size: ShapeSize, data: Data) -> Shapes:
    """As many as the size needs."""
    total = size.num_train + size.num_validation + size.num_test
    if data == _SYNTHETIC:
        return draw_shapes(total, seed=0)
    if not isinstance(data, Path):
        raise ValueError(
            f"this suite reads 3-D shapes, and no {type(data).__name__}. Pass the folder that has "
            f"a folder of shapes for each class, or {_SYNTHETIC!r}."
        )
    shapes = read_shapes(data, seed=0)
    if len(shapes.labels) < total:
        raise ValueError(
            f"{data} has {len(shapes.labels)} shapes; this size needs {total}. Use a smaller one."
        )
    return shapes


def _prepare(
    size: ShapeSize, data: Data, device: torch.device, on_progress: Progress
) -> Supervised:
    shapes = _shapes(size, data)
    coords, distances = sample_distances(shapes, size.num_places, seed=0)
    progress = partial(on_progress, "SIRENs")
    spec, params = fit_fields(
        coords, distances, size.field, on_progress=progress, cache=cache_folder()
    )
    features = WeightSpaceFeatures.from_params(spec, params)
    examples = Examples(features, shapes.labels).to(device)
    first, second = size.num_train, size.num_train + size.num_validation
    return Supervised(
        examples.take(slice(first)),
        examples.take(slice(first, second)),
        examples.take(slice(second, second + size.num_test)),
        Objective(F.cross_entropy, accuracy, augment=size.augment),
        size.fit,
    )


_TINY = ShapeSize(
    data=_SYNTHETIC,
    num_train=400,
    num_validation=100,
    num_test=200,
    field=FieldConfig(hidden=(32,), omega=10.0, num_steps=200, lr=1e-2),
    network=NetworkSize(
        channels=(16, 16, 16), head=(64, 64), fourier=16, fourier_scale=0.3, bands=3, max_freq=3
    ),
    fit=FitConfig(num_steps=800, lr=3e-3, warmup=20, final_lr=0.0),
    augment=INRAugmentation(linear=0.1, shift=0.05),
)
_PAPER = ShapeSize(
    data=_SYNTHETIC,
    num_train=20_000,
    num_validation=2_000,
    num_test=4_000,
    field=FieldConfig(hidden=(128,), num_steps=1_000, lr=1e-3),
    network=NetworkSize(dropout=0.5, fourier=128, bands=6),
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
    network=NetworkSize(
        channels=(32, 32, 32),
        head=(256, 256),
        fourier=16,
        fourier_scale=0.3,
        bands=3,
        max_freq=3,
    ),
    fit=FitConfig(num_steps=1_500, lr=3e-3, warmup=50, final_lr=0.0, eval_every=250),
    num_seeds=1,
    num_places=1024,
    augment=_TINY.augment,
)

SUITE = Suite(
    name="shape-classification",
    summary="classifies a 3-D shape from the weights of a SIREN that knows the distance to it",
    metric="test accuracy (paper: ShapeNet-10; ours: synthetic shapes)",
    data=(_SYNTHETIC,),
    sizes={"tiny": _TINY, "small": _SMALL, "paper": _PAPER},
    methods={name: METHODS[name] for name in ("mlp", "mlp-aug", "np", "hnp")},
    paper={_SYNTHETIC: {"mlp": 0.254, "mlp-aug": 0.338, "np": 0.887, "hnp": 0.869}},
    interface=_interface,
    prepare=_prepare,
)
