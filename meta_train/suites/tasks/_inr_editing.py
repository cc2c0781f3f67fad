"""Editing images in weight space: dilated digits, colors with more contrast (NFN section 3.4).

Images are in [-1, 1] here, as in the paper's numbers; an error is four times that in [0, 1]. Later
papers measure in [0, 1], on other SIRENs: the size `neural-graphs`. A higher contrast enlarges the
errors of an image, too: the size `photographs` has SIRENs that are fitted more closely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.layers import HNPLinear, LearnedScale, NPLinear
from nfn_optim.networks import EquivariantConfig, HeadConfig, InputConfig

from ...zoo import FieldConfig, dws_start
from ..data import (
    FAST_FIELD,
    INRAugmentation,
    INRSize,
    dilate,
    inr_spec,
    make_inrs,
    raise_contrast,
    read_images,
    render,
)
from ..harness import (
    Data,
    Examples,
    FitConfig,
    Interface,
    Method,
    Objective,
    Outcome,
    StageProgress,
    Suite,
    Supervised,
    plot_images,
)
from ..networks import (
    ConvolutionalReader,
    Equivariant,
    Heads,
    NeuronEditor,
    PixelMLP,
    Places,
    SirenPass,
    paper_methods,
)

_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class EditingSize(INRSize):
    """A size of the suite.

    Attributes:
        pixels: How many pixels of an image a training step renders; None renders all.
    """

    pixels: int | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Editing(Supervised):
    """The suite's experiment.

    Attributes:
        originals: Test images before the edit, for the picture.
        amplitude: The value of a white pixel.
    """

    originals: Tensor
    amplitude: float


class Editor(nn.Module):
    """`U + scale * network(U)`, rendered: the image that an edited INR shows.

    A network may write k changes: then the image is the mean of what k edited INRs show. The mean
    of INRs that are so small shows more than one of them can (Dayan et al., arXiv 2602.01083).

    Args:
        network: From INRs to changes of their weights.
        spec: Of the INRs.
        image_size: Rows and columns.
        omega: Frequency factor of the INRs.
        pixels: How many are rendered in training, drawn anew in every call; the others are NaN.
            None is all.

    Shape:
        INRs `(n, *axes, 1)` to images `(n, c, h, w)`.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: NetworkSpec,
        image_size: tuple[int, int],
        omega: float,
        pixels: int | None = None,
    ) -> None:
        super().__init__()
        self.network, self.scale = network, LearnedScale(spec, 0.01)
        self.image_size, self.omega, self.pixels = image_size, omega, pixels

    def forward(self, features: WeightSpaceFeatures) -> Tensor:
        """Edits and renders INRs."""
        changes = self.scale(self.network(features))
        edited = [t + change for t, change in zip(features.values(), changes.values(), strict=True)]
        return render(features.like(edited), self.image_size, self.omega, self._draw())

    def _draw(self) -> Tensor | None:
        if self.pixels is None or not self.training:
            return None
        device = self.scale.scales.device
        return torch.randperm(prod(self.image_size), device=device)[: self.pixels]


def edit(images: Tensor, amplitude: float = 1.0) -> Tensor:
    """What edited INRs should show: gray images dilated, color images with more contrast.

    Args:
        images: In [0, 1], `(n, c, h, w)`.
        amplitude: The value of white; black has its negative.

    Returns:
        Edited images in `[-amplitude, amplitude]`.
    """
    edited = dilate(images) if images.shape[1] == 1 else raise_contrast(images)
    return amplitude * (2 * edited - 1)


def mean_squared_error(predictions: Tensor, targets: Tensor) -> float:
    """Over all pixels and images."""
    return float(F.mse_loss(predictions, targets))


