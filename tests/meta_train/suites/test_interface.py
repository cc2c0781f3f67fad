"""A network that does not fit a suite is refused before anything long."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from meta_train.suites._interface import Interface
from nfn_optim import WeightSpaceFeatures
from nfn_optim.layers import NPLinear
from nfn_optim.networks import HeadConfig, StatNN
from nfn_optim.testing import chain_spec

SPEC = chain_spec((2, 3, 1))
CPU = torch.device("cpu")


class Apply(nn.Module):
    """Any function of features."""

    def __init__(self, fn: Callable[[WeightSpaceFeatures], object]) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, features: WeightSpaceFeatures) -> object:
        return self.fn(features)


def first(features: WeightSpaceFeatures) -> Tensor:
    return next(iter(features.values()))


def test_fitting_networks_pass_and_stay_in_training_mode() -> None:
    vector, features = Interface(SPEC, 10), Interface(SPEC, channels=2, out_channels=3)
    network = StatNN(SPEC, HeadConfig(out_features=10))
    assert [tuple(t.shape) for t in vector.check(network, CPU)] == [(2, 10)]
    assert network.training
    assert len(features.check(NPLinear(SPEC, 2, 3), CPU)) == len(SPEC.names)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (StatNN(SPEC, HeadConfig(out_features=3)), r"\(2, 3\).*needs.*\(2, 10\).*out_features=10"),
        (NPLinear(SPEC, 1, 1), r"features of the same network.*needs a tensor"),
        (NPLinear(SPEC, 2, 1), "failed on features of two networks.*2 channels"),
        (Apply(lambda features: None), "gives a NoneType"),
        (Apply(lambda features: torch.full((2, 10), float("nan"))), "not finite"),
    ],
    ids=["length", "features", "channels", "nothing", "nan"],
)
def test_a_network_that_gives_no_vector_is_refused(network: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        Interface(SPEC, 10).check(network, CPU)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (NPLinear(SPEC, 1, 2), "2 channels.*needs.*1 channels.*out_channels=1"),
        (StatNN(SPEC), r"a tensor of the shape \(2, 1\).*needs features"),
        (Apply(lambda f: f.map(lambda t: t[:1])), r"in a batch of the shape \(1,\)"),
    ],
    ids=["channels", "vector", "batch"],
)
def test_a_network_that_gives_no_changes_is_refused(network: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        Interface(SPEC).check(network, CPU)


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(ValueError, match="returned function"):
        Interface(SPEC, 10).check(first, CPU)  # type: ignore[arg-type]


def test_networks_are_tried_on_the_device_that_they_are_trained_on() -> None:
    class Witness(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, features: WeightSpaceFeatures) -> Tensor:
            seen = {self.weight.device.type, *(t.device.type for t in features.values())}
            assert seen == {"meta"}
            return torch.zeros(2, 3)

    Interface(SPEC, 3).check(Witness(), torch.device("meta"))
