"""Tuning, and the cache: what is trained, what is kept, what makes another entry."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from meta_train.evaluation import EvaluationTask
from meta_train.evaluation.contenders import ADAM, ADAMW, Contender, Setting
from meta_train.evaluation.sweep import (
    LOOKING,
    MORE_SEEDS,
    TRAINING,
    WIDER,
    Entry,
    Session,
    _job,
    look_at_all,
)
from meta_train.evaluation.sweep._best import best_setting, best_settings
from meta_train.evaluation.sweep._cache import RunCache, file_name
from meta_train.evaluation.sweep._run import Run
from meta_train.support import Work
from nfn_optim import AdamRule

SEEN: list[tuple[str, float, float | None]] = []


def session(
    task: EvaluationTask, *contenders: Contender, extensions: int = 2, cache: Path | None = None
) -> list[Entry]:
    SEEN.clear()
    work = Work(lambda work: SEEN.extend((s.name, s.done, s.total) for s in work.needed()))
    starts = look_at_all([task], (0, 1), 1, work)
    return Session(starts, (0, 1), extensions, cache, 1, work).run([task], contenders)


def by_loop(*rates: float) -> Contender:
    return replace(ADAMW, rates=rates, make_rule=None)


def make_runs(curves: dict[float, list[list[float]]]) -> list[Run]:
    """By rate, one curve a seed."""
    return [
        Run(Setting(rate, "constant"), seed, np.array(losses))
        for rate, seeds in curves.items()
        for seed, losses in enumerate(seeds)
    ]


# Tuning


def test_each_loss_chooses_its_own_setting() -> None:
    early, late, broken = [1.0] * 60 + [0.9] * 40, [2.0] * 60 + [0.5] * 40, [0.1] * 99 + [np.nan]
    runs = make_runs({1.0: [early], 2.0: [late], 3.0: [broken]})
    assert [setting.rate for setting in best_settings(runs)] == [2.0, 1.0]


def test_settings_that_ran_from_all_seeds_are_preferred() -> None:
    runs = make_runs({1.0: [[1.0] * 10, [1.0] * 10], 2.0: [[0.5] * 10]})
    assert best_setting(runs, lambda losses: losses.mean(axis=0)).rate == 1.0


def test_only_the_best_settings_run_from_the_other_seeds(toy_loop_task: EvaluationTask) -> None:
    (entry,) = session(toy_loop_task, by_loop(1e-5, 1e-2, 1.0), extensions=0)
    seeds = {rate: {r.seed for r in entry.runs if r.setting.rate == rate} for rate in (1e-5, 1e-2)}
    assert seeds == {1e-5: {0}, 1e-2: {0, 1}}


def test_the_grid_grows_where_its_end_is_best(toy_loop_task: EvaluationTask) -> None:
    (entry,) = session(toy_loop_task, by_loop(1e-5, 1e-4))
    assert entry.added == pytest.approx((1e-3, 1e-2, 1e-1, 1))
    assert entry.contender.rates == pytest.approx((1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1))


def test_a_prescribed_grid_does_not_grow(toy_task: EvaluationTask) -> None:
    task = replace(toy_task, rates=(1e-5, 1e-4), schedules=("constant",))
    (entry,) = session(task, ADAM)
    assert entry.added == ()
    assert {run.setting.rate for run in entry.runs} == {1e-5, 1e-4}
    assert len(entry.runs) == 4


def test_progress_ends_where_it_said_it_would(toy_loop_task: EvaluationTask) -> None:
    session(toy_loop_task, by_loop(1e-5, 1e-4))
    assert all(total is None or done <= total * (1 + 1e-9) for _, done, total in SEEN)
    ends = {name: (done, total) for name, done, total in SEEN}
    assert set(ends) == {LOOKING, TRAINING, WIDER, MORE_SEEDS}
    assert all(done == total for done, total in ends.values())


# Cache


def test_a_kept_run_is_read_back_unchanged(
    toy_loop_task: EvaluationTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = session(toy_loop_task, by_loop(1e-3, 1e-2, 1.0), cache=tmp_path)
    monkeypatch.setattr(_job, "train", lambda *_: pytest.fail("trained again"))
    (second,) = session(toy_loop_task, by_loop(1e-3, 1e-2, 1.0), cache=tmp_path)
    for run, again in zip(first.runs, second.runs, strict=True):
        assert (run.setting, run.seed, run.scores) == (again.setting, again.seed, again.scores)
        np.testing.assert_array_equal(run.losses, again.losses)


def test_a_stack_is_kept_run_by_run(
    toy_task: EvaluationTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contender = replace(ADAM, rates=(1e-3, 1e-2, 1e-1))
    (first,) = session(toy_task, contender, extensions=0, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == len(first.runs) == 12
    monkeypatch.setattr(_job, "run_sweep", lambda *_: pytest.fail("trained again"))
    (second,) = session(toy_task, contender, extensions=0, cache=tmp_path)
    assert [run.setting for run in first.runs] == [run.setting for run in second.runs]


def test_what_was_interrupted_goes_on_where_it_was(
    toy_loop_task: EvaluationTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, count = _job.train, 0

    def interrupted(*arguments: object) -> Run:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(_job, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session(toy_loop_task, by_loop(1e-3, 1e-2, 1.0), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    (entry,) = session(toy_loop_task, by_loop(1e-3, 1e-2, 1.0), cache=tmp_path)
    assert count == 4 + len(entry.runs) - 3


def test_errors_are_not_kept_for_they_may_be_the_machines(tmp_path: Path) -> None:
    cache, losses = RunCache(tmp_path), np.ones(3)
    cache.keep("raised.npz", Run(Setting(1.0, "constant"), 0, losses, failure="x", raised=True))
    assert cache.find("raised.npz") is None
    cache.keep("diverged.npz", Run(Setting(1.0, "constant"), 0, losses, failure="x"))
    assert (cache.find("diverged.npz") or pytest.fail("lost")).failure == "x"


def test_a_change_of_anything_that_matters_is_another_entry(toy_task: EvaluationTask) -> None:
    def decayed(lr: Tensor) -> AdamRule:
        return AdamRule(lr, weight_decay=1e-6)

    def other(module: nn.Module, lr: float, num_steps: int) -> torch.optim.Optimizer:
        return torch.optim.Adam(module.parameters(), lr=lr, eps=1e-7)

    setting = Setting(0.1, "constant")
    names = [
        file_name(toy_task, "a", ADAM, setting, 0),
        file_name(toy_task, "b", ADAM, setting, 0),
        file_name(toy_task, "a", ADAM, setting, 1),
        file_name(toy_task, "a", ADAM, Setting(0.1, "cosine"), 0),
        file_name(replace(toy_task, num_steps=31), "a", ADAM, setting, 0),
        file_name(toy_task, "a", replace(ADAM, make_rule=decayed), setting, 0),
        file_name(toy_task, "a", replace(ADAM, make_optimizer=other), setting, 0),
        file_name(toy_task, "a", replace(ADAM, packages=("tyro",)), setting, 0),
    ]
    assert len(set(names)) == len(names)
    assert file_name(toy_task, "a", ADAM, setting, 0) == names[0]
