"""`--processes` starts processes that end together, however one of them ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from meta_train import InnerConfig, RuleConfig, RunConfig, TruncatedBPTT
from meta_train.training import _launch
from meta_train.training._launch import check_shares, is_started, launch
from meta_train.training._run import run_meta_training
from meta_train.training._settings import to_plain
from nfn_optim import load_rule, read_card

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="needs torch's gloo"
)
FAMILIES = Path(__file__).with_name("test_distributed.py")
PATIENCE = 300  # seconds, on a machine that is busy with other things
CONFIG = RunConfig(
    outer_steps=6,
    inner=InnerConfig(
        runs=3, runs_per_step=3, min_horizon=3, max_horizon=9, entries=1000, max_networks=2
    ),
    rule=RuleConfig(hidden=2),
    estimator=TruncatedBPTT(truncation=3),
)


def script(text: str) -> list[str]:
    """A command of a few lines, which know their `rank`."""
    return [sys.executable, "-c", f"import os, sys, time\nrank = int(os.environ['RANK'])\n{text}"]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(3 * (rank == 0))", 3),  # half of the estimates left out
        ("sys.exit(1 if rank else 2)", 1),  # the first ends because another one failed
        ("sys.exit(2)", 2),
        ("os.kill(os.getpid(), 9 * rank)", 137),
        ("sys.exit(130)", 130),
    ],
)
def test_the_status_is_that_of_the_process_that_failed_first(text: str, status: int) -> None:
    assert launch(2, script(text)) == status


def test_a_process_that_waits_for_one_that_failed_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_launch, "_PATIENCE", 0.1)
    start = time.monotonic()
    assert launch(2, script("time.sleep(60 * (rank == 0))\nsys.exit(1)")) == 1
    assert time.monotonic() - start < 50


def test_reasons_are_shown_once(capfd: pytest.CaptureFixture[str]) -> None:
    say = "print('reason', min(rank, 1), file=sys.stderr)\n"
    for end, shown in (
        ("sys.exit(0)", ["reason 0"]),
        ("sys.exit(130)", ["reason 0"]),
        ("sys.exit(1 if rank else 2)", ["reason 0", "reason 1"]),
        ("sys.exit(2)", ["reason 0", "reason 1"]),
    ):
        launch(3, script(say + end))
        assert capfd.readouterr().err.splitlines() == shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_passed_on(number: signal.Signals, tmp_path: Path) -> None:
    def send_when_all_are_ready() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send_when_all_are_ready)
    sender.start()
    text = f"""
import signal
signal.signal({int(number)}, lambda number, frame: sys.exit(128 + number))
open(os.path.join({str(tmp_path)!r}, str(rank)), "w")
time.sleep(60)
"""
    assert launch(2, script(text)) == 128 + number
    sender.join()


def test_processes_are_started_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert [is_started(count) for count in (1, 2)] == [True, False]
    with pytest.raises(ValueError, match="processes must be at least 1, got 0"):
        is_started(0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert [is_started(count) for count in (1, 2)] == [True, True]
    with pytest.raises(ValueError, match=r"2 processes were started, .* not 3. Leave out"):
        is_started(3)


def test_processes_without_work_are_refused() -> None:
    with pytest.raises(ValueError, match=r"runs_per_step \(3\) .* Give a larger --runs-per-step"):
        check_shares(CONFIG.estimator, CONFIG.inner, 4)


def command(folder: Path, config: RunConfig, tasks: str) -> list[str]:
    """Meta-trains `folder / "rule.safetensors"` in two processes."""
    settings = folder / "settings.json"
    settings.write_text(json.dumps(to_plain(config)))
    options = ["--settings", str(settings), "--tasks", f"{FAMILIES}:{tasks}", "--no-table"]
    out = str(folder / "rule.safetensors")
    train = [sys.executable, "-m", "meta_train", "train", "--processes", "2", "--out", out]
    return [*train, *options]


def test_two_processes_end_with_the_bits_of_one(tmp_path: Path) -> None:
    tasks, alone = f"{FAMILIES}:default_family", tmp_path / "alone.safetensors"
    run_meta_training(alone, CONFIG, tasks=tasks)
    run = subprocess.run(
        command(tmp_path, CONFIG, "default_family"), capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("after 6 outer steps") == 1
    together = tmp_path / "rule.safetensors"
    assert read_card(together)["processes"] == 2
    expected = load_rule(alone).state_dict()
    for name, tensor in load_rule(together).state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_ctrl_c_ends_both_after_the_step_with_a_checkpoint(tmp_path: Path) -> None:
    long = RunConfig(**{**vars(CONFIG), "outer_steps": 100_000, "save_every": 100_000})
    with subprocess.Popen(
        command(tmp_path, long, "default_family"), stderr=subprocess.PIPE, text=True
    ) as run:
        journal = tmp_path / "rule.jsonl"
        deadline = time.monotonic() + PATIENCE
        while not (journal.exists() and journal.read_text().count("\n") > 1):
            assert time.monotonic() < deadline
            assert run.poll() is None
            time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 130, errors
    assert errors.count("nfn-optim: interrupted") == 1
    assert f"Outer step {read_card(tmp_path / 'rule.safetensors')['outer_steps']} of" in errors
