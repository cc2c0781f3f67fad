"""The scenarios of torch's own optimizer tests, on torch's own tables of inputs and schedulers.

They follow `TestOptimRenewed` in pytorch's test/test_optim.py, which is not part of the package;
the tables are. docs/optimizer.md lists the scenarios that do not apply.
"""

import warnings
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from nfn_optim import NFNOptimizer

tables = pytest.importorskip(
    "torch.testing._internal.common_optimizers",
    reason="torch's tables need expecttest: pip install 'nfn-optim[ecosystem]'",
    exc_type=ImportError,
)


def inputs(device: str, dtype: torch.dtype | None = None) -> list:
    """What `optim_inputs_func` of torch's optimizers returns."""
    options = {
        "default": {},
        "non-default lr": {"lr": 0.1},
        "Tensor lr": {"lr": torch.tensor(0.1)},
        "nonzero weight_decay": {"weight_decay": 0.1},
        "maximize": {"maximize": True, "weight_decay": 0.1},
    }
    return [tables.OptimizerInput(params=None, kwargs=k, desc=d) for d, k in options.items()]


SGD = next(info for info in tables.optim_db if info.optim_cls is torch.optim.SGD)
INFO = tables.OptimizerInfo(
    NFNOptimizer,
    optim_inputs_func=inputs,
    scheduler_inputs=SGD.scheduler_inputs,
    optim_error_inputs_func=tables.get_error_inputs_for_all_optims,
    supported_impls=(),
    supports_complex=True,
)
NAMED_BY_US = "all optimizer param"  # must be with or without names: here unnamed ones get names
ERRORS = [
    case
    for case in INFO.optim_error_inputs_func("cpu", torch.float32)
    if not case.optimizer_error_input.desc.startswith(NAMED_BY_US)
]
OPTIONS = pytest.mark.parametrize(
    "kwargs", [i.kwargs for i in inputs("cpu")], ids=[i.desc for i in inputs("cpu")]
)


def problem() -> tuple[nn.Parameter, nn.Parameter, Callable[[], torch.Tensor]]:
    """`test_forloop_goes_right_direction`: a 10x5 layer that is to send one vector to zero."""
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(10, 5, generator=generator))
    bias = nn.Parameter(torch.randn(10, generator=generator))
    vector = torch.randn(5, generator=generator)

    def loss() -> torch.Tensor:
        return (weight.mv(vector) + bias).pow(2).sum()

    return weight, bias, loss


def closure(optimizer: torch.optim.Optimizer, loss: Callable) -> Callable[[], torch.Tensor]:
    def call() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value.detach()

    return call


@OPTIONS
def test_loop_goes_in_the_right_direction(kwargs):
    weight, bias, loss = problem()
    optimizer = NFNOptimizer([weight, bias], **deepcopy(kwargs))
    step = closure(optimizer, loss)
    first = step()
    for _ in range(20):
        optimizer.step(step)
    assert (step() > first) if kwargs.get("maximize") else (step() < first)


@pytest.mark.parametrize("schedulers", INFO.scheduler_inputs)
@pytest.mark.parametrize("grouped", [False, True])
def test_loop_with_schedulers_goes_in_the_right_direction(schedulers, grouped):
    weight, bias, loss = problem()
    groups = [{"params": [weight]}, {"params": [bias], "lr": 0.5}] if grouped else [weight, bias]
    optimizer = NFNOptimizer(groups)
    made = [make(optimizer) for make in schedulers]
    step = closure(optimizer, loss)
    first = step()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of .lr_scheduler.step")
        for _ in range(20):
            for scheduler in made:
                is_plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
                scheduler.step(*([step()] if is_plateau else []))
            optimizer.step(step)
    assert step() < first


@pytest.mark.parametrize("case", ERRORS, ids=[c.optimizer_error_input.desc for c in ERRORS])
def test_errors(case):
    given = case.optimizer_error_input
    params = given.params or [nn.Parameter(torch.randn(2, 3))]
    if issubclass(case.error_type, Warning):
        with pytest.warns(case.error_type, match=case.error_regex):
            NFNOptimizer(params, **given.kwargs)
    else:
        with pytest.raises(case.error_type, match=case.error_regex):
            NFNOptimizer(params, **given.kwargs)


