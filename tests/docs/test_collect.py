"""What `nfn-optim evaluate --json` writes becomes the rows of a record."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import collect
from meta_train import EvaluationTask, evaluate
from meta_train.evaluation import ADAM, to_json
from meta_train.tasks import ModuleTask
from nfn_optim import NFNRule
from records import Number, Record, Row, write_record

BEFORE = Record(
    title="Lines",
    protocol="Thirty steps.",
    command="nfn-optim evaluate",
    commit="0123abc",
    date="2026-01-01",
    machine="one core",
    seeds=[7],
    spread="standard deviation over seeds",
    measures=dict.fromkeys(
        (
            *("mean_loss", "end_loss", "test_loss"),
            *("mean_loss_over_adam", "end_loss_over_adam", "speedup_adam"),
        ),
        "a measure",
    ),
    rows=[Row(task="old", method="old", values={"mean_loss": Number(mean=1.0)})],
)


def line() -> ModuleTask:
    inputs = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    data = (inputs, inputs.sum(1, keepdim=True))
    return ModuleTask(lambda: nn.Sequential(nn.Linear(2, 1)), F.mse_loss, data, batch_size=16)


@pytest.fixture(scope="module")
def renewed(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("collect")
    tasks = [EvaluationTask.from_task(name, line, 30) for name in ("b", "a")]
    peer = replace(ADAM, rates=(1e-2, 1e-1))
    measured = to_json(evaluate(NFNRule(), tasks, peers=[peer], num_seeds=2, extensions=0))
    (folder / "measured.json").write_text(json.dumps(measured))
    write_record(BEFORE, folder / "record.json")
    collect.main(folder / "record.json", folder / "measured.json")
    return Record.model_validate_json((folder / "record.json").read_text())


def test_the_record_keeps_its_words(renewed: Record) -> None:
    for field in ("title", "protocol", "command", "machine", "spread", "measures"):
        assert getattr(renewed, field) == getattr(BEFORE, field)


def test_rows_and_seeds_are_those_of_the_measurement(renewed: Record) -> None:
    assert renewed.seeds == [0, 1]
    assert renewed.tasks == ["b", "a"]
    assert {"untrained", "Adam"} < set(renewed.methods)


def test_a_ratio_is_ours_over_the_peer_s(renewed: Record) -> None:
    ours, adam = (renewed.number("a", method, "mean_loss") for method in ("untrained", "Adam"))
    ratio = renewed.number("a", "untrained", "mean_loss_over_adam")
    assert ours
    assert adam
    assert ratio
    assert ratio.mean == pytest.approx(ours.mean / adam.mean, rel=1e-3)
    assert ours.spread is not None


def test_a_loss_that_is_never_reached_is_a_speed_up_of_zero() -> None:
    figure = {"mean": 1.0, "std": 0.0}
    row = {"task": "a", "contender": "adam", "end_loss": figure, "mean_loss": figure, "scores": {}}
    evaluation = {
        "tasks": [{"name": "a", "num_steps": 30}],
        "rows": [
            {**row, "steps_to": {}},
            {**row, "contender": "x", "steps_to": {"adam": [10, None]}},
        ],
    }
    (_, ours) = collect.rows_of(evaluation)
    assert ours.values["speedup_adam"] == Number(mean=1.5, spread=1.5)
