"""What scripts written for Adam give: learning rates in Adam's unit, and Adam's options."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

from nfn_optim import NFNOptimizer

LIKE_ADAMS = "looks like a learning rate of Adam's"
Schedule = Callable[[NFNOptimizer], Any]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def train(
    model: nn.Module, optimizer: NFNOptimizer, steps: int = 5, schedule: Schedule | None = None
) -> list[torch.Tensor]:
    """The parameters afterwards."""
    scheduler = schedule(optimizer) if schedule else None
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(16, 6, generator=generator)).square().mean().backward()
        optimizer.step()
        if scheduler:
            scheduler.step()
    return [param.detach() for param in model.parameters()]


def trained(schedule: Schedule | None = None, steps: int = 5, **options: Any) -> list[torch.Tensor]:
    model = network()
    return train(model, NFNOptimizer(model, **options), steps, schedule)


def assert_same(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def in_groups(*rates: float | None, **options: Any) -> NFNOptimizer:
    """Layers in groups with rates of their own."""
    model = network()
    groups = [
        {"params": layer.parameters(), **({} if rate is None else {"lr": rate})}
        for layer, rate in zip((model[0], model[2]), rates, strict=True)
    ]
    return NFNOptimizer(groups, model=model, **options)


def units(optimizer: NFNOptimizer) -> list[str | None]:
    return [group["lr_unit"] for group in optimizer.param_groups]


@pytest.mark.parametrize("fused", [None, False])
@pytest.mark.parametrize("lr", [3e-4, torch.tensor(3e-4)], ids=["a number", "a tensor"])
def test_a_rate_of_adam_s_is_relative_to_its_usual_one(lr, fused):
    with pytest.warns(UserWarning, match=LIKE_ADAMS) as caught:
        found = trained(lr=lr, fused=fused, weight_decay=0.1)
    assert [warning.filename for warning in caught] == [__file__]
    assert_same(found, trained(lr=0.3, fused=fused, weight_decay=0.1))


def test_the_unit_may_be_told():
    expected = trained()
    assert_same(trained(lr=1e-3, lr_unit="adam"), expected)
    assert_same(trained(lr=2.0, lr_unit="adam"), trained(lr=2000.0))
    barely = trained(lr=1e-3, lr_unit="relative")
    for moved, learned, start in zip(barely, expected, network().parameters(), strict=True):
        assert (moved - start).norm() < 0.01 * (learned - start).norm()


def test_the_first_positional_option_is_the_rate():
    assert NFNOptimizer(network(), 0.5).param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("lr", [0.0, 0.05, 1.0, 30.0])
def test_other_rates_are_relative(lr):
    assert units(NFNOptimizer(network(), lr=lr)) == [None]


@pytest.mark.parametrize("rates", [(1.0, 0.01), (None, 1e-4)])
def test_the_largest_rate_decides_for_all_groups(rates):
    """Rates that decay from layer to layer are all of one unit."""
    assert units(in_groups(*rates)) == [None, None]


@pytest.mark.parametrize(("lr", "rates"), [(1.0, (1e-3, 1e-5)), (1e-3, (None, 1e-5))])
def test_groups_of_adam_s_rates_alone_are_adam_s(lr, rates):
    with pytest.warns(UserWarning, match=f"lr=0.001 {LIKE_ADAMS}"):
        optimizer = in_groups(*rates, lr=lr)
    assert units(optimizer) == ["adam", "adam"]


def test_a_group_may_have_a_unit_of_its_own():
    model = network()
    groups = [
        {"params": model[0].parameters(), "lr": 1e-3, "lr_unit": "adam"},
        {"params": model[2].parameters(), "lr": 1.0},
    ]
    assert_same(train(model, NFNOptimizer(groups, model=model)), trained())


def test_a_group_that_joins_has_the_unit_of_the_optimizer():
    model = network()
    optimizer = NFNOptimizer(model[0].parameters(), lr=1e-3, lr_unit="adam", model=model)
    optimizer.add_param_group({"params": model[2].parameters(), "lr": 1e-3})
    assert_same(train(model, optimizer), trained())


def test_a_warm_up_of_a_relative_rate_stays_relative():
    def schedule(optimizer: NFNOptimizer) -> lr_scheduler.LRScheduler:
        return lr_scheduler.LinearLR(optimizer, start_factor=1e-3, total_iters=1000)

    assert_same(trained(schedule, steps=12), trained(schedule, steps=12, lr_unit="relative"))


@pytest.mark.parametrize("cycle_momentum", [True, False])
def test_a_scheduler_writes_rates_in_the_unit_that_was_given(cycle_momentum):
    def up_to(max_lr: float) -> Schedule:
        return lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer, max_lr, total_steps=13, cycle_momentum=cycle_momentum
        )

    with pytest.warns(UserWarning, match=LIKE_ADAMS):
        found = trained(up_to(5e-3), steps=12, lr=1e-3)
    assert_same(found, trained(up_to(5.0), steps=12))


SMALL: dict[str, Schedule] = {
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 1e-2, total_steps=50),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 1e-4, 1e-3),
    "SWALR": lambda o: SWALR(o, 1e-3),
}


@pytest.mark.parametrize("schedule", SMALL.values(), ids=SMALL)
def test_a_scheduler_that_writes_adam_s_rates_is_told_of_once(schedule):
    with pytest.warns(UserWarning, match="lr_unit='adam'") as caught:
        trained(schedule, steps=15)
    assert len(caught) == 1
    trained(schedule, steps=15, lr_unit="relative")


def test_a_resumed_run_keeps_the_unit_of_its_rates():
    model, twin = network(), network()
    optimizer = NFNOptimizer(model, lr=5e-4, lr_unit="adam")
    train(model, optimizer)
    twin.load_state_dict(model.state_dict())
    resumed = NFNOptimizer(twin)
    resumed.load_state_dict(optimizer.state_dict())
    assert_same(train(twin, resumed), train(model, optimizer))
    assert units(copy.deepcopy(resumed)) == ["adam"]


def test_rates_of_older_states_are_relative_as_they_were():
    state = NFNOptimizer(network(), lr=1e-3, lr_unit="relative").state_dict()
    for name in ("lr_unit", "betas"):
        del state["param_groups"][0][name]
    optimizer = NFNOptimizer(network(), lr=1e-3, lr_unit="adam")
    optimizer.load_state_dict(state)
    assert units(optimizer) == [None]
    lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=9)


def test_an_unknown_unit_is_refused():
    with pytest.raises(ValueError, match="lr_unit must be 'adam' or 'relative', or None .*'sgd'"):
        NFNOptimizer(network(), lr_unit="sgd")


def test_adam_s_options_without_a_meaning_are_named_once():
    options = {"betas": (0.9, 0.95), "eps": 1e-7, "amsgrad": True, "foreach": True}
    with pytest.warns(UserWarning, match="betas, eps, amsgrad, foreach have no meaning") as caught:
        found = trained(**options)
    assert [warning.filename for warning in caught] == [__file__]
    assert_same(found, trained())


def test_options_of_groups_are_named_too():
    with pytest.warns(UserWarning, match="eps has no meaning here and is ignored"):
        NFNOptimizer([{"params": network().parameters(), "eps": 1e-7}])


def test_options_that_ask_for_nothing_or_for_what_there_is_are_not_named():
    options = {"amsgrad": False, "foreach": None, "capturable": False, "differentiable": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NFNOptimizer(network(), decoupled_weight_decay=True, fused=False, **options)


def test_options_that_adam_has_not_are_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument 'momentum'"):
        NFNOptimizer(network(), momentum=0.9)


@pytest.mark.parametrize("lr_unit", [None, "relative", "adam"])
def test_without_a_rate_learned_steps_are_as_they_are_in_any_unit(lr_unit):
    assert_same(trained(lr_unit=lr_unit), trained(lr=1.0))


@pytest.mark.filterwarnings("ignore:lr=0.001 looks like")
@pytest.mark.parametrize("lr_unit", [None, "relative", "adam"])
def test_a_group_that_joins_without_a_rate_has_that_of_learned_steps(lr_unit):
    model = network()
    optimizer = NFNOptimizer([{"params": model[0].parameters(), "lr": 1e-3}], model=model)
    own = {} if lr_unit is None else {"lr_unit": lr_unit}
    optimizer.add_param_group({"params": model[2].parameters(), **own})
    assert_same(train(model, optimizer), trained())


def test_a_group_with_a_unit_and_no_rate_has_the_default_one_in_its_unit():
    model = network()
    groups = [
        {"params": model[0].parameters(), "lr_unit": "adam"},
        {"params": model[2].parameters()},
    ]
    assert_same(train(model, NFNOptimizer(groups, 0.5, model=model)), trained(lr=0.5))


def test_a_rate_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="lr must be a number that is not negative; got nan"):
        NFNOptimizer(network(), lr=float("nan"))
