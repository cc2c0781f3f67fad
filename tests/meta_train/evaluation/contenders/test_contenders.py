"""Who competes: grids, names, and what Muon drives."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from meta_train.evaluation.contenders import (
    ADAM,
    ADAMW,
    TUNED,
    UNTUNED,
    Contender,
    MuonWithAdamW,
    _ours,
    find_contender,
    learned,
    name_of_default,
    require_packages,
    untrained,
    with_references,
)
from nfn_optim import AdamRule, NFNOptimizer

EXTRAS = {"schedule-free": "schedulefree", "soap": "pytorch_optimizer", "prodigy": "prodigyopt"}


def make_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 3)
    )


def descend(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    inputs = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        optimizer.zero_grad()
        module(inputs).square().sum().backward()
        optimizer.step()


def test_a_grid_grows_by_two_at_the_end_that_won() -> None:
    grown = [ADAMW.beyond(rate) for rate in (ADAMW.rates[0], ADAMW.rates[1], ADAMW.rates[-1])]
    assert grown[1] is None
    assert grown[0] is not None
    assert grown[0].rates == pytest.approx((10**-4.5, 10**-4))
    assert grown[2] is not None
    assert grown[2].rates == pytest.approx((10**-1, 10**-0.5))


def test_a_narrowed_grid_keeps_its_middle() -> None:
    assert ADAMW.narrowed(3).rates == ADAMW.rates[1:-1]
    assert ADAMW.at(1e-3).narrowed(3).rates == (1e-3,)


def test_peers_have_equal_budgets() -> None:
    assert {len(contender.settings) for contender in TUNED} == {10}
    assert not any(contender.is_tuned for contender in UNTUNED)


@pytest.mark.parametrize("contender", TUNED, ids=lambda contender: contender.name)
def test_a_peers_package_trains_a_network(contender: Contender) -> None:
    if contender.name in EXTRAS:
        pytest.importorskip(EXTRAS[contender.name], reason="needs the extra 'peers'")
    assert contender.make_optimizer is not None
    module = make_network()
    before = {name: p.clone() for name, p in module.named_parameters()}
    optimizer = contender.make_optimizer(module, contender.rates[2], 20)
    getattr(optimizer, "train", lambda: None)()
    descend(module, optimizer)
    assert all(not torch.equal(p, before[name]) for name, p in module.named_parameters())


# Names


def test_a_name_with_a_rate_has_nothing_to_tune() -> None:
    contender = find_contender("adamw@0.001")
    assert contender.name == "adamw@0.001"
    assert [(s.rate, s.schedule) for s in contender.settings] == [(0.001, "constant")]
    assert find_contender("adam") is ADAM


@pytest.mark.parametrize("name", ["lion", "lion@0.1", "adamw@fast", "adamw@0", "adamw@-1", "@1"])
def test_unknown_contenders_and_rates_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="contender"):
        find_contender(name)


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"'prodigy'.*pip install prodigyopt"):
        find_contender("prodigy")
    with pytest.raises(ValueError, match=r"pip install pytorch-optimizer"):
        require_packages(next(c for c in TUNED if c.name == "soap"))


def test_a_users_factory_is_a_contender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_optimizers.py").write_text(
        "from torch.optim import RMSprop\n"
        "def mine(module):\n    return RMSprop(module.parameters(), lr=1e-3)\n"
        "def wrong(module):\n    return module\n"
    )
    monkeypatch.chdir(tmp_path)
    contender = find_contender("my_optimizers:mine")
    assert contender.make_optimizer is not None
    assert isinstance(contender.make_optimizer(nn.Linear(2, 2), 1.0, 1), torch.optim.RMSprop)
    assert not contender.is_tuned
    with pytest.raises(ValueError, match=r"returned Sequential, not a torch\.optim\.Optimizer"):
        find_contender("my_optimizers:wrong")
    for name in ("my_optimizers:nothing", "no_such_module:x"):
        with pytest.raises(ValueError, match=f"contender '{name}' cannot be loaded"):
            find_contender(name)


# The learned rule


def test_the_learned_rule_is_called_by_its_checkpoint() -> None:
    assert learned("default").name == name_of_default() == "shipped"
    assert learned("small").name == "small"
    assert learned(AdamRule(0.1)).name == "AdamRule"
    assert learned(AdamRule(0.1)).make_optimizer is None


def test_a_default_that_has_learned_nothing_is_the_untrained_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [c.name for c in with_references(learned(AdamRule(0.1)))]
    assert names == ["AdamRule", "untrained", "shipped"]
    monkeypatch.setattr(_ours, "_DEFAULT", "untrained")
    assert name_of_default() == "untrained"
    assert [c.name for c in with_references(learned(AdamRule(0.1)))] == names[:2]


def test_without_learning_it_is_an_optimizer_with_nothing_to_tune() -> None:
    contender, again = untrained(), untrained(told=True)
    assert contender.name == "untrained"
    assert not contender.is_tuned
    assert contender.make_optimizer is not None
    assert contender.make_optimizer != again.make_optimizer
    optimizer = contender.make_optimizer(nn.Sequential(nn.Linear(3, 2)), 1.0, 10)
    assert isinstance(optimizer, NFNOptimizer)


# Muon


def test_muon_drives_a_convolution_as_the_matrix_of_its_filters() -> None:
    """Equal to torch's Muon on the same numbers held as a matrix."""
    module = make_network()
    weight = next(module.parameters())
    matrix = nn.Parameter(weight.detach().flatten(1).clone())
    reference = torch.optim.Muon([matrix], lr=0.02, weight_decay=0.01)
    optimizer = MuonWithAdamW(module, 0.02)
    inputs = torch.randn(5, 1, 4, 4)
    for _ in range(3):
        optimizer.zero_grad()
        module(inputs).square().sum().backward()
        assert weight.grad is not None
        matrix.grad = weight.grad.flatten(1).clone()
        optimizer.step()
        reference.step()
        torch.testing.assert_close(weight.detach().flatten(1), matrix.detach())


def test_muon_leaves_the_head_embeddings_and_vectors_to_adamw() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.hidden = nn.Embedding(5, 4), nn.LSTM(4, 4)
            self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 5)

    module = Net()
    by_muon = {p.data_ptr() for p, _ in MuonWithAdamW(module, 0.02)._matrices}
    names = {n for n, p in module.named_parameters() if p.data_ptr() in by_muon}
    assert names == {"hidden.weight_ih_l0", "hidden.weight_hh_l0"}


def test_a_schedule_reaches_both_parts_of_muon() -> None:
    module = make_network()
    start = [p.detach().clone() for p in module.parameters()]
    optimizer = MuonWithAdamW(module, 0.02)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    descend(module, optimizer)
    assert all(torch.equal(p, q) for p, q in zip(module.parameters(), start, strict=True))


def test_muon_skips_what_has_no_gradient_and_what_is_frozen() -> None:
    module = make_network()
    frozen = module[3].requires_grad_(False)
    before = frozen.weight.clone()
    optimizer = MuonWithAdamW(module, 0.02)
    optimizer.step()
    descend(module, optimizer)
    assert torch.equal(frozen.weight, before)
