"""What scripts written for Adam give: learning rates in Adam's unit, and Adam's options."""

import copy
import pickle
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


class ByHand:
    """The loop of a script that writes rates itself, with a scheduler's face."""

    def __init__(self, optimizer: NFNOptimizer, rate: Callable[[int], float]) -> None:
        self.optimizer, self.rate, self.steps = optimizer, rate, 0
        self.step()

    def step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.steps)
        self.steps += 1


def noam(width: int, warm_up: int) -> Callable[[int], float]:
    """The schedule of the first transformer, as factors on a rate of 1."""
    return lambda step: width**-0.5 * min(max(step, 1) ** -0.5, max(step, 1) * warm_up**-1.5)


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


def assert_same(ours: list[torch.Tensor], theirs: list[torch.Tensor], **tolerances: float) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **tolerances)


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
    assert_same(trained(lr=0.02, lr_unit="adam"), trained(lr=20.0))
    barely = trained(lr=1e-3, lr_unit="relative")
    for moved, learned, start in zip(barely, expected, network().parameters(), strict=True):
        assert (moved - start).norm() < 0.01 * (learned - start).norm()


def test_the_first_positional_option_is_the_rate():
    assert NFNOptimizer(network(), 0.5).param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("lr", [0.0, 0.05, 1.0, 30.0])
def test_other_rates_are_relative(lr):
    assert units(NFNOptimizer(network(), lr=lr)) == [None]


@pytest.mark.parametrize("rates", [(1.0, 0.01), (0.05, 1e-4)])
def test_the_largest_rate_decides_for_all_groups(rates):
    """Rates that decay from layer to layer are all of one unit."""
    assert units(in_groups(*rates)) == [None, None]


@pytest.mark.parametrize(
    ("lr", "rates"), [(1.0, (1e-3, 1e-5)), (1e-3, (None, 1e-5)), (None, (None, 1e-3))]
)
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
    "by hand": lambda o: ByHand(o, lambda step: 3e-4),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 1e-4, 1e-3),
    "SWALR": lambda o: SWALR(o, 1e-3),
    "Noam": lambda o: lr_scheduler.LambdaLR(o, noam(512, 4000)),
    "Noam, no warm-up": lambda o: lr_scheduler.LambdaLR(o, noam(512, 1)),
    "inverse square root": lambda o: lr_scheduler.LambdaLR(o, lambda s: 5e-5 / (s + 1) ** 0.5),
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


def test_a_noam_schedule_on_a_narrow_network_is_told_of_when_its_warm_up_is_over():
    """Its first rates are those of a warm-up of 8,000 steps to 1."""

    def schedule(optimizer: NFNOptimizer) -> lr_scheduler.LRScheduler:
        return lr_scheduler.LambdaLR(optimizer, noam(64, 100))

    trained(schedule, steps=99)
    with pytest.warns(UserWarning, match="lr_unit='adam'"):
        trained(schedule, steps=1000)


def test_a_noam_schedule_in_adam_s_unit_takes_learned_steps():
    def schedule(optimizer: NFNOptimizer) -> lr_scheduler.LRScheduler:
        return lr_scheduler.LambdaLR(optimizer, noam(64, 4))

    with pytest.warns(UserWarning, match="62.* times as large as learned"):
        found = trained(schedule, steps=8, lr=1.0, lr_unit="adam")

    def in_factors(optimizer: NFNOptimizer) -> ByHand:
        return ByHand(optimizer, lambda step: 1e3 * noam(64, 4)(step))

    with pytest.warns(UserWarning, match="62.* times as large as learned"):
        assert_same(found, trained(in_factors, steps=8))


WARM_UPS: dict[str, Schedule] = {
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 1e-3, total_iters=10_000),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.1, total_iters=200),
    "from zero": lambda o: lr_scheduler.LambdaLR(o, lambda step: min(1.0, step / 50_000)),
    "and cosine": lambda o: lr_scheduler.SequentialLR(
        o,
        [
            lr_scheduler.LinearLR(o, 1e-4, total_iters=50),
            lr_scheduler.CosineAnnealingLR(o, 50, eta_min=1e-5),
        ],
        [50],
    ),
    "to an end": lambda o: lr_scheduler.LinearLR(o, 1.0, 1e-4, total_iters=90),
    "warm restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 33, eta_min=1e-6),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
}


@pytest.mark.parametrize("schedule", WARM_UPS.values(), ids=WARM_UPS)
def test_schedules_of_factors_are_followed_without_a_word(schedule):
    assert_same(
        trained(schedule, steps=120, lr=1.0),
        trained(schedule, steps=120, lr=1.0, lr_unit="relative"),
    )


@pytest.mark.parametrize("schedule", WARM_UPS.values(), ids=WARM_UPS)
def test_schedules_of_adam_s_rates_are_followed_without_a_word(schedule):
    found = trained(schedule, steps=120, lr=1e-3, lr_unit="adam")
    if schedule in (WARM_UPS["and cosine"], WARM_UPS["warm restarts"]):
        return  # their least rate is absolute
    assert_same(found, trained(schedule, steps=120, lr=1.0))


