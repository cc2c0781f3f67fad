"""The command that says whether a checkpoint may become the default."""

import json
from pathlib import Path

import pytest
import torch

from meta_train.commands._gate import DO_NOT_SHIP
from meta_train.commands._main import main
from nfn_optim import load_rule, read_card, save_rule

LONG = "diabetes-10-32-32-1"
SHORT = ("--steps", "20", "--seeds", "1", "--processes", "1")
TASKS = ("--tasks", "digits-64-32-10", "--long", LONG, *SHORT)


def test_a_rule_without_learning_is_not_shipped_and_its_card_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rule.safetensors"
    save_rule(load_rule("untrained"), path, {"family": "lines"})
    options = ("--record", "--out", str(tmp_path / "gate"), "--json", str(tmp_path / "all.json"))
    with pytest.raises(SystemExit) as ended:
        main(("gate", str(path), *TASKS, *options))
    assert ended.value.code == DO_NOT_SHIP
    printed = capsys.readouterr().out
    assert f"Do not ship: {path}" in printed
    assert "digits-64-32-10" in printed
    card = read_card(path)
    assert card["family"] == "lines"
    first, *_ = card["gate"]["conditions"]
    assert first == {**first, "figure": 1.0, "holds": False}
    assert (card["gate"]["seeds"], card["gate"]["long"]) == (1, [LONG])
    assert any("a long run loses" in each["asked"] for each in card["gate"]["conditions"])
    assert json.loads((tmp_path / "all.json").read_text())["gate"] == card["gate"]["conditions"]
    for name, weight in load_rule("untrained").state_dict().items():
        torch.testing.assert_close(load_rule(path).state_dict()[name], weight, rtol=0, atol=0)


def test_findings_are_recorded_in_files_only(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(("gate", "small", "--record", *TASKS))
    assert ended.value.code == 2
    assert "there is no small" in capsys.readouterr().err


def test_tasks_are_needed_beside_the_long_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(("gate", "small", *TASKS, "--tasks", LONG))
    assert ended.value.code == 2
    assert "none beside those of --long" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(("gate", str(tmp_path / "no.safetensors"), *TASKS))
    assert ended.value.code == 2
    assert "no.safetensors" in capsys.readouterr().err
