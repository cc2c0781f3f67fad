"""Every note answers one question and can be found."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "notes"
NOTES = sorted(FOLDER.glob("[0-9]*.md"))


@pytest.mark.parametrize("path", NOTES, ids=lambda path: path.stem)
def test_a_note_is_a_question_with_an_answer_and_listed(path: Path) -> None:
    title, _, answer = path.read_text().splitlines()[:3]
    assert re.fullmatch(r"# .+\?", title)
    assert answer.startswith("**Answer.** ")
    assert f"[{path.stem[:3]} {title[2:]}]({path.name})" in (FOLDER / "README.md").read_text()


def test_notes_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:3]) for path in NOTES] == list(range(1, len(NOTES) + 1))
