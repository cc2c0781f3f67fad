"""Figures of rows and over tasks, and what is written."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from meta_train.evaluation import EvaluationTask, draw_panels, to_json, to_markdown, write_page
from meta_train.evaluation.contenders import Contender, Setting
from meta_train.evaluation.report import (
    Evaluation,
    Group,
    Row,
    TaskInfo,
    _plots,
    from_json,
    measure,
    versus,
)
from meta_train.evaluation.report._over_tasks import FACTORS, profile
from meta_train.evaluation.sweep import Entry, Run

STEPS = 100
SLOW, FAST, STUCK = np.linspace(3, 1, STEPS), np.linspace(3, -1, STEPS), np.full(STEPS, 3.0)


def make_entry(task: str, name: str, *curves: np.ndarray, tuned: bool = False) -> Entry:
    """Curves of one setting, one a seed; a tuned contender has another, worse setting beside."""
    best, worse = Setting(0.1, "constant"), Setting(0.2, "constant")
    runs = [Run(best, seed, losses, {"test_loss": 0.5}) for seed, losses in enumerate(curves)]
    runs += [Run(worse, 0, STUCK + 1)] if tuned else []
    rates = (0.1, 0.2) if tuned else (0.1,)
    contender = Contender(name=name, rates=rates, schedules=("constant",))
    named = EvaluationTask(name=task, problem=lambda generator: pytest.fail("posed"))
    return Entry(named, contender, tuple(runs))


def make_row(
    task: str, name: str, group: Group, *curves: np.ndarray, seconds: float | None = 0.01
) -> Row:
    entry = make_entry(task, name, *curves, tuned=group == "tuned")
    targets = {"slow": 1 + 9 / 99, "start": 3.0}
    return measure(entry, group, targets, seconds, 1_000)


def make_evaluation() -> Evaluation:
    """Ours is twice as fast as the tuned peer on one task, and never gets there on the other."""
    rows = [
        make_row("a", "ours", "judged", FAST, FAST, seconds=0.02),
        make_row("b", "ours", "judged", STUCK, STUCK, seconds=0.02),
        *(make_row(task, "slow", "tuned", SLOW, SLOW) for task in "ab"),
        make_row("a", "start", "untuned", STUCK, STUCK),
        make_row("b", "start", "untuned", STUCK * np.nan, STUCK * np.nan, seconds=None),
    ]
    infos = tuple(TaskInfo(task, STEPS, 10) for task in "ab")
    return Evaluation(infos, (0, 1), tuple(rows))


def test_a_row_is_measured_at_its_best_setting() -> None:
    row = make_row("a", "slow", "tuned", SLOW, SLOW - 1)
    assert row.end_loss.rate == 0.1
    assert row.end_loss.per_seed == pytest.approx((SLOW[-10:].mean(), SLOW[-10:].mean() - 1))
    assert row.mean_loss.mean == pytest.approx(1.5)
    assert row.scores["test_loss"].mean == 0.5
    assert row.at_an_end
    assert (row.num_runs, row.num_diverged, row.failure) == (3, 0, "")
    assert row.curve.steps[0] == 10
    assert row.curve.steps[-1] == STEPS
    assert row.curve.low[-1] == pytest.approx(row.curve.high[-1] - 1, rel=1e-3)


def test_failures_and_divergences_are_counted() -> None:
    entry = make_entry("a", "broken", STUCK * np.nan)
    row = measure(entry, "untuned", {"slow": 1.0}, None, None)
    assert row.num_diverged == 1
    assert math.isinf(row.end_loss.mean)
    assert row.steps_to["slow"] == (math.inf,)


def test_a_speedup_is_the_runs_length_over_the_steps_to_the_peers_end() -> None:
    found = versus(make_evaluation(), "ours", "slow")
    assert found is not None
    reached = make_row("a", "ours", "judged", FAST).steps_to["slow"][0]
    assert 45 < reached < 60
    assert (found.num_reached, found.num_tasks) == (1, 2)
    assert found.median == pytest.approx(STEPS / reached / 2)
    assert (found.worst, found.worst_task) == (0, "b")
    assert found.seconds == pytest.approx(found.median / 2)
    assert found.interval is not None


def test_tasks_on_which_a_peer_failed_are_left_out() -> None:
    found = versus(make_evaluation(), "ours", "start")
    assert found is not None
    assert found.num_tasks == 1
    nothing = make_evaluation()
    failed = Evaluation(nothing.tasks[1:], (0, 1), tuple(r for r in nothing.rows if r.task == "b"))
    assert versus(failed, "ours", "start") is None


def test_a_profile_compares_those_judged_with_one_group() -> None:
    shares = profile(make_evaluation(), "tuned", in_seconds=False)
    assert list(shares) == ["ours", "slow"]
    assert shares["ours"][0] == 0.5
    assert shares["slow"][0] == 0.5
    assert shares["slow"][FACTORS >= 2.3].min() == 1
    in_seconds = profile(make_evaluation(), "tuned", in_seconds=True)
    assert in_seconds["slow"][0] == 1


def test_the_page_shows_pictures_first_and_both_tables(tmp_path: Path) -> None:
    page = tmp_path / "new" / "field.md"
    write_page(to_json(make_evaluation()), page)
    text = page.read_text()
    parts = ["seeds 0, 1", "field-profiles.png", "field-curves.png"]
    parts += ["## Against tuned peers", "## Against untuned peers", "## End losses"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    for picture in ("field-curves.png", "field-profiles.png"):
        assert (page.parent / picture).read_bytes().startswith(b"\x89PNG")


def test_panels_show_steps_above_and_seconds_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(_plots, "_save", lambda figure, path: figures.append(figure))
    labels = {"ours": "Ours", "start": "Start"}
    draw_panels(make_evaluation(), tmp_path / "x.png", titles={"a": "A", "b": "B"}, labels=labels)
    first, second, below, no_seconds = figures[0].axes
    assert [panel.get_title() for panel in (first, second)] == ["A", "B"]
    assert [line.get_label() for line in first.lines] == ["Ours", "Start"]
    ends = [[max(line.get_xdata()) for line in panel.lines] for panel in (first, below)]
    assert ends[0] == [STEPS, STEPS]
    assert ends[1] == pytest.approx([0.02 * STEPS, 0.01 * STEPS])  # by contender
    assert [line.get_label() for line in no_seconds.lines] == ["Ours"]  # the other one failed


def test_the_best_end_loss_of_a_task_is_bold() -> None:
    text = to_markdown(make_evaluation())
    (row,) = [line for line in text.splitlines() if line.startswith("| b | 100 ")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[3:] == ["2.75", "**1**", "-"]


def test_json_holds_every_figure_and_how_it_came_about() -> None:
    content = json.loads(json.dumps(to_json(make_evaluation()), allow_nan=False))
    assert {"command", "commit", "machine", "versions", "seeds", "tasks", "rows"} <= set(content)
    assert content["rows"][0]["steps_to"]["slow"] == list(
        make_evaluation().rows[0].steps_to["slow"]
    )
    assert content["rows"][1]["steps_to"]["slow"] == [None, None]
    pair = content["over_tasks"]["tuned"]["versus"][0]
    assert (pair["contender"], pair["peer"]) == ("ours", "slow")
    assert set(content["over_tasks"]["untuned"]["profiles"]) == {"steps", "seconds"}


def test_json_gives_the_evaluation_back() -> None:
    """What was not finite comes back as infinite, which is as bad."""
    content = json.loads(json.dumps(to_json(make_evaluation())))
    again = from_json(content)
    assert again.rows[:4] == make_evaluation().rows[:4]
    assert math.isinf(again.rows[-1].end_loss.mean)
    assert to_markdown(again) == to_markdown(make_evaluation())


def test_without_peers_there_are_curves_and_losses(tmp_path: Path) -> None:
    alone = Evaluation((TaskInfo("a", STEPS, 10),), (0,), (make_row("a", "ours", "judged", FAST),))
    write_page(to_json(alone), tmp_path / "page.md")
    assert "profiles" not in (tmp_path / "page.md").read_text()
    assert to_json(alone)["over_tasks"] == {"tuned": {}, "untuned": {}}
