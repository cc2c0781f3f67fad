"""Signs of hidden neurons: what they may change, and in which networks."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.func import functional_call

from meta_train.suites._registry import SUITES
from meta_train.suites.data._odd_flips import OddFlips, is_odd
from meta_train.suites.harness._examples import Examples
from meta_train.suites.tasks._generalization import prepare
from meta_train.support import fingerprint
from meta_train.zoo import ClassifierConfig, Zoo, save_zoo, small_cnn
from nfn_optim import WeightSpaceFeatures

from ..conftest import zoo_of

TANH = torch.tensor([False, True, True])


def networks() -> list[nn.Sequential]:
    torch.manual_seed(0)
    return [small_cnn(nn.Tanh if odd else nn.ReLU, padding=1) for odd in TANH]


def flipped(odd: torch.Tensor | None) -> tuple[Examples, Examples]:
    features = WeightSpaceFeatures.from_modules(networks())
    examples = Examples(features, torch.rand(3), odd)
    return examples, OddFlips()(examples, torch.Generator().manual_seed(0))


def test_networks_compute_the_same_with_other_weights() -> None:
    before, after = flipped(TANH)
    images = torch.randn(4, 1, 8, 8)
    for index, network in enumerate(networks()):
        params = {n: t[index] for n, t in after.features.to_params().items()}
        torch.testing.assert_close(functional_call(network, params, images), network(images))
    for name, tensor in after.features.items():
        same = (tensor == before.features[name]).flatten(1).all(1)
        assert same.tolist() == [True, *[name == "8.bias"] * 2]
        torch.testing.assert_close(tensor.abs(), before.features[name].abs())
    assert torch.equal(after.targets, before.targets)
    assert after.odd is before.odd


@pytest.mark.parametrize("odd", [None, torch.zeros(3, dtype=torch.bool)], ids=["unknown", "none"])
def test_other_networks_stay(odd: torch.Tensor | None) -> None:
    before, after = flipped(odd)
    assert after is before


def test_examples_keep_what_is_told_of_them() -> None:
    examples = flipped(TANH)[0]
    assert examples.take(torch.tensor([2, 0])).odd.tolist() == [True, False]  # type: ignore[union-attr]
    assert examples.to(torch.device("cpu")).odd is TANH
    assert fingerprint(examples) != fingerprint(replace(examples, odd=~TANH))


def test_zoos_tell_which_networks_are_odd() -> None:
    features = WeightSpaceFeatures.from_modules(networks())
    labels = {"activation": torch.tensor([1, 0, 1])}
    zoo = Zoo(features, labels, {"activation": ("tanh", "relu")})
    assert is_odd(zoo).tolist() == [False, True, False]
    assert is_odd(Zoo(features)).tolist() == [False] * 3
    assert is_odd(Zoo(features, {}, {"activation": ("tanh",)})).tolist() == [False] * 3


def test_networks_of_a_folder_may_be_anything_and_stay(tmp_path: Path) -> None:
    odd = zoo_of(60, {"activation": ("tanh",)}, activation=torch.zeros(60))
    save_zoo(odd, tmp_path)
    size = SUITES["cnn-generalization"].sizes["small"]
    problem = prepare(size, tmp_path, torch.device("cpu"), lambda *_: None)
    assert problem.train.odd is problem.objective.augment is None


@pytest.mark.usefixtures("cache")
def test_the_paper_s_size_flips_nothing() -> None:
    suite = SUITES["cnn-generalization"]
    assert [suite.sizes[name].flips for name in ("tiny", "small", "paper")] == [True, True, False]
    classifiers = ClassifierConfig(checkpoints=(1,), num_evaluated=20, num_train_evaluated=20)
    for flips in (True, False):
        size = replace(suite.sizes["tiny"], num_networks=96, classifiers=classifiers, flips=flips)
        problem = prepare(size, "digits", torch.device("cpu"), lambda *_: None)
        assert (problem.objective.augment is None) == (not flips)
        assert problem.train.odd is not None  # known, whether or not it is used
        assert problem.test.odd is None
