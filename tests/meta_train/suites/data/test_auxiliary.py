"""What else is known of networks, as targets beside their accuracy."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from meta_train import load_data, run_suite
from meta_train.suites._registry import SUITES
from meta_train.suites.data._auxiliary import auxiliary_targets, labels_of, num_auxiliary
from meta_train.suites.harness._interface import Interface
from meta_train.suites.tasks._generalization import prepare, read_interface
from meta_train.zoo import (
    CLASSIFIER_LABELS,
    ClassifierConfig,
    Zoo,
    save_zoo,
    small_cnn,
    train_classifiers,
)
from nfn_optim import NetworkSpec
from nfn_optim.networks import HeadConfig, StatNN

from ..conftest import CHAIN, zoo_of

CPU = torch.device("cpu")
SIZE = SUITES["mlp-generalization"].sizes["tiny"]
OPTIMIZERS = {"optimizer": ("adam", "sgd", "momentum")}


def test_numbers_count_by_rank() -> None:
    rates = torch.tensor([1e-1, 1e-4, 1e-2, 1e-3])
    targets = auxiliary_targets(zoo_of(4, lr=rates))
    assert torch.equal(targets, auxiliary_targets(zoo_of(4, lr=rates.log())))
    torch.testing.assert_close(targets[:, 0], torch.tensor([3, -3, 1, -1]) * 12**0.5 / 8)
    many = auxiliary_targets(zoo_of(500, train_loss=torch.rand(500)))
    torch.testing.assert_close(many.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(many.var(correction=0), torch.tensor(1.0), atol=1e-4, rtol=0)


def test_equal_numbers_are_equal_and_a_loss_that_is_none_is_largest() -> None:
    losses = torch.tensor([2.0, 0.5, 2.0, math.nan, math.inf])
    targets = auxiliary_targets(zoo_of(5, test_loss=losses))[:, 0]
    assert targets[0] == targets[2]
    assert targets[1] < targets[0] < targets[3] == targets[4]


def test_each_category_is_a_target() -> None:
    targets = auxiliary_targets(zoo_of(3, OPTIMIZERS, optimizer=torch.tensor([2, 0, 0])))
    assert targets.tolist() == [[-1, -1, 1], [1, -1, -1], [1, -1, -1]]


def test_categories_of_unknown_meaning_are_no_targets() -> None:
    zoo = zoo_of(3, optimizer=torch.tensor([2, 0, 0]), lr=torch.rand(3))
    assert auxiliary_targets(zoo).shape == (3, 1)
    assert num_auxiliary(labels_of(zoo)) == 1


def test_runs_and_accuracies_are_no_auxiliary_targets() -> None:
    zoo = zoo_of(4, network=torch.arange(4), mine=torch.rand(4, 2))
    assert auxiliary_targets(zoo).shape == (4, 0)
    assert num_auxiliary(labels_of(zoo)) == 0


def test_all_that_is_known_of_trained_networks_is_told() -> None:
    config = ClassifierConfig(checkpoints=(2,), num_evaluated=50, num_train_evaluated=50)
    data = load_data("digits")
    zoo = train_classifiers(lambda act: small_cnn(act, padding=1), data, 3, config)
    assert labels_of(zoo) == CLASSIFIER_LABELS
    assert auxiliary_targets(zoo).shape == (3, num_auxiliary(CLASSIFIER_LABELS)) == (3, 14)


def test_only_the_paper_s_size_learns_accuracies_alone() -> None:
    for suite in ("mlp-generalization", "mlp-generalization-5", "cnn-generalization"):
        sizes = SUITES[suite].sizes
        extra = [read_interface(sizes[name], "digits").auxiliary for name in ("tiny", "paper")]
        assert extra == [14, 0]
        assert sizes["small"].auxiliary > 0


def test_a_network_may_write_the_auxiliary_numbers_or_not() -> None:
    interface = Interface(CHAIN, 1, auxiliary=4)
    for length in (1, 5):
        interface.check(StatNN(CHAIN, HeadConfig(out_features=length)), CPU)
    message = r"(?s)\(2, 4\).*needs.*\(2, 1\) or .*\(2, 5\).*HeadConfig\(out_features=1\)"
    with pytest.raises(ValueError, match=message):
        interface.check(StatNN(CHAIN, HeadConfig(out_features=4)), CPU)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("length", [1, 2])
def test_networks_of_ones_own_learn_with_and_without(length: int, tmp_path: Path) -> None:
    zoo = zoo_of(400)
    losses = -zoo.labels["test_accuracy"].log()
    save_zoo(Zoo(zoo.features, {**zoo.labels, "test_loss": losses}), tmp_path)

    def stats(spec: NetworkSpec) -> nn.Module:
        return StatNN(spec, HeadConfig((32,), out_features=length))

    size = replace(SIZE, fit=replace(SIZE.fit, num_steps=200, lr=1e-2))
    experiment = prepare(size, tmp_path, CPU, lambda *_: None)
    assert experiment.train.targets.shape == (len(experiment.train), 2)
    outcome = experiment.run(stats(CHAIN), 0, lambda *_: None)
    assert outcome.predictions.shape == (len(experiment.test),)
    result = run_suite("mlp-generalization", build=stats, data=tmp_path, size=size)
    assert result.methods["yours"].metric > 0.8
