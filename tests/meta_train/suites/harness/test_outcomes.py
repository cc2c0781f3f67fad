"""The hash of a network changes with all that its training depends on, and with nothing else."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from meta_train import run_suite
from meta_train.suites.harness._interface import Interface
from meta_train.suites.harness._outcomes import network_digest
from nfn_optim import NetworkSpec
from nfn_optim.networks import HeadConfig, StatNN
from nfn_optim.testing import chain_spec

from ..conftest import METHODS

Make = Callable[[], nn.Module]
PROBE = [torch.ones(2, 3)]


def digest(make: Make) -> str:
    torch.manual_seed(0)
    return network_digest(make(), PROBE)


class Dropping(nn.Module):
    """Dropout that its description does not show."""

    def __init__(self, setting: object) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.setting = setting

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.linear(x), 0.1, self.training)


class Slow(nn.Linear):
    rate = 0.1


class Quick(nn.Linear):
    rate = 0.2


class Stateful(nn.Linear):
    def __init__(self, state: object) -> None:
        super().__init__(3, 3)
        self._state = [state]

    def get_extra_state(self) -> object:
        return self._state[0]


def outer_variable(rate: float) -> nn.Module:
    class Dropout(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(super().forward(x), rate, self.training)

    return Dropout(3, 3)


def frozen(trained: bool) -> nn.Module:
    return nn.Linear(3, 3).requires_grad_(trained)


def tied(tie: bool) -> nn.Module:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network.load_state_dict({name: torch.ones_like(t) for name, t in network.state_dict().items()})
    if tie:
        network[1].weight = network[0].weight
    return network


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (partial(Dropping, 0.1), partial(Dropping, 0.2)),
        (partial(Dropping, "sum"), partial(Dropping, "mean")),
        (partial(Dropping, None), partial(Dropping, False)),
        (partial(Dropping, {"p": [1, (2, 3)]}), partial(Dropping, {"p": [1, (2, 4)]})),
        (partial(Dropping, {3}), partial(Dropping, {4})),
        (partial(Dropping, torch.ones(2)), partial(Dropping, torch.zeros(2))),
        (partial(Dropping, F.relu), partial(Dropping, F.gelu)),
        (partial(Dropping, partial(F.dropout, p=0.1)), partial(Dropping, partial(F.dropout, p=0))),
        (partial(Dropping, lambda x: x + 1), partial(Dropping, lambda x: x + 2)),
        (lambda: nn.Sequential(Slow(3, 3)), lambda: nn.Sequential(Quick(3, 3))),
        (partial(frozen, True), partial(frozen, False)),
        (partial(tied, True), partial(tied, False)),
        (partial(outer_variable, 0.1), partial(outer_variable, 0.2)),
        (partial(Dropping, [nn.Dropout(0.1)]), partial(Dropping, [nn.Dropout(0.2)])),
        (partial(Stateful, {"step": 1}), partial(Stateful, {"step": 2})),
        (lambda: nn.Linear(3, 3).bfloat16(), lambda: nn.Linear(3, 3).half()),
    ],
)
def test_networks_that_train_differently_have_different_hashes(one: Make, other: Make) -> None:
    assert digest(one) == digest(one)
    assert digest(other) == digest(other)
    assert digest(one) != digest(other)


def test_code_counts_in_submodules_and_in_functions_that_it_calls(tmp_path: Path) -> None:
    code = """
from torch import nn
from torch.nn import functional as F

P = 0.1

def drop(x, training):
    return F.dropout(x, P, training)

class Base(nn.Linear):
    def forward(self, x):
        return drop(super().forward(x), self.training) * 1

class Inner(Base):
    pass

def network():
    return nn.Sequential(nn.Sequential(Inner(3, 3)))
"""
    hashes = set()
    versions = (code, code.replace("P = 0.1", "P = 0.2"), code.replace("* 1", "* 2"))
    for index, version in enumerate((*versions, code.replace("(x, P", "(x, P / 3"))):
        (tmp_path / str(index)).mkdir()
        (tmp_path / str(index) / "mine.py").write_text(version)
        hashes.add(digest_elsewhere(tmp_path / str(index), "mine.network"))
    assert len(hashes) == 4


def digest_elsewhere(folder: Path, make: str, hash_seed: int = 0) -> str:
    """The hash that another process computes, of what a function of a module there makes."""
    module = make.split(".")[0]
    script = (
        f"import torch, {module}; from meta_train.suites.harness._outcomes import network_digest\n"
        f"torch.manual_seed(0); print(network_digest({make}(), [torch.ones(2, 3)]))"
    )
    paths = os.pathsep.join([str(folder), str(Path(__file__).parents[4])])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_processes_agree_on_hashes(tmp_path: Path) -> None:
    (tmp_path / "ours.py").write_text("""
import torch
from torch import nn
from meta_train.suites import SUITES
from meta_train.suites.harness import Interface
from nfn_optim.testing import chain_spec

class Odd(nn.Linear):
    def __init__(self):
        super().__init__(3, 3)
        self.function, self.thing, self.names = lambda x: x, object(), {"a", "b", "c"}
        with torch.random.fork_rng(devices=[]):
            torch.seed()
            self.never_trained = (nn.Linear(2, 2),)

    def extra_repr(self):
        return f"{self.thing} {self.function}"

def network():
    methods = SUITES["inr-classification"].sizes["tiny"].methods.values()
    interface = Interface(chain_spec((2, 3, 1)), 10)
    return nn.Sequential(Odd(), *[method.build(interface) for method in methods])
""")
    assert len({digest_elsewhere(tmp_path, "ours.network", seed) for seed in (1, 2)}) == 1


@pytest.mark.parametrize("name", METHODS)
def test_the_librarys_own_methods_keep_their_hash(name: str) -> None:
    interface = Interface(chain_spec((2, 3, 1)), 10)

    def make() -> nn.Module:
        return METHODS[name].build(interface)

    before = digest(make)
    output = make()(interface._networks(2, torch.device("cpu")))
    assert output.shape == (2, 10)
    assert digest(make) == before


@pytest.mark.usefixtures("small_suites")
def test_another_rate_of_dropout_is_trained_again() -> None:
    def build(rate: float, spec: NetworkSpec) -> nn.Module:
        head = nn.Sequential(StatNN(spec, HeadConfig((8,), out_features=3)), Dropping(rate))
        return nn.Sequential(head, nn.Linear(3, 10))

    few, many = (
        run_suite("inr-classification", build=partial(build, rate), size="tiny").methods["yours"]
        for rate in (0.1, 0.9)
    )
    assert few.seconds != many.seconds
