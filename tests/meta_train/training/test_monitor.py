"""What a run shows and records while it goes."""

import json
import math
import os
import random
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meta_train import (
    PES,
    FullES,
    InnerConfig,
    MetaTrainer,
    RuleConfig,
    RunConfig,
    TruncatedBPTT,
    ValidationConfig,
)
from meta_train.commands._main import main
from meta_train.inner import InnerRun
from meta_train.support import Work, duration
from meta_train.tasks import ModuleTask, Task, TaskFamily
from meta_train.training._forecast import inner_steps, validations
from meta_train.training._journal import Journal, read_journal
from meta_train.training._monitor import Monitor
from meta_train.training._trial import OUTER_STEPS, VALIDATIONS


class Regressions(TaskFamily):
    """Small regressions; data of most of them are not finite, once the checks are over."""

    def __init__(self, finite: int = 0) -> None:
        self.left = finite

    def sample(self, generator: torch.Generator) -> Task:
        inputs = torch.randn(64, 4, generator=generator)
        is_broken = bool(torch.randint(3, (), generator=generator)) and self.left == 0
        self.left = max(0, self.left - 1)
        task = ModuleTask(
            lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)),
            F.mse_loss,
            (inputs, inputs[:, :2]),
            batch_size=16,
        )
        if is_broken:
            task.validation_data = inputs * math.nan, inputs[:, :2]
        return task


mostly_broken = Regressions(finite=20)
CONFIG = RunConfig(
    outer_steps=40,
    inner=InnerConfig(runs=1, min_horizon=2, max_horizon=2, max_networks=1),
    estimator=TruncatedBPTT(truncation=2),
    rule=RuleConfig(hidden=2),
    validation=ValidationConfig(every=20, runs=1, steps=2),
)


def test_all_meta_validations_that_are_left_are_counted() -> None:
    for every, last in ((0, 7), (3, 7), (3, 9), (10, 7), (1, 5)):
        config = replace(CONFIG, outer_steps=last, validation=ValidationConfig(every=every))
        for step in range(last + 1):
            later = range(step + 1 if step else 0, last + 1)  # the first one is before step 1
            due = sum(config.validation.is_due(s, last) for s in later)
            assert validations(config, step) == due


def test_evolution_strategies_of_whole_runs_are_forecast_with_whole_horizons() -> None:
    config = InnerConfig(min_horizon=50, max_horizon=1000)
    rng = random.Random(0)
    horizons = [50 * 20 ** rng.random() for _ in range(20_000)]
    assert inner_steps(FullES(), config, 7) == pytest.approx(sum(horizons) / 20_000, rel=0.02)
    assert inner_steps(PES(truncation=40), config, 7) == 40
    assert inner_steps(PES(truncation=400), InnerConfig(min_horizon=9, max_horizon=9), 7) == 9

    class Own:
        estimate = None

    assert inner_steps(Own(), config, 7) == 7  # type: ignore[arg-type]


def test_a_dry_run_says_how_long_whole_horizons_and_validations_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    advance = InnerRun.advance

    def counting(run: InnerRun, *given: object) -> None:
        advance(run, *given)  # type: ignore[arg-type]
        clock[0] += run.steps  # a second an inner step

    monkeypatch.setattr(InnerRun, "advance", counting)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    horizons = ("--min-horizon", "10", "--max-horizon", "10", "--runs", "1", "--entries", "1")
    validation = ("--validation.every", "5", "--validation.runs", "3", "--validation.steps", "20")
    given = (
        "--tasks",
        f"{__file__}:mostly_broken",
        "--hidden",
        "2",
        "--outer-steps",
        "12",
        *horizons,
    )
    out = ("--out", str(tmp_path / "rule.safetensors"), "--dry-run")
    main(("train", *out, *given, *validation, "estimator:full-es", "--pairs", "1"))
    seconds = 12 * 10 + 4 * 3 * 20  # with the validation at the start
    expected = f"12 outer steps and 4 meta-validations will take about {duration(seconds)}."
    assert expected in capsys.readouterr().out


def test_a_run_tells_of_steps_losses_and_meta_validations() -> None:
    config = replace(CONFIG, outer_steps=20_000)
    trainer, work, said = MetaTrainer(Regressions(100), config), Work(), list[str]()
    for stage, total in ((OUTER_STEPS, 20_000), (VALIDATIONS, 1000)):
        work.plan(stage, total, seconds=1.0)
    monitor = Monitor(trainer, work, said.append)
    trainer.step, trainer.best = 12_345, (-10.56, 12_000)
    monitor.step(-10.4321)
    monitor.validating()
    assert work.running == VALIDATIONS
    monitor.validated(torch.tensor([-10.5, -10.6]))
    assert work.running == OUTER_STEPS
    assert work.stages[OUTER_STEPS].count == "12,345 of 20,000"
    assert work.stages[VALIDATIONS].count == "1 of 1,000"
    assert work.last == "meta-loss -10.432, held-out -10.550, best -10.560"
    assert not said


def test_estimates_that_are_not_finite_are_told_of_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "run.json"
    out = tmp_path / "rule.safetensors"
    content = {
        "out": str(out),
        "tasks": f"{__file__}:mostly_broken",
        "outer_steps": 80,
        "table": False,
        "inner": {"runs": 1, "min_horizon": 2, "max_horizon": 2, "max_networks": 1},
        "rule": {"hidden": 2},
    }
    settings.write_text(json.dumps(content))
    with pytest.raises(SystemExit) as ended:
        main(("train", "--settings", str(settings)))
    printed = capsys.readouterr().err
    said = re.findall(r"warning: (\d+) of (\d+) estimates", printed)
    skipped, among = map(int, said[-1])
    assert among == 80
    assert 2 * skipped >= among
    assert ended.value.code == 3
    assert len(said) > 2  # while it happens, too
    losses = [e["meta_loss"] for e in read_journal(tmp_path / "rule.jsonl")]
    assert losses.count(None) == skipped


def test_a_journal_goes_on_where_the_run_does(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    journal = Journal(path, 0, print)
    for step in range(1, 6):
        journal.add({"outer_step": step, "meta_loss": math.nan})
    with path.open("a") as file:
        file.write('{"outer_step": 6, "meta')  # a killed process
    journal = Journal(path, 3, print)
    journal.add({"outer_step": 4, "meta_loss": 1.0})
    entries = read_journal(path)
    assert [e["outer_step"] for e in entries] == [1, 2, 3, 4]
    assert entries[0]["meta_loss"] is None
    Journal(path, 9, print).add({"outer_step": 10})
    assert [e["outer_step"] for e in read_journal(path)] == [1, 2, 3, 4, 10]


def test_a_full_disk_delays_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    journal = Journal(tmp_path / "run.jsonl", 0, told.append)
    journal.add({"outer_step": 1})

    def fail(*_: object) -> int:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        journal.add({"outer_step": 2})
        journal.add({"outer_step": 3})
    journal.add({"outer_step": 4})
    assert [e["outer_step"] for e in read_journal(journal.path)] == [1, 2, 3, 4]
    (line,) = told
    assert "run.jsonl cannot be written: no space left" in line
