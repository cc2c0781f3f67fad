"""What every test may ask for, and which tests run where."""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nfn_optim import NetworkSpec
from nfn_optim.native import Library, NoCompiler, TurnedOff, population, step
from nfn_optim.symmetry._permute import permute_params, random_permutations

# Small tensors are slower on several threads, and stall where other processes use the cores.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start


def identities(x: Any) -> Any:
    """Which objects a module's attributes are, also inside containers."""
    if isinstance(x, dict):
        return {key: identities(value) for key, value in x.items()}
    return list(map(identities, x)) if isinstance(x, (list, tuple, set)) else id(x)


def state_of(model: nn.Module) -> tuple[Any, ...]:
    """All that constructing an optimizer may not change."""
    values = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    draws = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    return values, [identities(vars(module)) for module in model.modules()], draws


@contextmanager
def assert_untouched(model: nn.Module) -> Iterator[None]:
    """Checks that what is done with a model leaves it as it was, and calls none of its hooks."""
    calls: list[nn.Module] = []
    handles = [
        register(lambda module, *_: calls.append(module))
        for module in model.modules()
        for register in (module.register_forward_pre_hook, module.register_forward_hook)
    ]
    before = state_of(model)
    yield
    torch.testing.assert_close(state_of(model), before, rtol=0, atol=0)
    assert not calls
    for handle in handles:
        handle.remove()


@pytest.fixture
def untouched() -> Callable[[nn.Module], Any]:
    """A context in which a model may be read, and no more."""
    return assert_untouched


@pytest.fixture
def generator() -> torch.Generator:
    """Randomness that is the same in every run."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def assert_renumbering_keeps_the_function(
    generator: torch.Generator,
) -> Callable[..., NetworkSpec]:
    """The oracle of a trace: it must not claim a symmetry that the network does not have."""

    def check(model: nn.Module, *inputs: torch.Tensor) -> NetworkSpec:
        model = model.double().eval()
        inputs = tuple(x.double() if x.is_floating_point() else x for x in inputs)
        for param in model.parameters():
            noise = torch.randn(param.shape, generator=generator, dtype=param.dtype)
            param.data.add_(0.3 * noise)  # gains and biases that differ from neuron to neuron
        with assert_untouched(model):
            spec = NetworkSpec.from_module(model).hnp()
        params, expected = dict(model.named_parameters()), model(*inputs)
        for _ in range(2):
            permutations = random_permutations(spec, generator)
            for name, permuted in permute_params(spec, params, permutations).items():
                params[name].data = permuted  # tied weights change together
            torch.testing.assert_close(model(*inputs), expected)
        return spec

    return check


@pytest.fixture(scope="session")
def need() -> Callable[[Library], None]:
    """Skips a test where there is no native code; code that does not compile fails it."""

    def load(library: Library) -> None:
        try:
            library.load()
        except (NoCompiler, TurnedOff) as error:
            pytest.skip(str(error))

    return load


@pytest.fixture(scope="session")
def native_step(need: Callable[[Library], None]) -> None:
    """For tests of the native step."""
    need(step.LIBRARY)


@pytest.fixture(scope="session")
def native_population(need: Callable[[Library], None]) -> None:
    """For tests of native populations."""
    need(population.LIBRARY)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked gpu are skipped where there is no GPU."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
