"""A network that does not fit a suite is refused before anything long."""

import copy
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from meta_train.suites.harness._interface import Interface
from meta_train.suites.harness._outcomes import network_digest
from nfn_optim import WeightSpaceFeatures
from nfn_optim.layers import NPLinear
from nfn_optim.networks import HeadConfig, StatNN
from nfn_optim.testing import chain_spec, random_features

SPEC = chain_spec((2, 3, 1))
OTHER = chain_spec((2, 4, 1))
CPU = torch.device("cpu")


class Apply(nn.Module):
    """Any function of features."""

    def __init__(self, fn: Callable[[WeightSpaceFeatures], object]) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, features: WeightSpaceFeatures) -> object:
        return self.fn(features)


def other() -> WeightSpaceFeatures:
    """Features of another network."""
    return random_features(
        OTHER, 1, torch.Generator().manual_seed(0), batch=(2,), dtype=torch.float64
    )


class Linear(nn.Module):
    """A linear map of all weights, and what becomes of its result."""

    def __init__(self, fn: Callable[[Tensor], object], training: bool = True) -> None:
        super().__init__()
        self.linear, self.fn, self.only_training = nn.Linear(13, 10), fn, training

    def forward(self, features: WeightSpaceFeatures) -> object:
        x = torch.cat([tensor.flatten(1) for tensor in features.values()], dim=1)
        x = self.linear(x.to(self.linear.weight)).float()
        return self.fn(x) if self.training or not self.only_training else x


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
        (Apply(lambda f: other()), "gives features of another network.*the same network"),
    ],
    ids=["channels", "vector", "batch", "network"],
)
def test_a_network_that_gives_no_changes_is_refused(network: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        Interface(SPEC).check(network, CPU)


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(ValueError, match="returned function"):
        Interface(SPEC, 10).check(first, CPU)  # type: ignore[arg-type]


def dropout(x: Tensor) -> Tensor:
    return nn.functional.dropout(x, 0.5)


def fail(x: Tensor) -> Tensor:
    raise RuntimeError("no such operation")


class Undifferentiable(torch.autograd.Function):
    """Has a gradient that fails."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        raise NotImplementedError("no gradient")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Linear(Tensor.argsort, training=False), "Linear gives numbers of the type torch.int64"),
        (Linear(Tensor.detach), "no gradient reaches the parameters of Linear.*detach"),
        (Linear(torch.zeros_like), "no gradient reaches"),
        (Linear(lambda x: x).requires_grad_(False), "Linear has no trainable parameters"),
        (Apply(lambda f: torch.zeros(2, 10)), "Apply has no trainable parameters"),
        (Linear(fail), "Linear in training failed.*RuntimeError: no such operation"),
        (Linear(lambda x: (x, x)), "Linear in training gives a tuple.*needs a tensor"),
        (Linear(Undifferentiable.apply), "gradient of Linear failed.*no gradient"),
        (StatNN(SPEC, HeadConfig(out_features=10)).bfloat16(), "StatNN failed.*RuntimeError"),
    ],
    ids=[
        *("integers", "detached", "constant", "frozen", "empty"),
        *("training", "tuple", "gradient", "bfloat16"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused(network: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        Interface(SPEC, 10).check(network, CPU)


def test_a_trial_leaves_the_network_and_torchs_generator_as_they_were() -> None:
    network = nn.Sequential(Linear(dropout), nn.BatchNorm1d(10))
    state, random_state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    Interface(SPEC, 10).check(network, CPU)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.training


def test_networks_in_bfloat16_and_those_that_cannot_be_copied_pass() -> None:
    half = Linear(lambda x: x).bfloat16()
    uncopied = Linear(lambda x: x)
    uncopied.lock = threading.Lock()  # type: ignore[assignment]
    for network in (half, uncopied):
        written = Interface(SPEC, 10).check(network, CPU)
        assert network_digest(network, written)


def test_networks_are_tried_on_the_device_that_they_are_trained_on() -> None:
    class Witness(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, features: WeightSpaceFeatures) -> Tensor:
            seen = {self.weight.device.type, *(t.device.type for t in features.values())}
            assert seen == {"meta"}
            return torch.zeros(2, 3)

    Interface(SPEC, 3).probe(Witness(), torch.device("meta"))
