"""The table at the end of meta-training: did it help?"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from meta_train.commands._main import main
from meta_train.commands._verdict import CANDIDATE, UNTRAINED, beside_default, verdict
from meta_train.evaluation import Curve, Evaluation, Measured, Row, TaskInfo

FAMILY = """
import torch
from torch import nn
from meta_train import TaskFamily
from meta_train.tasks import ModuleTask


class Lines(TaskFamily):
    def sample(self, generator):
        x = torch.randn(30, 3, generator=generator)
        return ModuleTask(lambda: nn.Linear(3, 1), nn.functional.mse_loss, (x, x[:, :1]))


family = Lines()
"""
LOSS = Measured(1.0, 0.0, (1.0,), 1.0, "constant")


def evaluation(*ratios: float) -> Evaluation:
    """End losses of the candidate over those of the untrained rule, one a task."""
    tasks = tuple(TaskInfo(f"t{i}", 100, 3) for i in range(len(ratios)))
    rows = []
    for name, losses in ((CANDIDATE, ratios), (UNTRAINED, (1.0,) * len(ratios))):
        for task, loss in zip(tasks, losses, strict=True):
            end, curve = replace(LOSS, mean=loss), Curve((), (), (), ())
            rest = ({}, {}, None, None, 0, 1, "", (), False, curve)
            rows.append(Row(task.name, name, "judged", end, end, *rest))
    return Evaluation(tasks, (0,), tuple(rows))


@pytest.mark.parametrize(
    ("ratios", "says"),
    [
        ((0.5, 0.9, 0.8), "It helped: end losses are 0.80 times those of the untrained rule"),
        ((1.0, 0.99, 1.01), "It made no difference that shows"),
        ((0.9, 1.0), "It made no difference that shows"),
        ((1.5, 0.9, 2.0), "It made things worse"),
        ((float("nan"), float("inf"), 0.5), "It made things worse"),
    ],
)
def test_the_verdict_is_about_learning(ratios: tuple[float, ...], says: str) -> None:
    assert says in verdict(evaluation(*ratios))


def test_the_default_has_a_sentence_of_its_own() -> None:
    found = evaluation(0.5, 1.0, 2.0)
    default = [replace(r, contender="shipped") for r in found.rows if r.contender == UNTRAINED]
    twice = [replace(r, end_loss=replace(LOSS, mean=2.0)) for r in default]
    said = beside_default(replace(found, rows=(*found.rows, *twice)))
    assert said.endswith("0.50 times its end losses, lower on 2 of 3 tasks.")
    half = [replace(r, end_loss=replace(LOSS, mean=0.5)) for r in default]
    said = beside_default(replace(found, rows=(*found.rows, *half)))
    assert said.endswith("lower on 0 of 3 tasks. Without a checkpoint you do better here.")


def test_training_ends_with_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lines.py").write_text(FAMILY)
    monkeypatch.chdir(tmp_path)
    options = ("--outer-steps", "2", "--runs", "1", "--truncation", "2", "--validation.steps", "5")
    given = ("train", "--tasks", "lines.py:family", "--out", "a.safetensors", *options)
    validation = ("--validation.every", "2", "--validation.runs", "1")
    main((*given, *validation, "--json", "card.json"))
    printed = capsys.readouterr().out
    for text in ("candidate", "untrained", "adamw", "held-out-1", "It ", "at the start"):
        assert text in printed
    card = json.loads(Path("card.json").read_text())
    assert {row["contender"] for row in card["held_out"]["rows"]} >= {"candidate", "untrained"}
    assert "config" in card
    main(("train", "--no-table", "--overwrite", *given[1:]))
    assert "candidate" not in capsys.readouterr().out


def test_a_run_whose_table_is_interrupted_is_over_and_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "lines.py").write_text(FAMILY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("meta_train.commands._verdict.evaluate", interrupted)
    options = ("--outer-steps", "2", "--runs", "1", "--truncation", "2", "--json", "card.json")
    with pytest.raises(SystemExit) as ended:
        main(("train", "--tasks", "lines.py:family", "--out", "a.safetensors", *options))
    assert ended.value.code == 130
    said = capsys.readouterr()
    assert "Optimizer: a.safetensors, after 2 outer steps" in said.out
    assert "The run is over and saved in a.safetensors; only the table is missing." in said.err
    assert "config" in json.loads(Path("card.json").read_text())
