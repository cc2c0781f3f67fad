"""What every test may ask for, and which tests run where."""

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.utils import _pytree

from hub_endpoint import Endpoint
from meta_train import unroll
from meta_train.inner import Losses
from meta_train.tasks import ModuleTask, stack
from nfn_optim import NetworkSpec, NFNOptimizer, NFNRule
from nfn_optim.native import (
    Library,
    NoCompiler,
    TurnedOff,
    chain,
    convolution,
    packed,
    population,
    step,
    taped,
)
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
    """All that constructing an optimizer may not change: numbers, and which objects there are."""
    values = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors = [*model.parameters(), *model.buffers()]
    modules = [(id(type(module)), identities(vars(module))) for module in model.modules()]
    draws = random.getstate(), np.random.get_state()[1].tolist()
    others = list(map(traits, tensors)), modules, draws, settings()
    return {**values, "random numbers": torch.get_rng_state()}, others


def traits(tensor: torch.Tensor) -> tuple[Any, ...]:
    """What a tensor is beside its numbers."""
    grad, hooks = id(tensor.grad) if tensor.is_leaf else 0, identities(tensor._backward_hooks)
    memory = tensor.data_ptr(), list(tensor.stride()), tensor._version
    return id(tensor), grad, hooks, *memory, tensor.requires_grad, identities(vars(tensor))


def settings() -> tuple[Any, ...]:
    """What is set for all code."""
    hooks = {k: v for k, v in vars(nn.modules.module).items() if k.startswith("_global_")}
    types = str(torch.get_default_dtype()), str(torch.get_default_device())
    return *types, torch.is_grad_enabled(), identities(hooks)


@contextmanager
def assert_untouched(model: nn.Module) -> Iterator[None]:
    """Checks that what is done with a model leaves it as it was, and calls none of its hooks."""
    calls: list[nn.Module] = []
    handles = [
        register(lambda module, *_: calls.append(module))
        for module in model.modules()
        for register in (
            *(module.register_forward_pre_hook, module.register_forward_hook),
            *(module.register_full_backward_pre_hook, module.register_full_backward_hook),
            *(module.register_state_dict_pre_hook, module.register_state_dict_post_hook),
        )
        if not isinstance(module, torch.jit.ScriptModule)
    ]
    numbers, others = state_of(model)
    calls.clear()  # those of the state dict
    yield
    assert not calls
    numbers_after, others_after = state_of(model)
    torch.testing.assert_close(numbers_after, numbers, rtol=0, atol=0, equal_nan=True)
    assert others_after == others
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


@pytest.fixture
def assert_unroll_follows_the_optimizer() -> Callable[..., Losses]:
    """The oracle of an unroll: it trains every network as `NFNOptimizer` does."""

    def check(build: Callable[[], nn.Module], *inputs: torch.Tensor) -> Losses:
        inputs = tuple(x.double() if x.is_floating_point() else x for x in inputs)
        task, rule = SmallOutputs(lambda: build().double().train(), inputs), perturbed_rule()
        params = stack([task.init(torch.Generator().manual_seed(seed)) for seed in (0, 1)])
        batch = stack([inputs, inputs])
        losses = Losses(task.loss, task.carried).tried(params, batch)
        if losses.is_random:  # no two loops draw alike
            task.module.eval()
        state = rule.init({n: params[n] for n in task.spec.names}, task.spec)
        out = unroll(rule, losses, params, [batch] * 3, state)
        out.losses[1:].mean().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in rule.parameters())
        for i in range(2):
            twin = build().double().train(task.module.training)
            with torch.no_grad():
                for name in params:
                    state_tensors(twin)[name].copy_(params[name][i])
            optimizer = NFNOptimizer(twin, checkpoint=rule)
            atol = 1e-5
            for k in range(3):
                optimizer.zero_grad()
                loss = small_outputs(twin(*inputs))
                loss.backward()
                if has_gradients_of_rounding(twin):  # those of one step tell in all later ones
                    atol = 1e-2
                close(out.losses[k, i], loss, atol)
                optimizer.step()
            for name in params:
                close(out.params[name][i], state_tensors(twin)[name], atol)
        return losses

    def close(ours: torch.Tensor, expected: torch.Tensor, atol: float) -> None:
        torch.testing.assert_close(ours.detach(), expected.detach(), rtol=1e-3, atol=atol)

    return check


def has_gradients_of_rounding(model: nn.Module) -> bool:
    """As of a bias in front of a batch norm. The rule reads them, and no two ways round alike."""
    norms = [float(p.grad.norm()) for p in model.parameters() if p.grad is not None]
    return any(0 < norm < 1e-12 * max(norms) for norm in norms)


class SmallOutputs(ModuleTask):
    """A module whose outputs are to become small."""

    def __init__(self, build: Callable[[], nn.Module], inputs: tuple[torch.Tensor, ...]) -> None:
        super().__init__(build, lambda outputs, _: outputs, inputs[:1] * 2)
        self.inputs = inputs

    def init(self, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {
            n: p + 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
            if n in self.spec.axes
            else p
            for n, p in super().init(generator).items()
        }

    def loss(self, params: dict[str, torch.Tensor], batch: Any) -> torch.Tensor:
        return small_outputs(functional_call(self.module, params, tuple(batch)))


def small_outputs(outputs: Any) -> torch.Tensor:
    """A loss of whatever a module returns."""
    return sum(
        x.square().mean() for x in _pytree.tree_leaves(outputs) if isinstance(x, torch.Tensor)
    )


def state_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def perturbed_rule() -> NFNRule:
    """A rule whose learned part does something."""
    torch.manual_seed(1)
    rule = NFNRule().double()
    for weight in rule.write.parameters():
        nn.init.normal_(weight, std=0.2)
    return rule


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
def native_taped(need: Callable[[Library], None]) -> None:
    """For tests of the native step of many networks."""
    need(taped.LIBRARY)


@pytest.fixture(scope="session")
def native_convolution(need: Callable[[Library], None]) -> None:
    """For tests of native convolutions."""
    need(convolution.LIBRARY)


@pytest.fixture(scope="session")
def native_chain(need: Callable[[Library], None]) -> None:
    """For tests of native losses."""
    need(chain.LIBRARY)


@pytest.fixture(scope="session")
def native_packed(need: Callable[[Library], None]) -> None:
    """For tests of native passes over packed networks."""
    need(packed.LIBRARY)


@pytest.fixture(scope="session")
def native_population(need: Callable[[Library], None]) -> None:
    """For tests of native populations."""
    need(population.LIBRARY)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """A Hub on this machine, which nobody is logged in at, and an empty cache beside it."""
    package = pytest.importorskip("huggingface_hub")
    constants = pytest.importorskip("huggingface_hub.constants")
    endpoint = Endpoint()
    thread = threading.Thread(target=endpoint.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint.url)
    template = f"{endpoint.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    package.close_session()  # one that knows another environment
    yield endpoint
    package.close_session()
    endpoint.shutdown()
    endpoint.server_close()
    thread.join()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked gpu are skipped where there is no GPU."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
