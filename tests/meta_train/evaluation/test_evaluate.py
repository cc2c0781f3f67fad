"""The comparison as a whole: who is in it, what it refuses, and that equals come out even."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from meta_train import Contender, EvaluationTask, evaluate
from meta_train.evaluation import find_tasks
from meta_train.evaluation.contenders import ADAMW, SGD
from meta_train.support import Work
from nfn_optim import AdamRule, NFNRule, save_rule


def adam_at(*rates: float) -> Contender:
    rule = lambda lr: AdamRule(lr, weight_decay=0.01)  # noqa: E731
    return replace(ADAMW, rates=rates, schedules=("constant",), make_rule=rule)


def test_a_rule_compared_with_itself_is_even(toy_task: EvaluationTask) -> None:
    rule = AdamRule(0.03, weight_decay=0.01)
    found = evaluate(rule, [toy_task], peers=[adam_at(0.03)], num_seeds=3)
    ours, theirs = found.row("toy", "AdamRule"), found.row("toy", "adamw")
    assert ours.end_loss.per_seed == pytest.approx(theirs.end_loss.per_seed, rel=1e-4)
    assert ours.scores["test_accuracy"].mean == theirs.scores["test_accuracy"].mean
    assert ours.steps_to["adamw"] == theirs.steps_to["adamw"]
    assert (ours.num_runs, theirs.num_runs) == (3, 3)


def test_everybody_has_a_row_on_every_task(
    toy_task: EvaluationTask, toy_loop_task: EvaluationTask, tmp_path: Path
) -> None:
    save_rule(NFNRule(), tmp_path / "mine.safetensors")
    peers = [adam_at(1e-3, 1e-2, 1e-1), adam_at(1e-3).at(1e-3)]
    tasks = [toy_task, replace(toy_loop_task, name="loop")]
    found = evaluate(tmp_path / "mine.safetensors", tasks, peers=peers, extensions=0)
    names = ["mine", "untrained", "shipped", "adamw", "adamw@0.001"]
    assert [(r.task, r.contender) for r in found.rows] == [
        (t.name, n) for t in tasks for n in names
    ]
    assert found.names("judged") == ["mine", "untrained", "shipped"]
    assert found.names("tuned") == ["adamw"]
    assert found.names("untuned") == ["adamw@0.001"]
    loop = found.of("untrained")[1]
    assert np.isfinite(loop.end_loss.mean)
    assert loop.seconds_per_step is not None
    assert loop.peak_bytes is not None
    assert found.tasks[1].num_weights == 53


def test_a_rule_trains_alike_as_a_stack_and_as_an_optimizer(
    toy_task: EvaluationTask, tmp_path: Path
) -> None:
    path = tmp_path / "mine.safetensors"
    save_rule(NFNRule(), path)
    tasks = [replace(toy_task, name="stack"), replace(toy_task, name="loop", task=None)]
    stacked, loop = evaluate(path, tasks, peers=[], num_seeds=1).of("mine")
    assert stacked.curve.mean == pytest.approx(loop.curve.mean, rel=1e-3)


def test_processes_change_nothing() -> None:
    task, peers = replace(find_tasks(["sines-8-32-1"])[0], num_steps=10), [SGD.at(0.1)]
    one, two = (evaluate("default", [task], peers=peers, processes=count) for count in (1, 2))
    for a, b in zip(one.rows, two.rows, strict=True):
        assert a.end_loss.per_seed == pytest.approx(b.end_loss.per_seed)


@pytest.mark.parametrize("checkpoint", ["untrained", "default", "small"])
def test_the_references_may_be_judged_themselves(toy_task: EvaluationTask, checkpoint: str) -> None:
    found = evaluate(checkpoint, [toy_task], peers=[], num_seeds=1, costs=False)
    first = "shipped" if checkpoint == "default" else checkpoint
    assert found.names("judged") == list(dict.fromkeys((first, "untrained", "shipped")))
    assert found.row("toy", first).seconds_per_step is None


def test_a_file_may_have_the_name_of_a_reference(toy_task: EvaluationTask, tmp_path: Path) -> None:
    path = tmp_path / "untrained.safetensors"
    save_rule(NFNRule(), path)
    found = evaluate(path, [toy_task], peers=[], num_seeds=1, costs=False)
    assert found.names("judged") == [str(path), "untrained", "shipped"]


def test_mistakes_show_before_the_first_run(
    toy_task: EvaluationTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="at least one task and one seed"):
        evaluate(AdamRule(0.1), [])
    with pytest.raises(ValueError, match="contenders adamw are given twice"):
        evaluate(AdamRule(0.1), [toy_task], peers=[ADAMW, ADAMW])
    with pytest.raises(ValueError, match="processes must be at least 1"):
        evaluate(AdamRule(0.1), [toy_task], peers=[], processes=0)


def test_the_time_left_is_that_of_all_stages_as_soon_as_tasks_were_looked_at(
    toy_task: EvaluationTask, toy_loop_task: EvaluationTask, capsys: pytest.CaptureFixture[str]
) -> None:
    planned, unknown = set[tuple[str, ...]](), list[str]()

    def on_progress(work: Work) -> None:
        if work.running:
            planned.add(tuple(work.stages))
        if work.running not in ("", "looking at the tasks") and work.seconds_left() is None:
            unknown.append(str(work))
        print(work)

    tasks = [toy_task, replace(toy_loop_task, name="loop")]
    evaluate("untrained", tasks, peers=[adam_at(1e-4, 1e-3), SGD], on_progress=on_progress)
    assert len(planned) == 1  # all of them before the first began
    assert unknown == []
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("what a step costs: 2 of 2, stage 5 of 5, about 0 s left")