def test_one_cycle_of_adam_s_rates_is_taken_as_adam_s():
    """All that it will write is known from the first step on."""

    def up_to(max_lr: float) -> Schedule:
        return lambda optimizer: lr_scheduler.OneCycleLR(optimizer, max_lr, total_steps=13)

    with pytest.warns(UserWarning, match="max_lr=0.005, which looks like .* Adam's") as caught:
        found = trained(up_to(5e-3), steps=12)
    assert len(caught) == 1
    assert_same(found, trained(up_to(5.0), steps=12))
    assert_same(
        trained(up_to(5e-3), steps=12, lr_unit="relative"),
        trained(up_to(5e-3), steps=12, lr=1.0, lr_unit="relative"),
    )


def test_averaging_at_a_rate_like_adam_s_is_told_of_whenever_it_begins():
    model = network()
    optimizer = NFNOptimizer(model)
    train(model, optimizer, 25)
    with pytest.warns(UserWarning, match="a learning rate of 0.001; 1.0 is"):
        train(model, optimizer, 2, lambda o: SWALR(o, 1e-3))


def test_a_plateau_lowers_rates_of_both_units_alike():
    def of(optimizer: NFNOptimizer) -> Any:
        scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        step = scheduler.step
        scheduler.step = lambda: step(1.0)
        return scheduler

    expected = trained(of, steps=5)
    assert_same(trained(of, steps=5, lr=1e-3, lr_unit="adam"), expected)


@pytest.mark.parametrize("lr_unit", [None, "relative", "adam"])
@pytest.mark.parametrize("schedule", [s for n, s in WARM_UPS.items() if n != "and cosine"])
def test_rates_in_tensors_are_those_in_numbers(schedule, lr_unit):
    lr = 1e-3 if lr_unit == "adam" else 1.0
    in_tensor = trained(schedule, 12, lr=torch.tensor(lr), lr_unit=lr_unit, capturable=False)
    in_number = trained(schedule, 12, lr=lr, lr_unit=lr_unit)
    assert_same(in_tensor, in_number, rtol=1e-4, atol=1e-4)  # rates in tensors are rounded


HUGE = "1000 times as large as learned ones: lr=1, where 0.001 is the learned step"


def test_a_factor_written_by_hand_among_adam_s_rates_is_told_of_before_it_is_used():
    with pytest.warns(UserWarning, match=LIKE_ADAMS):
        optimizer = in_groups(1e-3, 1e-4)
    optimizer.param_groups[1]["lr"] = 1.0
    for group in optimizer.param_groups:
        for param in group["params"]:
            param.grad = torch.ones_like(param)
    with pytest.warns(UserWarning, match=HUGE) as caught:
        optimizer.step()
    assert [warning.filename for warning in caught] == [__file__]
    optimizer.step()  # once


def test_a_scheduler_that_leads_adam_s_rates_to_factors_is_told_of():
    with pytest.warns(UserWarning, match=HUGE):
        trained(
            lambda o: lr_scheduler.OneCycleLR(o, 25.0, total_steps=9), 1, lr=1e-3, lr_unit="adam"
        )


@pytest.mark.filterwarnings("ignore:lr=0.001 looks like")
@pytest.mark.parametrize("lr", [None, 1.0, torch.tensor(1.0)])
@pytest.mark.parametrize("own", [{}, {"lr": 1.0}, {"lr": 1e-3}, {"lr_unit": "relative"}])
def test_a_group_that_joins_adam_s_rates_takes_learned_steps_however_it_says_so(lr, own):
    model = network()
    optimizer = NFNOptimizer([{"params": model[0].parameters(), "lr": 1e-3}], lr, model=model)
    optimizer.add_param_group({"params": model[2].parameters(), **own})
    assert_same(train(model, optimizer), trained())


def test_a_group_that_joins_factors_with_a_rate_of_adam_s_is_told_of_and_keeps_it():
    model = network()
    optimizer = NFNOptimizer(model[0].parameters(), model=model)
    with pytest.warns(UserWarning, match=f"lr=0.001 {LIKE_ADAMS}") as caught:
        optimizer.add_param_group({"params": model[2].parameters(), "lr": 1e-3})
    assert [warning.filename for warning in caught] == [__file__]
    assert_same(train(model, optimizer), trained())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copy_knows_what_was_told(copied):
    optimizer = copied(NFNOptimizer(network(), lr_unit="relative"))
    optimizer.add_param_group({"params": nn.Linear(2, 2).parameters(), "lr": 1e-3})
    assert units(optimizer) == ["relative", "relative"]
    assert copied(optimizer)._watch == optimizer._watch


def test_the_end_of_a_resumed_run_is_no_surprise():
    model = network()
    optimizer = NFNOptimizer(model)
    train(model, optimizer, 20)
    resumed = NFNOptimizer(model)
    resumed.load_state_dict(optimizer.state_dict())
    resumed.param_groups[0]["lr"] = 1e-4
    train(model, resumed, 15)


@pytest.mark.parametrize("fused", [None, False])
def test_the_norm_of_the_last_update_stays_what_it_was_when_a_tensor_of_rates_changes(fused):
    model = network()
    optimizer = NFNOptimizer(model, torch.tensor([1.0]), fused=fused)
    train(model, optimizer, 2)
    before = optimizer.stats()["update_norm"]
    optimizer.param_groups[0]["lr"].fill_(0.1)
    assert optimizer.stats()["update_norm"] == before > 0


@pytest.mark.parametrize(
    ("rate", "change"),
    [(1e-3, "leaves learned steps as they are"), (3e-4, "learned steps 0.3 times as large")],
)
def test_a_rate_like_adams_is_told_what_it_changes(rate: float, change: str) -> None:
    with pytest.warns(UserWarning, match=change):
        NFNOptimizer(network(), rate)
