"""Every example runs, is short, and is listed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from meta_train import Task

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(path: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", str(path), "--smoke"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) >= 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_is_short_and_listed(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 90
    assert f"({path.name})" in (FOLDER / "README.md").read_text()


def test_there_are_examples() -> None:
    assert EXAMPLES


def test_tasks_of_the_readme_can_be_trained(generator: torch.Generator) -> None:
    match = re.search(
        r"```python\n(# my_tasks\.py\n.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    assert match
    names: dict[str, object] = {}
    exec(match[1], names)
    task = names["family"].sample(generator)  # type: ignore[attr-defined]
    assert isinstance(task, Task)
    assert task.loss(task.init(generator), task.batch(generator)).isfinite()
