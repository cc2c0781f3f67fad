"""Every tutorial runs, is listed, and its page shows what it prints and draws."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import site_pages

FOLDER = site_pages.ROOT / site_pages.TUTORIALS
TUTORIALS = sorted(FOLDER.glob("*.py"))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_at_a_reduced_size(path: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"TUTORIAL_QUICK": "1", "MPLBACKEND": "agg"},
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout
    assert (tmp_path / f"{path.stem}.png").stat().st_size > 1_000


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_is_listed_and_its_page_shows_text_code_output_and_picture(path: Path) -> None:
    output = path.with_suffix(".txt").read_text()
    page = site_pages.as_page(path.read_text(), output)
    assert f"({path.name})" in (FOLDER / "README.md").read_text()
    assert page.startswith("# ")
    assert "```python\n" in page
    assert output.rstrip() in page
    assert len(output.splitlines()) > 1
    shown = re.findall(r"^!\[.{20,}\]\((\w+\.png)(?:#as-is)?\)$", page, flags=re.MULTILINE)
    assert shown == [f"{path.stem}.png"]
    assert (FOLDER / shown[0]).exists()


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_links_of_a_tutorial_lead_somewhere(path: Path) -> None:
    for link in site_pages.LINK.findall(path.read_text()):
        assert (FOLDER / link).exists(), link


def test_there_are_tutorials() -> None:
    assert TUTORIALS
