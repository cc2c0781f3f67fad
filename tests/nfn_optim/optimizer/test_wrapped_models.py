"""States of a model serve it in any wrapper: names of parameters change, parameters do not."""

import pytest
import torch
from torch import nn

from nfn_optim import NFNOptimizer


class Wrapper(nn.Module):
    """Keeps a module under the name that a package gives it."""

    def __init__(self, name: str, module: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, module)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner: torch.Tensor = getattr(self, self.name)(x)
        return inner


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


WRAPS = {
    "torch.compile": lambda m: torch.compile(m, backend="eager"),
    "DataParallel": nn.DataParallel,
    "both": lambda m: nn.DataParallel(torch.compile(m, backend="eager")),
    "Fabric": lambda m: Wrapper("_forward_module", m),
    "a part": lambda m: nn.Sequential(Wrapper("_fsdp_wrapped_module", m[0]), *m[1:]),
}


def train(model: nn.Module, optimizer: NFNOptimizer, seeds: range) -> None:
    for seed in seeds:
        optimizer.zero_grad()
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(seed))
        model(x).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("is_saved_inside", [True, False])
@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_a_state_is_resumed_inside_a_wrapper_and_outside(wrap, is_saved_inside):
    through, first = network(), network()
    first = wrap(first) if is_saved_inside else first
    train(through, NFNOptimizer(through), range(5))
    optimizer = NFNOptimizer(first)
    train(first, optimizer, range(3))
    plain = network()
    for param, trained in zip(plain.parameters(), first.parameters(), strict=True):
        param.data.copy_(trained.data)
    second = plain if is_saved_inside else wrap(plain)
    resumed = NFNOptimizer(second)
    names = resumed.param_groups[0]["param_names"]
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.param_groups[0]["param_names"] == names
    train(second, resumed, range(3, 5))
    for param, expected in zip(second.parameters(), through.parameters(), strict=True):
        torch.testing.assert_close(param, expected)


def test_other_parameters_are_refused_all_the_same():
    wrapped = Wrapper("module", network())
    state = NFNOptimizer(wrapped).state_dict()
    state["param_groups"][0]["param_names"][2] = "module.1.weight"
    with pytest.raises(ValueError, match=r"module\.1\.weight"):
        NFNOptimizer(network()).load_state_dict(state)
