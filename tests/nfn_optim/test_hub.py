"""Checkpoints on the Hub: what an address means, and what is said where there is none."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from hub_endpoint import TOKEN, Endpoint
from nfn_optim import NFNOptimizer, NFNRule, load_rule, read_card, save_rule
from nfn_optim.hub import fetch, is_address

NAME = "somebody/rule"


def rule_file(folder: Path, seed: int = 0) -> bytes:
    torch.manual_seed(seed)
    path = folder / "written.safetensors"
    save_rule(NFNRule(), path, {"family": f"of seed {seed}"})
    return path.read_bytes()


@pytest.fixture
def uploaded(hub: Endpoint, tmp_path: Path) -> Endpoint:
    """Three revisions of a rule, and another file."""
    hub.add(NAME, "rule.safetensors", rule_file(tmp_path))
    hub.add(NAME, "more/last.safetensors", rule_file(tmp_path, 1))
    hub.add(NAME, "rule.safetensors", rule_file(tmp_path, 2), branch="v1")
    hub.add(NAME, "rule.safetensors", rule_file(tmp_path, 3), branch="try/one")
    return hub


@pytest.mark.parametrize(
    ("address", "seed"),
    [
        (f"hf://{NAME}", 0),
        (f"hf://{NAME}/more/last.safetensors", 1),
        (f"hf://{NAME}@v1", 2),
        (f"hf://{NAME}@try%2Fone", 3),
    ],
)
@pytest.mark.usefixtures("uploaded")
def test_an_address_is_a_checkpoint_like_any_other(address: str, seed: int, tmp_path: Path) -> None:
    rule_file(tmp_path, seed)
    expected = load_rule(tmp_path / "written.safetensors")
    for name, tensor in load_rule(address).state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name], rtol=0, atol=0)
    assert read_card(address)["family"] == f"of seed {seed}"
    model = nn.Linear(2, 1)
    optimizer = NFNOptimizer(model, checkpoint=address)
    assert optimizer.defaults["rule"] == NFNOptimizer(model, checkpoint=expected).defaults["rule"]


def test_a_file_is_downloaded_once(uploaded: Endpoint) -> None:
    for _ in range(3):
        fetch(f"hf://{NAME}")
    assert [method for method, _ in uploaded.asked].count("GET") == 1


def test_without_a_network_the_cache_is_taken(
    uploaded: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch(f"hf://{NAME}")
    uploaded.shutdown()
    uploaded.server_close()
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between tries
    assert fetch(f"hf://{NAME}") == path
    with pytest.raises(ConnectionError, match=r"hf://a/b: the Hub cannot be reached .*network"):
        load_rule("hf://a/b")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://somebody/none", r"no model somebody/none .*hf auth login"),
        (f"hf://{NAME}@v9", r"no branch, tag or commit 'v9'"),
        (f"hf://{NAME}/other.safetensors", r"no file other\.safetensors"),
    ],
)
@pytest.mark.usefixtures("uploaded")
def test_what_is_not_there_is_named(address: str, message: str) -> None:
    with pytest.raises(FileNotFoundError, match=message) as caught:
        load_rule(address)
    assert str(caught.value).startswith(f"{address}: ")


def test_what_is_private_is_read_with_a_token(
    uploaded: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploaded.private.add(NAME)
    with pytest.raises(FileNotFoundError, match="token that may read it"):
        load_rule(f"hf://{NAME}")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    load_rule(f"hf://{NAME}")


@pytest.mark.parametrize(
    "address", ["hf://", "hf://rule", "hf://a/b@", "hf://a/b/", "hf://a@v1/b", "hf://a/b@v1@v2"]
)
def test_what_is_no_address_is_refused_with_its_forms(address: str, hub: Endpoint) -> None:
    with pytest.raises(ValueError, match=r"no address on the Hub. Write hf://owner/name, "):
        load_rule(address)
    assert not hub.asked


def test_a_name_that_the_hub_does_not_allow_is_refused(hub: Endpoint) -> None:
    with pytest.raises(ValueError, match="names no repository"):
        load_rule("hf://a/b c")
    assert not hub.asked


@pytest.mark.parametrize("content", [b"no safetensors", b""])
def test_a_file_that_is_no_rule_is_named_by_its_address(hub: Endpoint, content: bytes) -> None:
    hub.add(NAME, "rule.safetensors", content)
    with pytest.raises(ValueError, match=f"hf://{NAME} is truncated or no safetensors"):
        load_rule(f"hf://{NAME}")


def test_another_models_file_is_refused(hub: Endpoint, tmp_path: Path) -> None:
    from safetensors.torch import save

    hub.add(NAME, "model.safetensors", save({"weight": torch.ones(2)}))
    with pytest.raises(ValueError, match=r"model\.safetensors is a safetensors file, but not one"):
        load_rule(f"hf://{NAME}/model.safetensors")


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"pip install 'nfn-optim\[hub\]'"):
        load_rule(f"hf://{NAME}")


def test_files_and_names_are_no_addresses() -> None:
    assert is_address("hf://a/b")
    assert not any(map(is_address, ("default", "small", Path("hf/a"), "hf:a/b")))
