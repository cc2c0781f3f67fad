"""Many processes that hold parts of one model end where one process does that holds all of it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("sharded_script.py")


def run(folder: Path, processes: int) -> list[dict[str, object]]:
    """What each process has found."""
    ranks = range(processes)
    command = [sys.executable, str(SCRIPT), str(folder)]
    runs = [
        subprocess.Popen([*command, str(rank), str(processes)], stderr=subprocess.PIPE, text=True)
        for rank in ranks
    ]
    try:
        for one in runs:
            _, errors = one.communicate(timeout=900)
            assert one.returncode == 0, errors
    finally:
        for one in runs:
            one.kill()  # those that wait for one that failed
    files = [folder / f"{processes}-{rank}.pt" for rank in ranks if processes > 1]
    return [torch.load(file, weights_only=True) for file in files]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, object]]]:
    folder = tmp_path_factory.mktemp("sharded")
    return {processes: run(folder, processes) for processes in (2, 1, 4)}


@pytest.mark.parametrize(
    "case",
    [
        "mlp",
        "transformer",
        "conv",
        "tensor parallel",
        "block",
        "clipped",
        "frozen",
        "gradients missing",
        "mixed",
        "mixed, learned",
        "summands",
        "state",
        "whole state",
    ],
)
def test_two_processes_end_where_one_does(found, case):
    assert [result[case] for result in found[2]] == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.parametrize(
    "case",
    ["mlp", "transformer", "conv", "block", "replicas", "both ways", "both ways, learned"],
)
def test_four_processes_end_where_one_does(found, case):
    assert [result[case] for result in found[4]] == pytest.approx([0] * 4, abs=1e-6)


def test_a_checkpoint_of_two_processes_goes_on_in_one_and_then_in_four(found):
    assert [result["resumed"] for result in found[4]] == pytest.approx([0] * 4, abs=1e-6)


def test_a_gradient_that_is_bad_on_one_process_skips_the_step_on_all(found):
    assert [result["one bad gradient"] for result in found[2]] == [0, 0]


def test_zero_redundancy_optimizer_keeps_processes_together(found):
    assert [result["ZeRO"] for result in found[2]] == [0, 0]


def test_what_no_step_can_be_taken_on_is_refused_with_what_to_do(found):
    assert "'weight'" in found[2][0]["refuses summands"]
    assert "Replicate()" in found[2][0]["refuses summands"]
    assert "fully_shard" in found[2][0]["refuses wrapped"]
