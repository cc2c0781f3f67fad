"""Every example runs, is short, and is listed."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
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
