"""Suites small enough for tests, with a cache of their own."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from meta_train.suites._fit import FitConfig
from meta_train.suites._methods import NetworkSize
from meta_train.suites._registry import SUITES
from meta_train.suites._suite import Size
from meta_train.suites._tickets import TicketConfig
from meta_train.zoo import ClassifierConfig, FieldConfig, Zoo
from nfn_optim.testing import chain_spec, random_features

NETWORK = NetworkSize(channels=(4, 4), head=(8,), blocks=1, latents=2, bands=2)

SMALLEST: dict[str, Any] = {
    "num_train": 40,
    "num_validation": 10,
    "num_test": 12,
    "field": FieldConfig(hidden=(4, 4), omega=3.0, num_steps=5, lr=1e-2),
    "tickets": TicketConfig(hidden=(6, 5), rounds=2, num_steps=4, test_steps=4, lr=0.1),
    "classifiers": ClassifierConfig(checkpoints=(0, 2), num_evaluated=100),
    "num_networks": 40,
    "pixels": 4,
    "network": NETWORK,
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
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new cache."""
    monkeypatch.setenv("NFN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def smallest(name: str) -> Size:
    """A size of a suite that takes a second."""
    size = SUITES[name].sizes["tiny"]
    own = {field.name for field in fields(size)}
    return replace(size, **{key: value for key, value in SMALLEST.items() if key in own})


@pytest.fixture
def small_suites(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Makes `tiny` of every suite that small."""
    for name, suite in list(SUITES.items()):
        monkeypatch.setitem(SUITES, name, replace(suite, sizes={"tiny": smallest(name)}))
