"""Checks the site that mkdocs built: links lead somewhere, and pictures have a text."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """What a page links to, and what can be linked on it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.bare: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {given[key] or "" for key in ("id", "name") if given.get(key)}
        self.links += [given[key] or "" for key in ("href", "src") if key in given]
        if tag == "img" and not given.get("alt"):
            self.bare.append(given.get("src") or "")


def problems(site: Path) -> Iterator[str]:
    """What is wrong on the pages below a folder, a line each."""
    pages = {path: _Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin at the address of the site
            continue
        for link in page.bare:
            yield f"{path.relative_to(site)}: the picture {link} has no text in its place"
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                yield f"{path.relative_to(site)}: {link} leads to nothing"
            elif parts.fragment and target in pages:
                if unquote(parts.fragment) not in pages[target].ids | {"__tabbed"}:
                    yield f"{path.relative_to(site)}: {link} leads to no such place on its page"


if __name__ == "__main__":
    found = list(problems(Path(sys.argv[1]).resolve()))
    print("\n".join(found) or "All links and pictures lead somewhere.")
    sys.exit(bool(found))
