"""The demo: what it trains, whom it compares, and what its tables and its picture show."""

import json
import math
from pathlib import Path

import pytest

from meta_train.commands import _demo
from meta_train.commands._main import main
from meta_train.evaluation import ADAM, Curve, Evaluation, Measured, Row, TaskInfo
from meta_train.evaluation.report import Group
from nfn_optim import NFNRule, save_rule

CURVE = Curve((30, 300), (2.0, 1.0), (2.0, 1.0), (2.0, 1.0))


def make_row(task: str, name: str, group: Group, steps: float, seconds: float | None = 1.0) -> Row:
    tuned = group == "tuned"
    rate, schedule = (0.0316, "constant") if tuned else (1.0, "constant")
    end = Measured(0.000123456, 0.0, (0.000123456,), rate, schedule)
    score = Measured(0.98765, 0.0, (0.98765,), rate, schedule)
    return Row(
        task=task,
        contender=name,
        group=group,
        end_loss=end,
        mean_loss=end,
        scores={"test_loss" if task == "manual-gpt" else "test_accuracy": score},
        steps_to={"adam": (steps,)},
        seconds_per_step=seconds,
        peak_bytes=None,
        num_diverged=0,
        num_runs=14 if tuned else 1,
        failure="",
        added_rates=(),
        at_an_end=False,
        curve=CURVE,
    )


@pytest.fixture
def found() -> Evaluation:
    infos = [TaskInfo(name, 300, 117_479) for name in _demo._TITLES]
    rows = [
        row
        for task in _demo._TITLES
        for row in (
            make_row(task, "untrained", "judged", 150.0),
            make_row(task, "adam@0.001", "untuned", math.inf),
            make_row(task, "adam", "tuned", 299.0, None),
        )
    ]
    return Evaluation(tuple(infos), (0,), tuple(rows))


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    path = tmp_path / "mine.safetensors"
    save_rule(NFNRule(), path)
    return str(path)


def test_tables_fit_a_terminal_and_end_with_ours(
    found: Evaluation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _demo.print_tables(found)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "MLP, digits: 117,479 weights, 300 steps" in lines[0]
    first = [line.split() for line in lines[2:5]]
    assert first[0] == "Adam at 0.001 0.00012 98.8% - - 300.00 1".split()
    assert first[1] == "Adam, tuned: 0.032, constant 0.00012 98.8% 299 - - 14".split()
    assert first[2] == "NFNOptimizer, untrained 0.00012 98.8% 150 150.00 300.00 1".split()
    assert sum("loss 0.99" in line for line in lines) == 3


def test_the_usual_rate_is_inside_of_the_grid_that_adam_is_tuned_over() -> None:
    rates = ADAM.narrowed(_demo._NUM_RATES).rates
    assert any(rate == pytest.approx(1e-3) for rate in rates[1:-1])


def test_the_demo_needs_no_data_and_writes_a_picture_and_numbers(
    checkpoint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NFN_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr(_demo, "_NUM_RATES", 1)
    picture, numbers = tmp_path / "new" / "demo.png", tmp_path / "demo.json"
    files = ("--out", str(picture), "--json", str(numbers))
    main(("demo", "--steps", "3", "--processes", "1", "--checkpoint", checkpoint, *files))
    printed = capsys.readouterr().out
    assert str(picture) in printed
    assert "NFNOptimizer, mine" in printed
    assert "native code, in none of the seconds" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")
    written = json.loads(numbers.read_text())
    assert [task["name"] for task in written["tasks"]] == list(_demo._TITLES)
    of_gpt = [row for row in written["rows"] if row["task"] == "manual-gpt"]
    names = ["mine", "untrained", "shipped", "adam@0.001", "adam"]
    assert [row["contender"] for row in of_gpt] == names
    assert all(row["seconds_per_step"] > 0 and not row["failure"] for row in of_gpt)
    assert of_gpt[-1]["num_runs"] == 2  # constant and with a cosine
    assert written["native_seconds"] >= 0
