"""Suites small enough for tests, with a cache of their own."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from meta_train.suites import SUITES
from meta_train.suites.data import TicketConfig
from meta_train.suites.harness import FitConfig, Method, Size
from meta_train.suites.networks import (
    Equivariant,
    FlatWeights,
    Renumbered,
    Statistics,
    Transformer,
    _consensus,
)
from meta_train.zoo import ClassifierConfig, FieldConfig, Zoo
from nfn_optim import NetworkSpec
from nfn_optim.cache import cache_folder
from nfn_optim.layers import HNPLinear, NPLinear, Pointwise
from nfn_optim.networks import EquivariantConfig, HeadConfig, InputConfig, TransformerConfig
from nfn_optim.testing import chain_spec, random_features

NFLayer = Callable[[NetworkSpec, int, int], nn.Module]
HEAD = HeadConfig((8,))


def small(layer: NFLayer, bands: int = 0, norm: bool = False) -> Equivariant:
    """Few NF-Layers of few channels."""
    layers = EquivariantConfig(InputConfig(bands=bands), layer, (4, 4), norm=norm)
    return Equivariant(layers, HEAD)


METHODS: dict[str, Method] = {
    "mlp": FlatWeights(HEAD),
    "mlp-aug": Renumbered(FlatWeights(HEAD)),
    "statnn": Statistics(HEAD),
    "pt": small(Pointwise, bands=2),
    "np": small(NPLinear, bands=2),
    "hnp": small(HNPLinear),
    "nft": Transformer(TransformerConfig(InputConfig(), 4, 1, widening=2, latents=2), 8),
}
"""The paper's, as small as can be."""

SMALLEST: dict[str, Any] = {
    "num_train": 40,
    "num_validation": 10,
    "num_test": 12,
    "field": FieldConfig(hidden=(4, 4), omega=3.0, num_steps=5, lr=1e-2),
    "tickets": TicketConfig(hidden=(6, 5), rounds=2, num_steps=4, test_steps=4, lr=0.1),
    "classifiers": ClassifierConfig(checkpoints=(0, 2), num_evaluated=100),
    "num_networks": 40,
    "pixels": 4,
    "fit": FitConfig(num_steps=6, batch_size=8, eval_every=3),
}
"""Fields of the suites' sizes, where they have them."""


CHAIN = chain_spec((3, 4, 2))


def zoo_of(
    n: int, categories: Mapping[str, tuple[str, ...]] | None = None, **labels: Tensor
) -> Zoo:
    """Networks of `CHAIN` whose accuracies follow from the mean of their first weight."""
    features = random_features(
        CHAIN, 1, torch.Generator().manual_seed(0), batch=(n,), dtype=torch.float32
    )
    accuracies = torch.sigmoid(5 * features["0.weight"].mean((1, 2, 3)))
    return Zoo(features, {"test_accuracy": accuracies, **labels}, categories or {})


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new cache, with the compiled code of the old one."""
    folder = tmp_path_factory.mktemp("cache")
    for library in cache_folder().glob("*.so"):
        (folder / library.name).symlink_to(library)
    monkeypatch.setenv("NFN_CACHE", str(folder))
    return folder


def narrow(value: Any) -> Any:
    """A method, and all that it is made of, of few channels."""
    if isinstance(value, TransformerConfig):
        return replace(value, channels=4, latents=2)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    width = 8 if isinstance(value, HeadConfig) else 4
    changed = {field.name: narrow(getattr(value, field.name)) for field in fields(value)}
    if "hidden" in changed and isinstance(value.hidden, tuple):
        changed["hidden"] = (width,) * len(value.hidden)
    if "probes" in changed:
        changed["probes"] = 5
    return replace(value, **changed)


def smallest(name: str) -> Size:
    """A size of a suite that takes a second."""
    size = SUITES[name].sizes["tiny"]
    own = {field.name for field in fields(size)}
    smaller = {key: value for key, value in SMALLEST.items() if key in own}
    methods = {key: narrow(method) for key, method in size.methods.items()}
    return replace(size, methods=methods, **smaller)


@pytest.fixture
def small_suites(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Makes `tiny` of every suite that small."""
    monkeypatch.setattr(_consensus, "_STEPS", 5)
    for name, suite in list(SUITES.items()):
        monkeypatch.setitem(SUITES, name, replace(suite, sizes={"tiny": smallest(name)}))
