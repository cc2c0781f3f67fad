"""Two gloo processes do what one does; a killed one ends the run and harms no checkpoint."""

import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from meta_train import MetaTrainer, TrainConfig
from meta_train._distributed import Processes, join
from meta_train.tasks import Task, TaskFamily, default_family
from nfn_optim import load_rule, read_card

SCRIPT = Path(__file__).with_name("distributed_script.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="needs torch's gloo"
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What one process and what two processes leave."""
    alone, shared = (tmp_path_factory.mktemp(name) for name in ("alone", "shared"))
    runpy.run_path(str(SCRIPT))["run"](Processes(), alone)
    command = [*TORCHRUN, str(SCRIPT), str(shared)]
    run = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert run.returncode == 0, run.stderr
    return alone, shared


def test_two_processes_find_the_meta_gradient_of_one(folders: tuple[Path, Path]) -> None:
    one, two = (torch.load(folder / "grads.pt") for folder in folders)
    assert set(one) == set(two)
    for name, grad in one.items():
        torch.testing.assert_close(two[name], grad, rtol=1e-6, atol=1e-6)
    assert any(grad.abs().max() > 1e-3 for grad in one.values())


def test_two_processes_train_the_rule_of_one(folders: tuple[Path, Path]) -> None:
    one, two = (load_rule(folder / "rule.safetensors").state_dict() for folder in folders)
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-4)
    one, two = (torch.load(folder / "validation.pt") for folder in folders)
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-3)


def test_two_processes_save_all_runs(folders: tuple[Path, Path]) -> None:
    one, two = (torch.load(folder / "rule.safetensors.resume")["runs"] for folder in folders)
    assert [run["seed"] for run in two] == [run["seed"] for run in one]
    assert [run["steps"] for run in two] == [run["steps"] for run in one]


class Mortal(TaskFamily):
    """The bundled tasks; the second process kills itself when it draws the 16th."""

    calls = 0

    def sample(self, generator: torch.Generator) -> Task:
        self.calls += 1
        if os.environ.get("RANK") == "1" and self.calls == 16:
            os.kill(os.getpid(), signal.SIGKILL)
        return default_family.sample(generator)


mortal = Mortal()


def test_a_killed_process_ends_the_run_and_leaves_the_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "rule.safetensors"
    options = [
        *("--outer-steps", "1000", "--save-every", "1", "--runs", "2", "--runs-per-step", "2"),
        *("--truncation", "1", "--min-horizon", "1", "--max-horizon", "1", "--entries", "1000"),
        *("--max-networks", "1", "--hidden", "2", "--lr", "1e-6", "--tasks", f"{__file__}:mortal"),
    ]
    command = [sys.executable, "-m", "meta_train", "train", "--out", str(out), *options]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(2):  # without torchrun, which would end the other one before it can speak
        own = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
        environment = {**ENVIRONMENT, **own, "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
        processes.append(
            subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        )
    errors = [process.communicate(timeout=100)[1] for process in processes]
    assert processes[0].returncode != 0
    assert processes[1].returncode == -signal.SIGKILL
    assert "process 0 of 2 lost contact with another one" in errors[0]
    assert "start all of them again with --resume" in errors[0]
    done = read_card(out)["outer_steps"]
    assert 0 < done < 1000
    config = TrainConfig(
        outer_steps=1000,
        save_every=1,
        runs=2,
        runs_per_step=2,
        truncation=1,
        min_horizon=1,
        max_horizon=1,
        entries=1000,
        max_networks=1,
        hidden=2,
        lr=1e-6,
    )
    trainer = MetaTrainer(default_family, config)
    trainer.resume(out)  # also with another number of processes
    assert trainer.step == done


def test_slots_that_cannot_be_shared_evenly_are_refused() -> None:
    config = TrainConfig(runs=4, runs_per_step=1)
    with pytest.raises(ValueError, match=r"runs_per_step \(1\) must be a multiple of the number"):
        MetaTrainer(default_family, config, processes=Processes(0, 2))


def test_a_process_is_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join("cpu") as processes:
        assert processes == Processes(0, 1)
        assert processes.gather("item") == ["item"]
