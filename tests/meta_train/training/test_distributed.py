"""Two gloo processes do what one does; a killed one ends the run and harms no checkpoint."""

import os
import runpy
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.utils import _pytree

from meta_train import PES, InnerConfig, MetaTrainer, RunConfig
from meta_train.commands._settings import read_settings
from meta_train.inner import Processes, join
from meta_train.tasks import Batch, Task, TaskFamily, default_family
from nfn_optim import load_rule, read_card

SCRIPT = Path(__file__).with_name("distributed_script.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
PATIENCE = 900  # seconds, on a machine that is busy with other things

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="needs torch's gloo"
)
each_estimator = pytest.mark.parametrize(
    "estimator", ["TruncatedBPTT", "FullES", "PES", "NoiseReuseES"]
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What one process and what two processes leave."""
    alone, shared = (tmp_path_factory.mktemp(name) for name in ("alone", "shared"))
    runpy.run_path(str(SCRIPT))["run"](Processes(), alone, alone)
    command = [*TORCHRUN, str(SCRIPT), str(shared), str(alone)]
    run = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr
    return alone, shared


@each_estimator
def test_two_processes_find_the_meta_gradient_of_one(
    folders: tuple[Path, Path], estimator: str
) -> None:
    one, two = (torch.load(folder / estimator / "estimates.pt") for folder in folders)
    assert set(one) == set(two)
    for when, expected in one.items():
        assert set(two[when]) == set(expected)
        for name, grad in expected.items():
            torch.testing.assert_close(two[when][name], grad, rtol=1e-6, atol=1e-6)
        assert any(grad.abs().max() > 1e-3 for grad in expected.values())


def test_who_advances_which_run_changes_no_bit(folders: tuple[Path, Path]) -> None:
    one, two = (folder / "TruncatedBPTT" for folder in folders)
    pairs = [
        (load_rule(path / "rule.safetensors").state_dict(), torch.load(path / "estimates.pt"))
        for path in (one, two)
    ]
    assert torch.equal(torch.load(one / "validation.pt"), torch.load(two / "validation.pt"))
    flat = [_pytree.tree_leaves(pair) for pair in pairs]
    assert all(map(torch.equal, *flat))


@each_estimator
def test_two_processes_train_the_rule_of_one(folders: tuple[Path, Path], estimator: str) -> None:
    paths = [folder / estimator for folder in folders]
    one, two = (load_rule(path / "rule.safetensors").state_dict() for path in paths)
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-4)
    one, two = (torch.load(path / "validation.pt") for path in paths)
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-3)


@each_estimator
def test_two_processes_save_all_runs(folders: tuple[Path, Path], estimator: str) -> None:
    paths = [folder / estimator / "rule.safetensors.resume" for folder in folders]
    for one, two in zip(*(torch.load(path)["runs"] for path in paths), strict=True):
        assert (two["seed"], two["steps"]) == (one["seed"], one["steps"])
        for name, param in one["params"].items():
            torch.testing.assert_close(two["params"][name], param, rtol=1e-2, atol=1e-3)


class Signalled(TaskFamily):
    """The bundled tasks; the second process sends itself signals when it draws the 16th."""

    calls = 0

    def __init__(self, *signals: signal.Signals) -> None:
        self.signals = signals

    def sample(self, generator: torch.Generator) -> Task:
        self.calls += 1
        if os.environ.get("RANK") == "1" and self.calls == 16:
            for each in self.signals:
                signal.raise_signal(each)
        return default_family.sample(generator)


class Failing(TaskFamily):
    """The bundled tasks; the second process fails when it draws the 22nd."""

    calls = 0

    def sample(self, generator: torch.Generator) -> Task:
        self.calls += 1
        if os.environ.get("RANK") == "1" and self.calls == 22:
            raise LookupError("scene 17")
        return default_family.sample(generator)


class FailingLater(TaskFamily):
    """The bundled tasks; the second process fails at a batch that it trains on."""

    calls = 0

    def sample(self, generator: torch.Generator) -> Task:
        task = default_family.sample(generator)
        draw = task.batch

        def batch(generator: torch.Generator) -> Batch:
            self.calls += 1
            if os.environ.get("RANK") == "1" and self.calls == 500:  # meta-validation has some 400
                raise LookupError("scene 17")
            return draw(generator)

        task.batch = batch  # type: ignore[method-assign]
        return task


failing = Failing()
failing_later = FailingLater()
killed = Signalled(signal.SIGKILL)
interrupted = Signalled(signal.SIGINT)
interrupted_twice = Signalled(signal.SIGINT, signal.SIGINT)


def run_two(command: list[str], folder: Path) -> tuple[list[int], list[str]]:
    """Exit codes and errors of two processes, without a torchrun that ends one for the other."""
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    common = {
        **ENVIRONMENT,
        **{"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(store.port)},
        **{"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"},
    }
    files = [folder / f"errors-{rank}" for rank in range(2)]
    processes = []
    try:
        for rank, file in enumerate(files):
            environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            with file.open("w") as stderr:
                processes.append(subprocess.Popen(command, stderr=stderr, env=environment))
        codes = [process.wait(PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return codes, [file.read_text() for file in files]


SETTINGS = """{
    "outer_steps": 1000,
    "save_every": SAVE_EVERY,
    "inner": {
        "runs": 2, "runs_per_step": 2, "min_horizon": 2, "max_horizon": 2, "entries": 1000,
        "max_networks": 1
    },
    "rule": {"hidden": 2},
    "estimator": {"ESTIMATOR": {"truncation": 1}},
    "outer": {"lr": 1e-6}
}"""


def train_two(
    family: str, folder: Path, *, save_every: int, estimator: str = "TruncatedBPTT"
) -> tuple[list[int], list[str]]:
    """Exit codes and errors of two processes that meta-train `folder / "rule.safetensors"`."""
    settings = folder / "settings.json"
    text = SETTINGS.replace("SAVE_EVERY", str(save_every)).replace("ESTIMATOR", estimator)
    settings.write_text(text)
    options = ["--settings", str(settings), "--tasks", f"{__file__}:{family}", "--no-table"]
    out = str(folder / "rule.safetensors")
    return run_two([sys.executable, "-m", "meta_train", "train", "--out", out, *options], folder)


def test_a_killed_process_ends_the_run_and_leaves_the_checkpoint(tmp_path: Path) -> None:
    codes, errors = train_two("killed", tmp_path, save_every=1)
    assert codes[0] != 0, errors[0]
    assert codes[1] == -signal.SIGKILL, errors[1]
    assert "process 0 of 2 lost contact with another one" in errors[0]
    assert "start all of them again with --resume" in errors[0]
    out = tmp_path / "rule.safetensors"
    done = read_card(out)["outer_steps"]
    assert 0 < done < 1000
    trainer = MetaTrainer(default_family, read_settings(tmp_path / "settings.json").config)
    trainer.resume(out)  # also with another number of processes
    assert trainer.step == done


def test_ctrl_c_in_one_process_ends_all_of_them_after_the_step_with_a_checkpoint(
    tmp_path: Path,
) -> None:
    codes, errors = train_two("interrupted", tmp_path, save_every=1000)
    assert codes == [130, 130], errors
    assert all("nfn-optim: interrupted" in error for error in errors)
    out = tmp_path / "rule.safetensors"
    trainer = MetaTrainer(default_family, read_settings(tmp_path / "settings.json").config)
    trainer.resume(out)
    assert 0 < trainer.step == read_card(out)["outer_steps"] < 1000


@pytest.mark.parametrize("estimator", ["TruncatedBPTT", "PES"])
@pytest.mark.parametrize("family", ["failing", "failing_later"])
def test_what_one_process_raises_ends_all_of_them_with_a_checkpoint(
    tmp_path: Path, family: str, estimator: str
) -> None:
    codes, errors = train_two(family, tmp_path, save_every=1000, estimator=estimator)
    assert codes == [2, 1], errors
    assert "process 0 of 2 ends because another one failed" in errors[0]
    assert "LookupError: scene 17" in errors[1]
    done = read_card(tmp_path / "rule.safetensors")["outer_steps"]
    assert f"Outer step {done} of 1000 is saved" in errors[0]
    settings = read_settings(tmp_path / "settings.json").config
    trainer = MetaTrainer(default_family, settings)
    trainer.resume(tmp_path / "rule.safetensors")
    assert 0 < trainer.step == done
    alone = MetaTrainer(default_family, replace(settings, outer_steps=done))
    for _ in alone.train():
        pass
    for one, two in zip(alone.pool.runs, trainer.pool.runs, strict=True):
        assert one is not None
        assert two is not None
        assert (two.seed, two.steps) == (one.seed, one.steps)
        for name, param in one.params.items():
            torch.testing.assert_close(two.params[name], param, rtol=1e-2, atol=1e-3)


def test_a_second_ctrl_c_ends_a_process_at_once(tmp_path: Path) -> None:
    codes, errors = train_two("interrupted_twice", tmp_path, save_every=1000)
    assert codes[1] == 130, errors[1]
    assert codes[0] != 0, errors[0]
    assert not (tmp_path / "rule.safetensors").exists()


def test_processes_without_a_run_in_a_step_are_refused() -> None:
    config = RunConfig(inner=InnerConfig(runs=4, runs_per_step=1))
    with pytest.raises(ValueError, match=r"runs_per_step \(1\) must be at least the number"):
        MetaTrainer(default_family, config, processes=Processes(0, 2))


def test_pairs_that_cannot_be_shared_evenly_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pairs \(3\) must be a multiple of the number"):
        MetaTrainer(default_family, RunConfig(estimator=PES(pairs=3)), processes=Processes(0, 2))


def test_processes_share_the_pairs_of_evolution_strategies_and_else_the_runs() -> None:
    config = RunConfig(inner=InnerConfig(runs=4, runs_per_step=2))
    for estimator, held in ((PES(), 4), (config.estimator, 2)):
        trainer = MetaTrainer(default_family, config, estimator, processes=Processes(1, 2))
        assert sum(run is not None for run in trainer.pool.runs) == held


def test_a_process_is_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join("cpu") as processes:
        assert processes == Processes(0, 1)
        assert processes.gather("item") == ["item"]
