"""The guide to a layer of one's own does what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

from nfn_optim.testing import assert_equivariant, assert_sensitive, chain_spec, random_features

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "nf-layer.md"


def run_page() -> dict[str, Any]:
    """All code of the page in turn, and the names it leaves."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S):
        exec(block, names)
    return names


def test_the_page_prints_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    run_page()
    printed = capsys.readouterr().out
    shown = re.findall(r"```\n((?!\n).*?)```", PAGE.read_text(), re.S)[0]
    assert printed.startswith(shown)
    lines = printed.removeprefix(shown).splitlines()
    comments = re.findall(r"print\(.*\)  # (.*)", PAGE.read_text())
    assert len(lines) == len(comments) == 3
    for line, comment in zip(lines, comments, strict=True):
        assert re.fullmatch(re.escape(comment).replace(r"\.\.\.", r"[\w.+-]+"), line)


def test_the_layers_are_what_the_page_says_of_them() -> None:
    names = run_page()
    spec = chain_spec([3, 4, 5, 2], kernels=[(3, 3), (2,), ()], biases=[True, False, True])
    feats = random_features(spec, 2, batch=(2, 3))
    for name in ("OwnAndMean", "Listening"):
        layer = names[name](spec, 2, 3)
        assert_equivariant(layer, spec.np(), feats)
        with pytest.raises(AssertionError, match="too symmetric"):
            assert_sensitive(layer, spec.np(), feats)
