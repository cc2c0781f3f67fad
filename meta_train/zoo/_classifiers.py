"""Classifier zoos: networks of one architecture, trained with many hyperparameters.

After the Small CNN Zoo (Unterthiner et al., 2020) and NFN appendix E.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nfn_optim import NetworkSpec

from ..population import check_layers, chunk_seed, chunks, join
from ..support import Progress, fingerprint, remember
from ..tasks import Dataset, Params
from ._files import Zoo
from ._hyperparameters import ACTIVATIONS, OPTIMIZERS, ClassifierConfig
from ._training import ClassifierTrainer, warn_of_rare_classes

Build = Callable[[Callable[[], nn.Module]], nn.Sequential]

_CATEGORIES = {"activation": tuple(ACTIVATIONS), "optimizer": OPTIMIZERS}
_NUMBERS = (
    *("train_loss", "train_accuracy", "test_loss", "test_accuracy", "step", "network"),
    *("lr", "l2", "init_scale", "dropout", "train_fraction"),
)
CLASSIFIER_LABELS: dict[str, tuple[str, ...]] = {**dict.fromkeys(_NUMBERS, ()), **_CATEGORIES}
"""Labels of a zoo of `train_classifiers`, with the categories of those that have some."""

_AT_ONCE = 48  # networks of a chunk at most: all of them share activation and optimizer
_NUMBERS_AT_ONCE = 2_000_000  # activations of a chunk's networks: more of them leave the cache
_LABEL = "label "


def small_cnn(
    activation: Callable[[], nn.Module] = nn.ReLU,
    *,
    channels: int = 1,
    num_classes: int = 10,
    padding: int = 0,
) -> nn.Sequential:
    """The network of the Small CNN Zoo: three convolutions of 16 with stride 2, a mean, a Linear.

    Args:
        activation: Makes what follows each convolution.
        channels: Of the images.
        num_classes: Number of outputs.
        padding: 0 as in the Small CNN Zoo; 1 for images smaller than 15 x 15.
    """
    layers: list[nn.Module] = []
    for n_in in (channels, 16, 16):
        layers += [nn.Conv2d(n_in, 16, 3, stride=2, padding=padding), activation()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes))


def build_each(build: Build, activations: Iterable[str]) -> dict[str, nn.Sequential]:
    """The network with each of the activations, by their names in a `ClassifierConfig`."""
    return {name: build(ACTIVATIONS[name]) for name in activations}


def train_classifiers(
    build: Build,
    data: Dataset,
    num_networks: int,
    config: ClassifierConfig | None = None,
    *,
    seed: int = 0,
    on_progress: Progress | None = None,
    cache: Path | None = None,
) -> Zoo:
    """Trains classifiers with random hyperparameters and keeps them at several steps.

    Main arguments:
        build: Makes the network from a maker of activations, of layers that `small_cnn` has:
            `small_cnn`, or `lambda act: nn.Sequential(nn.Flatten(), ..., act(), ...)`.
        data: What they learn to classify.
        num_networks: How many are trained; each appears once for every checkpoint.
        config: Hyperparameters and checkpoints; `ClassifierConfig()` without.

    Other arguments:
        seed: Of hyperparameters, starts and batches.
        on_progress: Called with the numbers of finished and of all networks.
        cache: Folder for finished chunks, e.g. `cache_folder()`; None keeps none.

    Returns:
        Networks with the labels `train_loss`, `train_accuracy`, `test_loss`, `test_accuracy`,
        `step`, `network` (equal for the checkpoints of one) and the hyperparameters `lr`, `l2`,
        `init_scale`, `dropout`, `train_fraction`, `activation` and `optimizer`. Networks that
        diverged are left out.

    Raises:
        ValueError: If images or labels are of another kind or number, the network has other layers
            or does not fit the data, or all networks diverge.

    Warns:
        UserWarning: If one class is so rare that few samples are left to measure on.
    """
    config = config or ClassifierConfig()
    _check_data(data)
    modules = build_each(build, ACTIVATIONS)
    for module in modules.values():
        _check(module, data, num_networks)
    spec = NetworkSpec.from_module(modules["relu"])
    data = data.shuffled(seed)
    warn_of_rare_classes(data, config)
    info = {
        **asdict(config),
        "seed": seed,
        "network": str(modules["relu"]),
        "data": fingerprint(data),
    }
    kinds = list(product(config.activations, config.optimizers))
    numbers = config.batch_size * _activations(modules["relu"], data)
    size = min(_AT_ONCE, max(1, _NUMBERS_AT_ONCE // numbers))
    parts = []
    for index, chunk in enumerate(chunks(num_networks, size)):
        activation, optimizer = kinds[index % len(kinds)]
        trainer = ClassifierTrainer(spec, modules[activation], optimizer, data, config)
        make = partial(_make, trainer, activation, chunk, seed)
        parts.append(_finite(remember(cache, "classifiers", (info, chunk), make)))
        if on_progress is not None:
            on_progress(chunk.stop, num_networks)
    rows = join(parts)
    if not len(rows[_LABEL + "network"]):
        raise ValueError(
            f"all {num_networks} networks diverged. Lower the configuration's lr {config.lr}, l2 "
            f"{config.l2} or init_scale {config.init_scale}."
        )
    return _as_zoo(spec, rows, {"what": "classifiers", "networks": num_networks, **info})


def _check_data(data: Dataset) -> None:
    for part in ("train", "test"):
        images, labels = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
        if images.dim() < 2 or not images.is_floating_point() or not len(images):
            raise ValueError(
                f"x_{part} has the shape {tuple(images.shape)} and dtype {images.dtype}. Pass "
                "floating point images (n, c, h, w), or rows of numbers (n, d)."
            )
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"y_{part} has the shape {tuple(labels.shape)} and dtype {labels.dtype}. Pass one "
                f"class, int64, for each of the {len(images)} images of x_{part}."
            )
        if not images.isfinite().all():
            raise ValueError(f"x_{part} has numbers that are not finite. Leave those images out.")
        if labels.min() < 0:
            raise ValueError(f"y_{part} has the class {int(labels.min())}. Count classes from 0.")
    if data.x_train.shape[1:] != data.x_test.shape[1:] or data.x_train.dtype != data.x_test.dtype:
        raise ValueError(
            f"x_train has images {tuple(data.x_train.shape[1:])} of {data.x_train.dtype}, x_test "
            f"{tuple(data.x_test.shape[1:])} of {data.x_test.dtype}. Give both the same."
        )


def _check(module: nn.Sequential, data: Dataset, num_networks: int) -> None:
    check_layers(module)
    if num_networks < 1:
        raise ValueError(f"a zoo needs at least one network; got {num_networks}.")
    classes = int(max(data.y_train.max(), data.y_test.max())) + 1
    try:
        outputs = tuple(module(data.x_train[:2]).shape[1:])
    except RuntimeError as error:
        images = f"shape {tuple(data.x_train.shape[1:])} and dtype {data.x_train.dtype}"
        raise ValueError(f"the network cannot read images of {images}: {error}") from error
    if len(outputs) != 1 or outputs[0] < classes:
        raise ValueError(
            f"the network's outputs have the shape {outputs}, but the data has {classes} classes."
        )


def _activations(module: nn.Sequential, data: Dataset) -> int:
    """How many numbers the layers of a network write for one image."""
    x, total = data.x_train[:1], 0
    for layer in module:
        x = layer(x)
        total += x.numel()
    return total


def _make(trainer: ClassifierTrainer, activation: str, chunk: slice, seed: int) -> Params:
    """Weights and labels of one chunk as one set of tensors."""
    params, labels = trainer.train(chunk.stop - chunk.start, chunk_seed(seed, chunk))
    labels["network"] += chunk.start
    for name, value in (
        ("activation", list(ACTIVATIONS).index(activation)),
        ("optimizer", OPTIMIZERS.index(trainer.optimizer)),
    ):
        labels[name] = torch.full_like(labels["network"], value)
    return params | {_LABEL + name: tensor for name, tensor in labels.items()}


def _finite(rows: Params) -> Params:
    """Leaves out networks, weights and labels, that diverged."""
    finite = torch.stack([t.reshape(len(t), -1).isfinite().all(1) for t in rows.values()]).all(0)
    return rows if finite.all() else {name: tensor[finite] for name, tensor in rows.items()}


def _as_zoo(spec: NetworkSpec, rows: Params, info: dict[str, Any]) -> Zoo:
    return Zoo.from_params(
        spec,
        rows,
        labels={n.removeprefix(_LABEL): t for n, t in rows.items() if n.startswith(_LABEL)},
        categories=_CATEGORIES,
        info=info,
    )
