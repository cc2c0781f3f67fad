"""What mkdocs asks of us while it builds the site; `site_pages` has the work."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from site_pages import (
    DOCS,
    ROOT,
    TUTORIALS,
    as_page,
    linked_outside,
    place_of,
    relinked,
    shown,
)

_home: dict[str, PurePosixPath] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists all notes in the navigation."""
    notes = next(part["Notes"] for part in config.nav or () if "Notes" in part)
    notes += [f"notes/{path.name}" for path in sorted((ROOT / DOCS / "notes").glob("[0-9]*.md"))]
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds tutorials, and the files outside docs/ that pages link to."""
    pages = [DOCS / file.src_uri for file in files.documentation_pages()]
    for script in sorted((ROOT / TUTORIALS).glob("*.py")):
        page = as_page(script.read_text(), script.with_suffix(".txt").read_text())
        _add(files, config, TUTORIALS / script.name, content=page)
    for path in sorted(linked_outside(pages)):
        if path.suffix == ".json":
            _add(files, config, path, abs_src_path=str(ROOT / path))
        else:
            _add(files, config, path, content=shown(path))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Links lead to places on the site."""
    uri = page.file.src_uri
    return relinked(markdown, _home.get(uri, DOCS / uri))


def _add(files: Files, config: MkDocsConfig, path: PurePosixPath, **source: Any) -> None:
    uri = str(place_of(path))
    _home[uri] = path
    files.append(File.generated(config, uri, **source))
