"""Links between our own pages lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for folder in (".", "docs", "docs/*", "examples", "results")
    for path in ROOT.glob(f"{folder}/*.md")
)


def anchors_of(page: str) -> set[str]:
    """What headings can be linked by, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    targets = re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text())
    for name, anchor in targets:
        target = (page.parent / name) if name else page
        assert target.exists(), f"{page.name} links {name}"
        if anchor:
            assert anchor in anchors_of(target.read_text()), f"{page.name} links {name}#{anchor}"