def loss_where_rendered(predictions: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error over the pixels that the first image has; the same are NaN in all."""
    rendered = ~predictions[0, 0].isnan()
    return F.mse_loss(predictions[..., rendered], targets[..., rendered])


def _interface(size: EditingSize, data: Data) -> Interface:
    dataset = read_images(data)
    channels = dataset.x_train.shape[1]
    if channels not in (1, 3):
        raise ValueError(
            f"this suite edits gray and RGB images, of 1 or 3 channels; got {channels}. Leave out "
            "the others, or average them."
        )
    return Interface(inr_spec(size, dataset), several=True)


def _prepare(
    size: EditingSize, data: Data, device: torch.device, on_progress: StageProgress
) -> Editing:
    parts = make_inrs(size, read_images(data), device, on_progress)
    height, width = parts[0].images.shape[-2:]
    train, validation, test = (
        Examples(part.features, edit(part.images, size.amplitude).to(device)) for part in parts
    )
    augment = None if size.normal else INRAugmentation()  # a normal form settles signs
    return Editing(
        train,
        validation,
        test,
        Objective(loss_where_rendered, mean_squared_error, lower_is_better=True, augment=augment),
        size.fit,
        finish=lambda network: Editor(
            network, train.features.spec, (height, width), size.field.omega, size.pixels
        ),
        originals=size.amplitude * (2 * parts[-1].images - 1),
        amplitude=size.amplitude,
    )


def _plot(experiment: Editing, outcomes: Mapping[str, Outcome], path: Path) -> None:
    rows = {"original": experiment.originals, "target": experiment.test.targets.cpu()}
    rows |= {
        f"{name}\nerror {outcome.score:.4f}": outcome.predictions
        for name, outcome in outcomes.items()
    }
    shown = {name: images[:_SHOWN] / experiment.amplitude for name, images in rows.items()}
    plot_images(shown, path)


def _networks(
    inputs: InputConfig, hidden: tuple[int, ...], mlp: tuple[int, ...]
) -> dict[str, Method]:
    """The paper's methods."""
    positions = replace(inputs, bands=3, max_freq=3)
    names = ("mlp", "mlp-aug", "pt", "np", "hnp")
    return paper_methods(names, hidden, HeadConfig(mlp), inputs, positions)


def _averaging(networks: int, omega: float) -> dict[str, Method]:
    """Methods that write several networks for each, and start from what SIRENs compute.

    Args:
        networks: How many.
        omega: Frequency factor of the SIRENs.
    """
    np, hnp = (
        Equivariant(EquivariantConfig(layer=layer, hidden=(64,))) for layer in (NPLinear, HNPLinear)
    )
    few = Places(side=8, span=0.85, omega=omega)
    return {
        "np+": Heads(SirenPass(few, np, per_position=True), networks),
        "hnp+": Heads(SirenPass(few, hnp), networks),
        "probes": NeuronEditor(Places(side=14, span=0.93, omega=omega), PixelMLP(), networks),
    }


_TINY = EditingSize(
    data="digits",
    num_train=1000,
    num_validation=200,
    num_test=360,
    field=FieldConfig(hidden=(16, 16), omega=3.0, num_steps=300, lr=5e-3),
    methods=_networks(InputConfig(fourier=16, fourier_scale=0.3), (32, 32), (256, 256)),
    fit=FitConfig(num_steps=400, lr=3e-3, warmup=50, final_lr=0.0),
)
_PAPER = EditingSize(
    data="mnist",
    num_train=45_000,
    num_validation=5_000,
    num_test=10_000,
    field=FieldConfig(num_steps=5_000, lr=5e-5, num_points=784),
    methods=_networks(
        InputConfig(fourier=128, fourier_scale=1.0), (128, 128, 128), (1000, 1000, 1000)
    ),
    fit=FitConfig(num_steps=50_000, warmup=1_000, eval_every=1_000),
    num_seeds=3,
)
_SMALL = replace(
    _PAPER,
    num_train=10_000,
    num_validation=1_000,
    num_test=2_000,
    field=FAST_FIELD,
    normal=True,
    methods={
        **_networks(InputConfig(fourier=16, fourier_scale=0.3), (64,), (512, 512, 512)),
        **_averaging(8, FAST_FIELD.omega),
    },
    fit=FitConfig(num_steps=3_000, lr=2e-3, warmup=100, final_lr=0.0, eval_every=500),
    num_seeds=1,
    pixels=98,
)
_SHARP_FIELD = FieldConfig()
_PHOTOGRAPHS = replace(
    _SMALL,
    data="cifar10",
    field=_SHARP_FIELD,
    methods={
        **_networks(InputConfig(fourier=16, fourier_scale=0.3), (64,), (512, 512, 512)),
        **_averaging(8, _SHARP_FIELD.omega),
        "probes": NeuronEditor(
            Places(side=16, span=0.94, omega=_SHARP_FIELD.omega), ConvolutionalReader(), 8
        ),
    },
)
_DWS_FIELD = FieldConfig(num_steps=2_500, lr=1.5e-3, start=dws_start)
_NEURAL_GRAPHS = replace(
    _SMALL,
    num_train=8_000,
    field=_DWS_FIELD,
    amplitude=0.5,
    methods={
        **_networks(InputConfig(fourier=16, fourier_scale=0.3), (64,), (512, 512, 512)),
        **_averaging(8, _DWS_FIELD.omega),
    },
    fit=replace(_SMALL.fit, num_steps=2_000),
    paper={"mnist": {"np": 0.0255}},  # Kofinas et al. (2024)
)

SUITE = Suite(
    name="inr-editing",
    summary="edits the image that a SIREN shows by changing its weights",
    metric="test mean squared error, lower is better; white and black are 2 apart, or 1 in the "
    "protocol of neural graphs",
    data=("digits", "mnist", "fashion_mnist", "cifar10"),
    sizes={
        "tiny": _TINY,
        "small": _SMALL,
        "paper": _PAPER,
        "neural-graphs": _NEURAL_GRAPHS,
        "photographs": _PHOTOGRAPHS,
    },
    paper={
        "mnist": {"mlp": 0.306, "mlp-aug": 0.307, "pt": 0.197, "np": 0.068, "hnp": 0.070},
        "cifar10": {"mlp": 0.031, "mlp-aug": 0.029, "pt": 0.029, "np": 0.020, "hnp": 0.021},
    },
    interface=_interface,
    prepare=_prepare,
    plot=_plot,
)
