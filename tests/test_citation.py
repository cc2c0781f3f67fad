"""The version and the paper are the same wherever they are written."""

import re
from importlib.metadata import metadata
from pathlib import Path

import nfn_optim

ROOT = Path(__file__).parents[1]


def find(pattern: str, file: str) -> str:
    match = re.search(pattern, (ROOT / file).read_text(), flags=re.MULTILINE)
    assert match, f"{file} has no line like {pattern}"
    return match[1]


def test_version_is_the_same_everywhere() -> None:
    version = find(r'^version = "(.+)"$', "pyproject.toml")
    assert nfn_optim.__version__ == version
    assert find(r"^version: (.+)$", "CITATION.cff") == version
    assert find(r"^## \[(\d.+?)\]", "CHANGELOG.md") == version


def test_the_paper_is_cited() -> None:
    for file in ("CITATION.cff", "README.md"):
        assert find(r"arxiv\.org/abs/(\S+?)[\"})\s]", file) == "2302.14040"


def test_functorch_is_no_dependency() -> None:
    wanted = metadata("nfn-optim").get_all("Requires-Dist") or []
    assert any(line.startswith("torch") for line in wanted)
    assert not any(line.startswith("functorch") for line in wanted)
