"""Suites small enough for tests, with a cache of their own."""

from dataclasses import replace
from pathlib import Path

import pytest

from meta_train.suites._fit import FitConfig
from meta_train.suites._generalization import GeneralizationSize
from meta_train.suites._methods import NetworkSize
from meta_train.suites._registry import SUITES
from meta_train.suites._suite import Size
from meta_train.zoo import ClassifierConfig, FieldConfig

NETWORK = NetworkSize(channels=(4, 4), head=(8,), blocks=1, latents=2, bands=2)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new cache."""
    monkeypatch.setenv("NFN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def smallest(name: str) -> Size:
    """A size of a suite that takes a second."""
    fit = FitConfig(num_steps=6, batch_size=8, eval_every=3)
    tiny = replace(SUITES[name].sizes["tiny"], network=NETWORK, fit=fit)
    if isinstance(tiny, GeneralizationSize):
        classifiers = ClassifierConfig(checkpoints=(0, 2), num_evaluated=100)
        return replace(tiny, num_networks=40, pixels=4, classifiers=classifiers)
    return replace(
        tiny,
        num_train=40,
        num_validation=10,
        num_test=12,
        field=FieldConfig(hidden=(4, 4), omega=3.0, num_steps=5, lr=1e-2),
    )


@pytest.fixture
def small_suites(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Makes `tiny` of every suite that small."""
    for name, suite in list(SUITES.items()):
        monkeypatch.setitem(SUITES, name, replace(suite, sizes={"tiny": smallest(name)}))
