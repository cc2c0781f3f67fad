"""Images as INRs: the data of the suites on implicit neural representations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import nan

import torch
from torch import Tensor

from nfn_optim import NetworkSpec, WeightSpaceFeatures

from ...population import join
from ...support import Progress, require_counts
from ...tasks import Dataset
from ...zoo import FieldConfig, cache_folder, evaluate_fields, fit_sirens, image_grid, siren
from ..harness import Size, StageProgress
from ._images import Images, split
from ._normal_form import normal_form

FAST_FIELD = FieldConfig(omega=15.0, num_steps=300, lr=2e-3)
"""INRs near their start, quickly fitted and easily read: 25 dB on MNIST."""

_MOST_COPIES = 10  # the paper's number
_TRAIN_SEED, _VALIDATION_SEED, _TEST_SEED, _FIRST_COPY_SEED = range(4)


@dataclass(frozen=True, kw_only=True)
class INRSize(Size):
    """How many images, and the INRs that show them.

    Attributes:
        num_train: Images for training, at most; if there are fewer, each is fitted up to ten times,
            so that there are about as many INRs.
        num_validation: Images for validation, at most.
        num_test: Images for testing, at most.
        copies: INRs of each training image, fitted from different initialisations.
        field: The INR, and how it is fitted.
        normal: Whether INRs are written in normal form.
        amplitude: The value of a white pixel in the INRs; a black one has its negative.

    Raises:
        ValueError: If a number is below 1.
    """

    num_train: int
    num_validation: int
    num_test: int
    copies: int = 1
    field: FieldConfig
    normal: bool = False
    amplitude: float = 1.0

    def __post_init__(self) -> None:
        require_counts(self, "num_train", "num_validation", "num_test", "copies")


@dataclass(frozen=True, eq=False)
class INRs:
    """INRs and what they show.

    Attributes:
        features: The INRs' weights, `(n, *axes, 1)`.
        images: In [0, 1], `(n, c, h, w)`.
        labels: `(n,)`.
    """

    features: WeightSpaceFeatures
    images: Tensor
    labels: Tensor


def inr_spec(size: INRSize, dataset: Dataset) -> NetworkSpec:
    """The symmetry of the INRs of a data set's images."""
    return NetworkSpec.from_module(siren(2, dataset.x_train.shape[1], size.field))


def make_inrs(
    size: INRSize, dataset: Dataset, device: torch.device, on_progress: StageProgress
) -> tuple[INRs, INRs, INRs]:
    """INRs of training, validation and test images, on a device.

    Raises:
        ValueError: If the data set is too small to be split.
    """
    train, validation, test = split(dataset, size.num_train, size.num_validation, size.num_test)

    def told(label: str, seed: int) -> Progress:
        return partial(on_progress, f"SIRENs, {label}, seed {seed}")

    def fitted(label: str, images: Images, *seeds: int) -> INRs:
        several = []
        for seed in seeds:
            spec, params = fit_sirens(
                images.features,
                size.field,
                amplitude=size.amplitude,
                seed=seed,
                on_progress=told(label, seed),
                cache=cache_folder(),
            )
            several.append(params)
        inrs = WeightSpaceFeatures.from_params(spec, join(several)).to(device)
        return INRs(
            normal_form(inrs, size.field.omega) if size.normal else inrs,
            torch.cat([images.features] * len(seeds)),
            torch.cat([images.targets] * len(seeds)).to(device),
        )

    enough = round(size.num_train * size.copies / len(train))
    copies = max(size.copies, min(enough, _MOST_COPIES))
    more = range(_FIRST_COPY_SEED, _FIRST_COPY_SEED + copies - 1)
    parts = (
        ("training", train, _TRAIN_SEED, *more),
        ("validation", validation, _VALIDATION_SEED),
        ("test", test, _TEST_SEED),
    )
    for label, images, *seeds in parts:
        for seed in seeds:  # so that the time left is that of all
            told(label, seed)(0, len(images))
    first, second, third = (fitted(*part) for part in parts)
    return first, second, third


def render(
    features: WeightSpaceFeatures,
    image_size: tuple[int, int],
    omega: float,
    pixels: Tensor | None = None,
) -> Tensor:
    """The images that INRs show, about in `[-amplitude, amplitude]`; a mean over channels.

    Args:
        features: INRs `(n, *axes, k)`: k for each image, whose values are averaged.
        image_size: Rows and columns.
        omega: Frequency factor.
        pixels: Numbers of the pixels to compute, row by row; the others are NaN. None is all.

    Returns:
        Images `(n, c, h, w)`.
    """
    coordinates = image_grid(*image_size).to(next(iter(features.values())))
    some = coordinates if pixels is None else coordinates[pixels]
    single = {name: tensor.movedim(-1, 1).flatten(0, 1) for name, tensor in features.items()}
    values = evaluate_fields(single, some, omega).unflatten(0, (-1, features.channels)).mean(1).mT
    if pixels is not None:
        whole = values.new_full((*values.shape[:-1], len(coordinates)), nan)
        values = whole.index_copy(-1, pixels, values)
    return values.unflatten(-1, image_size)