def test_step_is_a_no_op_without_gradients():
    weight, bias, _ = problem()
    before = weight.clone()
    optimizer = NFNOptimizer([weight, bias])
    optimizer.step()
    assert torch.equal(weight, before)
    assert not optimizer.state


@OPTIONS
def test_optimizer_can_be_printed(kwargs):
    weight, bias, _ = problem()
    text = repr(NFNOptimizer([weight, bias], **deepcopy(kwargs)))
    assert text.startswith("NFNOptimizer (\nParameter Group 0")


@OPTIONS
def test_state_dict_is_deterministic(kwargs):
    """Two optimizers of equal state take equal steps; so does one that is deep-copied."""
    weight, bias, loss = problem()
    optimizer = NFNOptimizer([weight, bias], **deepcopy(kwargs))
    for _ in range(5):
        optimizer.step(closure(optimizer, loss))
    twins = [problem() for _ in range(2)]
    for other_weight, other_bias, other_loss in twins:
        other_weight.data.copy_(weight)
        other_bias.data.copy_(bias)
        other = NFNOptimizer([other_weight, other_bias], **deepcopy(kwargs))
        other.load_state_dict(deepcopy(optimizer.state_dict()))
        for _ in range(5):
            other.step(closure(other, other_loss))
    assert torch.equal(twins[0][0], twins[1][0])
    for _ in range(5):
        optimizer.step(closure(optimizer, loss))
    assert torch.equal(twins[0][0], weight)


def test_state_dict_loads_from_and_to_named_parameters():
    weight, bias, loss = problem()
    names = [("weight", weight), ("bias", bias)]
    named, unnamed = NFNOptimizer(names), NFNOptimizer([weight, bias])
    named.step(closure(named, loss))
    assert named.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    with pytest.raises(ValueError, match=r"belongs to parameters \['weight', 'bias'\]"):
        unnamed.load_state_dict(named.state_dict())


@OPTIONS
def test_state_survives_weights_only(kwargs, tmp_path):
    weight, bias, loss = problem()
    optimizer = NFNOptimizer([weight, bias], **deepcopy(kwargs))
    optimizer.step(closure(optimizer, loss))
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    other = NFNOptimizer([weight, bias], **deepcopy(kwargs))
    other.load_state_dict(saved)
    assert other.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
    for position, slots in saved["state"].items():
        for name, slot in other.state_dict()["state"][position].items():
            assert torch.equal(slot, slots[name])


def test_deepcopy_copies_all_public_attributes():
    weight, bias, loss = problem()
    optimizer = NFNOptimizer([weight, bias])
    optimizer.step(closure(optimizer, loss))
    public = {name for name in vars(optimizer) if not name.startswith("_")}
    assert public <= set(vars(deepcopy(optimizer)))


@OPTIONS
def test_mixed_dtypes(kwargs):
    """`test_mixed_device_dtype` on one device: parameters of two precisions in one optimizer."""
    weight, bias, loss = problem()
    half = nn.Parameter(torch.full((3, 10), 1e-3, dtype=torch.bfloat16))
    optimizer = NFNOptimizer([weight, bias, half], **deepcopy(kwargs))

    def total() -> torch.Tensor:
        return loss() + half.float().square().sum()

    before = half.clone()
    optimizer.step(closure(optimizer, total))
    assert half.dtype == torch.bfloat16
    assert not torch.equal(half, before)


def test_groups_keep_defaults_and_own_options():
    weight, bias, _ = problem()
    optimizer = NFNOptimizer([{"params": [weight]}, {"params": [bias], "lr": 0.5}], lr=0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5]


def test_non_empty_state():
    weight, bias, loss = problem()
    optimizer = NFNOptimizer([weight, bias])
    optimizer.step(closure(optimizer, loss))
    assert all(optimizer.state[param] for param in (weight, bias))


def test_global_hooks_surround_own_hooks():
    weight, bias, loss = problem()
    calls: list[str] = []
    handles = [
        register_optimizer_step_pre_hook(lambda *_: calls.append("global pre")),
        register_optimizer_step_post_hook(lambda *_: calls.append("global post")),
    ]
    optimizer = NFNOptimizer([weight, bias])
    optimizer.register_step_pre_hook(lambda *_: calls.append("pre"))
    optimizer.register_step_post_hook(lambda *_: calls.append("post"))
    optimizer.step(closure(optimizer, loss))
    for handle in handles:
        handle.remove()
    assert calls == ["global pre", "pre", "post", "global post"]
