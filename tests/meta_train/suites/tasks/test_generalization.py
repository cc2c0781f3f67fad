"""Predicting generalization: the split, the metrics, and networks from folders."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from meta_train import run_suite
from meta_train.suites._registry import SUITES
from meta_train.suites.harness._suite import Outcome
from meta_train.suites.tasks._generalization import (
    GeneralizationSize,
    kendall_tau,
    prepare,
    r_squared,
)
from meta_train.zoo import save_zoo
from nfn_optim import NetworkSpec
from nfn_optim.networks import HeadConfig, StatNN

from ..conftest import CHAIN, zoo_of

SIZE = SUITES["mlp-generalization"].sizes["tiny"]


def stats(spec: NetworkSpec) -> nn.Module:
    return StatNN(spec, HeadConfig((32,)))


def quick(steps: int) -> GeneralizationSize:
    return replace(SIZE, fit=replace(SIZE.fit, num_steps=steps, lr=1e-2))


def test_tau_counts_pairs_in_order() -> None:
    truth = torch.tensor([0.1, 0.2, 0.3, 0.4])
    assert kendall_tau(truth.square(), truth) == pytest.approx(1)
    assert kendall_tau(torch.tensor([0.2, 0.1, 0.3, 0.4]), truth) == pytest.approx(4 / 6)
    assert math.isnan(kendall_tau(torch.ones(4), truth))


def test_only_the_paper_s_size_has_the_paper_s_loss() -> None:
    for suite in ("mlp-generalization", "mlp-generalization-5", "cnn-generalization"):
        sizes = SUITES[suite].sizes
        assert [sizes[name].ordered for name in ("tiny", "small", "paper")] == [True, True, False]


@pytest.mark.parametrize("field", ["num_networks", "test_part", "validation_part"])
def test_sizes_without_networks_in_a_part_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=rf"{field}.*got 0"):
        replace(SIZE, **{field: 0})  # type: ignore[arg-type]


def test_r_squared_is_one_for_the_truth_and_zero_for_its_mean(tmp_path: Path) -> None:
    save_zoo(zoo_of(60), tmp_path)
    problem = prepare(SIZE, tmp_path, torch.device("cpu"), lambda *_: None)
    truth = problem.test.targets
    for predictions, expected in ((truth, 1.0), (truth.mean().expand_as(truth), 0.0)):
        outcome = Outcome(0.0, 0.0, 0.0, 1, predictions)
        assert r_squared(problem, outcome) == pytest.approx(expected, abs=1e-6)


@pytest.mark.usefixtures("cache")
def test_a_network_of_ones_own_learns_accuracies_of_a_folder(tmp_path: Path) -> None:
    save_zoo(zoo_of(400), tmp_path / "mine")
    folder = tmp_path / "mine"
    result = run_suite(
        "mlp-generalization", build=stats, data=folder, size=quick(300), out=tmp_path
    )
    reached = result.methods["yours"]
    assert reached.metric > 0.8
    assert reached.more["R2"] > 0.7
    assert result.picture is not None
    assert result.picture.stat().st_size > 0


@pytest.mark.usefixtures("cache")
def test_predictions_are_accuracies(tmp_path: Path) -> None:
    save_zoo(zoo_of(60), tmp_path)
    problem = prepare(quick(2), tmp_path, torch.device("cpu"), lambda *_: None)
    predictions = problem.run(stats(CHAIN), 0, lambda *_: None).predictions
    assert predictions.shape == problem.test.targets.shape
    assert predictions.min() > 0
    assert predictions.max() < 1


def test_a_folder_without_networks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"weights\.npy is missing"):
        run_suite("cnn-generalization", data=tmp_path, size="tiny")
