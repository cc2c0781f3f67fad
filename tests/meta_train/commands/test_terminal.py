"""What people see of a command: help, tables, what Ctrl-C leaves."""

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from meta_train.commands import _gate, _info
from meta_train.commands._evaluation_tables import print_evaluation
from meta_train.commands._main import COMMANDS, main
from meta_train.commands._suite import _print_result
from meta_train.evaluation import Evaluation
from meta_train.evaluation import gate as conditions
from meta_train.evaluation.report import from_json
from meta_train.suites.harness import MethodResult, SuiteResult

ROOT = Path(__file__).parents[3]
LONG = ("demo", "train", "evaluate", "race", "gate", "suite", "zoo")


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def field() -> Evaluation:
    """All tasks and contenders that have long names."""
    path = ROOT / "results" / "evaluations" / "field.json"
    return from_json(json.loads(path.read_text()))


def fits(text: str, *names: str) -> None:
    """Every line has 80 columns at most, and all names are in it as they are typed."""
    assert max(map(len, text.splitlines())) <= 80
    for name in names:
        assert name in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_writes_json_and_its_help_fits(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = inspect.signature(COMMANDS[name]).parameters
    assert "json" in options
    assert ("plain" in options) == (name in LONG) or name not in (*LONG, "info")
    with pytest.raises(SystemExit) as ended:
        main((name, "--help"))
    assert ended.value.code == 0
    fits(capsys.readouterr().out, "--json")


def test_settings_from_a_file_change_no_help(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(("train", "--init", "small", "--help"))
    assert "Meta-trains an optimizer." in capsys.readouterr().out


def test_tables_of_many_tasks_fit(field: Evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    print_evaluation(field)
    names = field.names("judged", "tuned", "untuned")
    fits(capsys.readouterr().out, *(task.name for task in field.tasks), *names)


def test_the_table_of_one_task_fits_and_has_the_best_first(
    field: Evaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "finetune-autoencoder"
    rows = tuple(row for row in field.rows if row.task == name)
    print_evaluation(
        replace(field, tasks=tuple(t for t in field.tasks if t.name == name), rows=rows)
    )
    printed = capsys.readouterr().out
    table, *_ = printed.partition(f"{name}: the end loss")
    fits(table, name, *(row.contender for row in rows))
    order = sorted(rows, key=lambda row: row.end_loss.mean)
    places = [printed.index(f" {row.contender} ") for row in order]
    assert places == sorted(places)


def test_few_tasks_end_in_words(field: Evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    name = "finetune-autoencoder"
    rows = {row.contender: row for row in field.rows if row.task == name}
    tasks = tuple(task for task in field.tasks if task.name == name)
    print_evaluation(replace(field, tasks=tasks, rows=tuple(rows.values())))
    said = " ".join(capsys.readouterr().out.split())
    best = min((r for r in rows.values() if r.group == "tuned"), key=lambda r: r.end_loss.mean)
    ours = next(row for row in rows.values() if row.group == "judged")
    ratio = ours.end_loss.mean / best.end_loss.mean
    assert f"the end loss of {ours.contender} is {ratio:.2f} times that of {best.contender}" in said
    assert "untrained: NFNOptimizer(model, checkpoint='untrained')" in said


def test_tables_of_the_gate_fit(field: Evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tuple(replace(r, contender="candidate") for r in field.rows if r.contender == "small")
    evaluation = replace(field, rows=(*field.rows, *rows))
    others = ("untrained", "small")
    _gate.print_tables(evaluation, others, conditions(evaluation, "candidate", *others))
    fits(capsys.readouterr().out, *(task.name for task in field.tasks), "median end loss")


def test_the_table_of_a_suite_fits(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("hnp", "np-probes-large+", "transformer-probes+", "mlp-aug")
    reached = MethodResult(0.87654, 0.0012, 12_345.6, 12_345_678, (0.8, 0.9), {"R2": 0.98765})
    result = SuiteResult(
        "mlp-generalization-5",
        "small",
        "fashion-mnist",
        "Kendall's tau of test networks",
        2,
        dict.fromkeys(names, reached),
        dict.fromkeys(names, 0.912),
    )
    _print_result(result)
    fits(capsys.readouterr().out, *names)


def test_ctrl_c_before_anything_says_how_to_start_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_info, "versions", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(("info", "--checkpoint", "small"))
    assert ended.value.code == 130
    assert capsys.readouterr().err == (
        "nfn-optim: interrupted\n"
        "Nothing new is kept. Start again with:\n  nfn-optim info --checkpoint small\n"
    )


def interruptible() -> None:
    """Ctrl-C is heard even if the tests run in the background of a shell, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(
    ("arguments", "kept", "says"),
    [
        (
            "evaluate --checkpoint untrained --tasks sines-8-32-1 --peers adamw sgd muon@0.02 "
            "--seeds 1 --steps 1000 --out 'my out'",
            "my out/cache",
            "Finished runs are kept in my out/cache. Go on with:",
        ),
        (
            "suite inr-classification --size tiny --threads 1",
            "cache",
            "Data and finished networks are kept in cache. Go on with:",
        ),
    ],
)
def test_ctrl_c_says_what_is_kept_and_ends_all_processes(
    tmp_path: Path, arguments: str, kept: str, says: str
) -> None:
    """A process group of its own gets the signal as from a terminal."""
    environment = {"PYTHONPATH": str(ROOT), "NFN_CACHE": "cache", "NFN_NATIVE": "0"}
    process = subprocess.Popen(
        f"exec {sys.executable} -m meta_train {arguments}",
        shell=True,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
        preexec_fn=interruptible,
    )
    with process:
        deadline = time.monotonic() + 120
        while not any((tmp_path / kept).rglob("*.*")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        printed, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "Traceback" not in printed + told
    *_, interrupted, line, command = told.splitlines()
    assert interrupted == "nfn-optim: interrupted"
    assert line == says
    assert command == f"  nfn-optim {arguments}"
    deadline = time.monotonic() + 30
    while _is_alive(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
