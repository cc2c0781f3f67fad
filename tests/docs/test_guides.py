"""Every block of Python in the guides runs, in the order in which it is read."""

import re
from pathlib import Path
from typing import Any

import pytest

from hub_endpoint import Endpoint
from nfn_optim.optimizer import checkpoint_path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "index.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
HUB = ROOT / "docs" / "guides" / "hub.md"
SCRIPTS = ROOT / "docs" / "guides" / "training-scripts.md"
NEEDS = {
    "Lightning": "lightning",
    "Hugging Face Trainer": "transformers",
    "accelerate": "accelerate",
}


def blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def sections(page: Path) -> dict[str, str]:
    """Headings of second rank and what stands under them; what precedes the first is under ""."""
    first, *others = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)
    return {"": first, **dict(part.split("\n", 1) for part in others)}


def run(parts: list[str]) -> None:
    names: dict[str, Any] = {"__name__": "guide"}
    for part in parts:
        exec(compile(part, "guide", "exec"), names)


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p not in (SCRIPTS, HUB)], ids=lambda page: page.stem
)
def test_what_a_guide_says_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(blocks(page.read_text()))


def test_the_guide_to_the_hub_runs(hub: Endpoint) -> None:
    hub.add("owner/name", "rule.safetensors", checkpoint_path("small").read_bytes())
    run(blocks(HUB.read_text()))
    assert ("GET", "/owner/name/resolve/main/rule.safetensors") in hub.asked


@pytest.mark.parametrize(
    "title", [t for t, text in sections(SCRIPTS).items() if t and blocks(text)]
)
@pytest.mark.filterwarnings("default")  # theirs about themselves; ours are tested elsewhere
def test_a_training_script_runs(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if title in NEEDS:
        reason = f"{NEEDS[title]} not installed: pip install 'nfn-optim[ecosystem]'"
        pytest.importorskip(NEEDS[title], reason=reason)
    monkeypatch.chdir(tmp_path)
    alone = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29511"}
    for name, value in alone.items() if title in {"DDP", "FSDP2"} else ():
        monkeypatch.setenv(name, value)
    parts = sections(SCRIPTS)
    run([*blocks(parts[""]), *blocks(parts[title])])


def test_guides_have_blocks() -> None:
    assert all(blocks(page.read_text()) for page in PAGES)
