"""The results page, its plots and the README's table are what the files in results/ say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import build_results
import figures
import tables
from meta_train.evaluation import write_page
from records import Number, Record, read_records, write_record

RECORD: dict[str, Any] = {
    "title": "Two optimizers",
    "protocol": "Ten steps.",
    "command": "nfn-optim evaluate",
    "commit": "0123abc",
    "date": "2026-01-01",
    "machine": "one core",
    "seeds": [0, 1],
    "spread": "standard deviation over seeds",
    "measures": {"loss": "mean loss", "steps": "steps to it"},
    "rows": [
        {"task": "a", "method": "ours", "values": {"loss": {"mean": 0.5, "spread": 0.25}}},
        {"task": "a", "method": "Adam", "values": {"loss": {"mean": 1.5}, "steps": {"mean": 3}}},
        {"task": "b", "method": "ours", "values": {"loss": {"mean": 2.0}}},
    ],
}


def record(**changes: Any) -> Record:
    return Record.model_validate(RECORD | changes)


@pytest.fixture(scope="module")
def records() -> dict[str, Record]:
    return read_records()


def test_the_page_is_as_the_records_say(records: dict[str, Record]) -> None:
    committed = build_results.PAGE.read_text()
    field = json.loads(build_results.EVALUATION.read_text())
    assert committed == build_results.make_page(records, field), (
        "run `make results` and commit the page"
    )


def test_the_page_of_cases_is_as_the_record_says(records: dict[str, Record]) -> None:
    committed = build_results.CASES.read_text()
    assert committed == build_results.make_cases(records["cases"]), "run `make results`"


def test_the_page_of_the_field_is_as_its_evaluation_says(tmp_path: Path) -> None:
    content = json.loads(build_results.EVALUATION.read_text())
    write_page(content, tmp_path / build_results.FIELD.name)
    for path in tmp_path.iterdir():
        committed = build_results.FIELD.with_name(path.name)
        assert committed.exists()
        assert path.suffix != ".md" or committed.read_text() == path.read_text()


def test_the_readme_is_as_the_evaluation_says() -> None:
    committed = build_results.README.read_text()
    field = json.loads(build_results.EVALUATION.read_text())
    assert committed == build_results.fill_readme(committed, field), "run `make results`"
    assert committed.count("| untrained |") == 1
    assert committed.count("|  |") == 1


def test_the_first_page_is_as_the_demo_says() -> None:
    committed = build_results.START.read_text()
    demo = json.loads(build_results.DEMO.read_text())
    assert committed == build_results.fill_start(committed, demo), "run `make results`"
    assert committed.count("| MLP |") == 1


def test_a_row_of_the_demo_says_who_is_where_when() -> None:
    def row(contender: str, end: float, steps: float | None, seconds: float) -> dict[str, Any]:
        found = {"end_loss": {"mean": end}, "steps_to": {"adam": [steps]}, "num_runs": 14}
        return {"task": "a", "contender": contender, "seconds_per_step": seconds, **found}

    rows = [row("adam", 0.5, 290, 0.001), row("shipped", 0.25, None, 0.002)]
    rows.append(row("adam@0.001", 1, 300, 0.001))
    lines = tables.beside_adam({"rows": rows}, {"A": "a"}).splitlines()
    assert lines[-1] == "| A | 1 | 0.5 (14 runs) | 0.25 | 290 / never | 0.29 / never |"


def test_ends_are_told_over_those_of_one_contender() -> None:
    found = [("a", "x", {"mean": 1.0}), ("a", "y", {"mean": 4.0}), ("a", "z", {"mean": None})]
    rows = [{"task": t, "contender": c, "end_loss": end} for t, c, end in found]
    lines = tables.ends({"rows": rows}, {"first": "a"}, ["x", "z"], over="y").splitlines()
    assert lines[-1] == "| first | 0.25 |  |"


def test_the_readme_is_short() -> None:
    assert len(build_results.README.read_text().splitlines()) <= 120


def test_every_plot_is_shown_with_a_text_in_its_place() -> None:
    shown = re.findall(r"!\[([^]]{20,})\]\(figures/(\w+)\.svg\)", build_results.PAGE.read_text())
    assert {name for _, name in shown} == set(figures.NAMES)
    assert {path.stem for path in figures.FOLDER.iterdir()} == set(figures.NAMES)


def test_plots_can_be_drawn(records: dict[str, Record], tmp_path: Path) -> None:
    field = json.loads(build_results.EVALUATION.read_text())
    figures.write_figures(records, field, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{n}.svg" for n in figures.NAMES}


def test_the_untrained_rule_stands_beside_the_learned_one(records: dict[str, Record]) -> None:
    for name in ("digits", "held-out", "regressions", "regressions-long"):
        assert {"shipped", "untrained", "small"} <= set(records[name].methods), name


def test_a_record_is_the_same_after_it_is_written(tmp_path: Path) -> None:
    write_record(record(), tmp_path / "two.json")
    assert read_records(tmp_path) == {"two": record()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"commit": "HEAD"}, "commit"),
        ({"seeds": []}, "seeds"),
        ({"measures": {"loss": "mean loss"}}, "no measure is called steps"),
        ({"rows": [RECORD["rows"][0]] * 2}, "same task and method"),
        ({"transcribed": True}, "names its source"),
        ({"source": "a page"}, "names its source"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_record_that_does_not_follow_the_schema_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        record(**changes)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, ""),
        (Number(mean=0.12345), "0.123"),
        (Number(mean=2.788, spread=0.35), "2.79 ± 0.35"),
        (Number(mean=0.9024, spread=0.0021), "0.9024 ± 0.0021"),
        (Number(mean=17.04, spread=1.4), "17.0 ± 1.4"),
        (Number(mean=0.881, spread=0.002), "0.881 ± 0.002"),
        (Number(mean=8.395e-05, spread=8.3e-05), "8.39e-05 ± 8.3e-05"),
        (Number(mean=0.0, spread=0.0), "0"),
    ],
)
def test_a_cell_has_as_many_digits_as_its_spread_allows(number: Number | None, text: str) -> None:
    assert tables.cell(number) == text


def test_what_is_missing_is_empty() -> None:
    lines = tables.by_method(record(), "loss").splitlines()
    assert lines[0] == "|  | ours | Adam |"
    assert lines[2:] == ["| a | 0.50 ± 0.25 | 1.5 |", "| b | 2 |  |"]


def test_who_ends_no_lower_is_named() -> None:
    found = [("a", 1.0, 2.0), ("b", 2.0, 2.0), ("c", 3.0, 2.0), ("d", None, 2.0), ("e", 3.0, None)]
    rows = [
        {"task": task, "contender": name, "end_loss": {"mean": end}}
        for task, *ends in found
        for name, end in zip(("x", "y"), ends, strict=True)
    ]
    assert tables.higher({"rows": rows}, "x", "y") == ["b", "c", "d"]
    assert tables.lower({"rows": rows}, "x", "y") == "2 of 5"


def test_a_method_without_the_measure_has_no_place_in_its_table() -> None:
    assert tables.by_method(record(), "steps").splitlines()[0] == "|  | Adam |"
    assert tables.by_task(record(), "steps").splitlines()[2:] == ["| Adam | 3 |  |"]


def test_methods_share_a_cell() -> None:
    lines = tables.beside(record(), {"loss": ["loss", "ours", "Adam"]}).splitlines()
    assert lines[2:] == ["| a | 0.50 ± 0.25 / 1.5 |", "| b | 2 /  |"]


def test_tasks_above_a_bound_come_highest_first() -> None:
    assert tables.above(record(), "ours", "loss", bound=0.1) == ["b", "a"]
    assert tables.above(record(), "ours", "loss") == ["b"]


def test_figures_by_task_may_be_a_column() -> None:
    lines = tables.beside(record(), {"loss": {"a": 2.04}}).splitlines()
    assert lines[2:] == ["| a | 2.0 |", "| b |  |"]


def test_a_method_is_told_over_another_on_the_tasks_of_both() -> None:
    assert tables.over(record(), "ours", "Adam", "loss") == {"a": 0.5 / 1.5}


def test_tasks_above_another_are_found_whatever_the_sign() -> None:
    def of(ours: float, theirs: float) -> Record:
        pairs = [("ours", ours), ("Adam", theirs)]
        rows = [{"task": "a", "method": m, "values": {"loss": {"mean": x}}} for m, x in pairs]
        return record(rows=rows)

    found = {pair: tables.above_other(of(*pair), "ours", "Adam", "loss", 2) for pair in PAIRS}
    assert [pair for pair, tasks in found.items() if tasks] == [(2.1, 1.0), (0.1, -1.0)]
    assert tables.above_other(of(-1.0, -2.0), "ours", "Adam", "loss") == ["a"]


PAIRS = [(2.1, 1.0), (1.9, 1.0), (0.1, -1.0), (-0.1, -1.0)]


def test_the_worst_task_is_named() -> None:
    assert tables.median_and_worst(record(), "ours", "loss") == "median 1.25, worst 0.50 (a)"


def test_being_ahead_is_counted_on_the_tasks_of_both() -> None:
    assert tables.ahead(record(), "ours", "Adam", "loss", "lowest") == "1 of 1"
    assert tables.ahead(record(), "ours", "Adam", "loss", "highest") == "0 of 1"
