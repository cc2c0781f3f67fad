"""Checkpoints to the Hub: what is uploaded, that it comes back the same, what is refused before."""

import json
import re
from pathlib import Path

import pytest
import torch

from command_line import fails
from hub_endpoint import TOKEN, Endpoint
from meta_train.commands._main import main
from meta_train.commands._model_card import model_card
from nfn_optim import NFNRule, load_rule, read_card, save_rule
from nfn_optim.hub import fetch

REPO = "somebody/my-rule"
GATE = {
    "tasks": ["field-dev"],
    "steps": None,
    "seeds": 3,
    "conditions": [
        {"asked": "median speed-up >= 1.05", "figure": 1.2, "holds": True, "where": ""},
        {"asked": "diverged runs <= 0", "figure": 1, "holds": False, "where": "photo-siren"},
    ],
}
CARD = {
    "family": "Digits(widths=(8, 64))",
    "command": "nfn-optim train --out mine.safetensors",
    "outer_steps": 300,
    "wall_seconds": 61.5,
    "versions": {"torch": "2.13.0", "python": "3.11.7"},
    "git": "0123abc",
    "limits": ["runs of 300 steps"],
    "gate": GATE,
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    path = tmp_path / "mine.safetensors"
    torch.manual_seed(1)  # the rule that has learned nothing is of seed 0
    save_rule(NFNRule(), path, CARD)
    return str(path)


@pytest.fixture
def logged_in(hub: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


def test_what_is_pushed_comes_back_the_same(
    logged_in: Endpoint, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = tmp_path / "pushed.json"
    main(("push", checkpoint, REPO, "--json", str(numbers)))
    address = f"hf://{REPO}"
    assert f'checkpoint="{address}"' in capsys.readouterr().out
    assert read_card(address) == CARD
    expected = load_rule(checkpoint).state_dict()
    for name, tensor in load_rule(address).state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)
    assert logged_in.commits == [("Upload a learned optimizer", ["README.md", "rule.safetensors"])]
    written = json.loads(numbers.read_text())
    assert written["checkpoint"] == address
    assert written["url"].endswith(written["commit"])
    assert not logged_in.private


def test_a_second_push_replaces_the_first(logged_in: Endpoint, checkpoint: str) -> None:
    main(("push", checkpoint, REPO))
    save_rule(load_rule(checkpoint), checkpoint, {"family": "another"})
    main(("push", checkpoint, REPO, "--message", "Train on more"))
    assert read_card(f"hf://{REPO}") == {"family": "another"}
    assert logged_in.commits[-1] == ("Train on more", ["README.md", "rule.safetensors"])


def test_a_branch_is_made_and_committed_to(logged_in: Endpoint, checkpoint: str) -> None:
    main(("push", checkpoint, REPO, "--revision", "v1", "--private"))
    files = logged_in.files[REPO]
    assert set(files["v1"]) == {"README.md", "rule.safetensors"}
    assert files["main"] == {}
    assert f'checkpoint="hf://{REPO}@v1"' in files["v1"]["README.md"].decode()
    assert logged_in.private == {REPO}


def test_the_address_of_a_branch_with_a_slash_leads_there(
    logged_in: Endpoint, checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(("push", checkpoint, REPO, "--revision", "try/one"))
    assert set(logged_in.files[REPO]["try/one"]) == {"README.md", "rule.safetensors"}
    found = re.search(r'checkpoint="(.*)"', capsys.readouterr().out)
    assert found is not None
    assert fetch(found[1]).read_bytes() == Path(checkpoint).read_bytes()


def test_the_page_tells_what_the_card_knows(checkpoint: str) -> None:
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import ModelCard

    page = model_card(load_rule(checkpoint), CARD, REPO, f"hf://{REPO}", "apache-2.0")
    front = ModelCard(page).data.to_dict()
    assert front["library_name"] == "nfn_optim"
    assert front["license"] == "apache-2.0"
    assert "learned-optimizer" in front["tags"]
    lines = page.splitlines()
    assert "# my-rule" in lines
    assert f'optimizer = NFNOptimizer(model, checkpoint="hf://{REPO}")' in lines
    assert "Digits(widths=(8, 64))" in lines
    assert "- command: `nfn-optim train --out mine.safetensors`" in lines
    assert "- versions: torch 2.13.0, python 3.11.7" in lines
    assert "`nfn-optim gate` says: do not ship (field-dev; 3 seeds)." in lines
    assert "| diverged runs <= 0 | 1 | photo-siren | no |" in lines
    assert "- runs of 300 steps" in lines


def test_a_page_says_what_its_card_does_not(checkpoint: str) -> None:
    pytest.importorskip("huggingface_hub")
    page = model_card(load_rule(checkpoint), {}, REPO, f"hf://{REPO}", "mit")
    assert "The card does not say." in page
    assert "`nfn-optim gate` has not compared it" in page


def test_the_bundled_weights_have_a_page() -> None:
    pytest.importorskip("huggingface_hub")
    page = model_card(load_rule("small"), read_card("small"), REPO, f"hf://{REPO}", "mit")
    assert "4,202 meta-trained weights" in page
    assert "## Where it fails" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.safetensors", REPO), "there is no checkpoint 'none.safetensors'"),
        (("untrained", REPO), "untrained has learned nothing"),
        (("small", "my-rule"), "'my-rule' names no repository with its owner"),
        (("small", "a/b/c"), "Repo id must be in the form"),
        (("small", REPO, "--json", "."), "is a folder"),
    ],
)
def test_what_cannot_be_pushed_is_refused_before_anything_is_asked(
    logged_in: Endpoint,
    arguments: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert message in fails(capsys, "push", *arguments)
    assert not logged_in.asked


def test_without_a_token_nothing_is_asked(
    hub: Endpoint, checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "needs a token that may write there" in fails(capsys, "push", checkpoint, REPO)
    assert not hub.asked


def test_a_token_that_may_not_write_is_named(
    hub: Endpoint,
    checkpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    message = fails(capsys, "push", checkpoint, REPO)
    assert f"the Hub refused {REPO}" in message
    assert "may write there" in message


def test_a_public_repository_is_not_taken_for_a_private_one(
    logged_in: Endpoint, checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(("push", checkpoint, REPO))
    message = fails(capsys, "push", checkpoint, REPO, "--private")
    assert f"{REPO} is there already and is public; nothing was uploaded" in message
    assert len(logged_in.commits) == 1


def test_without_a_network_that_is_said(
    logged_in: Endpoint,
    checkpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    logged_in.shutdown()
    logged_in.server_close()
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert "the Hub cannot be reached" in fails(capsys, "push", checkpoint, REPO)


def test_commands_take_addresses(
    logged_in: Endpoint, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(("push", checkpoint, REPO))
    address, numbers = f"hf://{REPO}", tmp_path / "x.json"
    tasks = ("--tasks", "digits-64-32-10", "--steps", "2", "--seeds", "1", "--processes", "1")
    out = ("--out", str(tmp_path / "out"), "--json", str(numbers))
    main(("evaluate", "--checkpoint", address, *tasks, "--peers", "adam@0.001", *out))
    rows = json.loads(numbers.read_text())["rows"]
    assert [row["contender"] for row in rows] == [address, "untrained", "shipped", "adam@0.001"]
    assert "--record needs a file" in fails(capsys, "gate", address, "--record")
    with pytest.raises(SystemExit) as exit_:
        main(("gate", address, *tasks, *out))
    assert exit_.value.code in (0, 4)
    assert f"ship: {address}" in capsys.readouterr().out.lower()
