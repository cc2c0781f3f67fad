"""What the site shows beside the pages of docs/: tutorials, and files that pages link to."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
DOCS = PurePosixPath("docs")
TUTORIALS = DOCS / "tutorials"
LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)#\s]+)")


def as_page(script: str, output: str) -> str:
    """A script in the percent format as Markdown, with what it printed before its last cell."""
    cells = re.split(r"^# %%(.*)\n", script, flags=re.MULTILINE)[1:]
    parts = [_as_part(kind, cell) for kind, cell in zip(cells[::2], cells[1::2], strict=True)]
    printed = f"## What it prints and draws\n\n```text\n{output.rstrip()}\n```"
    return "\n\n".join([*parts[:-1], printed, parts[-1]]) + "\n"


def _as_part(kind: str, cell: str) -> str:
    if "[markdown]" in kind:
        return re.sub("^# ?", "", cell, flags=re.MULTILINE).strip()
    return f"```python\n{cell.strip()}\n```"


def place_of(path: PurePosixPath) -> PurePosixPath:
    """Where the site keeps a file of the repository; all outside docs/ is below source/."""
    if path.parent == TUTORIALS and path.suffix == ".py":
        return path.with_suffix(".md").relative_to(DOCS)
    if path.is_relative_to(DOCS) and not path.is_relative_to(DOCS / "tools"):
        return path.relative_to(DOCS)
    place = PurePosixPath("source") / path
    return place if place.suffix in {".md", ".json"} else place.with_name(f"{place.name}.md")


def relinked(markdown: str, path: PurePosixPath) -> str:
    """A page of the repository with its links leading to where the site keeps their targets."""
    here = place_of(path).parent

    def lead(match: re.Match[str]) -> str:
        return os.path.relpath(place_of(_target(path, match[1])), here)

    return LINK.sub(lead, markdown)


def linked_outside(paths: Iterable[PurePosixPath]) -> set[PurePosixPath]:
    """All files outside docs/ that these pages lead to, and the pages among those in turn."""
    found: set[PurePosixPath] = set()
    waiting = list(paths)
    while waiting:
        path = waiting.pop()
        targets = {_target(path, link) for link in LINK.findall((ROOT / path).read_text())}
        new = {t for t in targets if place_of(t).parts[0] == "source"} - found
        found |= new
        waiting += [target for target in new if target.suffix == ".md"]
    return found


def shown(path: PurePosixPath) -> str:
    """A file outside docs/ as a page: Markdown as it is, all else as code under its path."""
    text = (ROOT / path).read_text()
    if path.suffix == ".md":
        return text
    return f"# {path}\n\n````{path.suffix[1:] or 'text'}\n{text.rstrip()}\n````\n"


def _target(path: PurePosixPath, link: str) -> PurePosixPath:
    return PurePosixPath(os.path.normpath(path.parent / link))
