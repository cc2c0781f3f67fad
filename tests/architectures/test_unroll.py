"""Meta-training takes the same steps as NFNOptimizer, on whatever this one trains."""

import importlib.util
import inspect
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

TRACER = Path(__file__).parents[1] / "nfn_optim" / "symmetry"
ORACLE = "assert_renumbering_keeps_the_function"


class Asked(Exception):
    """What a test of the tracer gives its oracle."""


def ask(model: nn.Module, *inputs: torch.Tensor) -> None:
    raise Asked(model, *inputs)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments(test: Callable[..., None]) -> Iterator[dict[str, object]]:
    """What a test is called with, its fixtures aside."""
    marks = [m for m in getattr(test, "pytestmark", ()) if m.name == "parametrize"]
    for values in product(*(m.args[1] for m in marks)):
        found = {}
        for mark, value in zip(marks, values, strict=True):
            names = mark.args[0] if isinstance(mark.args[0], tuple) else (mark.args[0],)
            found |= dict(zip(names, value if len(names) > 1 else (value,), strict=True))
        yield found


def networks() -> Iterator[tuple[str, Callable[[], None]]]:
    """Every test of the tracer that puts a network before the oracle."""
    for path in sorted(TRACER.glob("test_trace_*.py")):
        for name, test in inspect.getmembers(load(path), inspect.isfunction):
            asked = set(inspect.signature(test).parameters)
            for given in arguments(test) if name.startswith("test_") else ():
                if asked == {ORACLE, *given}:
                    values = "-".join(map(str, given.values()))
                    label = f"{name[5:]}[{values}]"
                    yield label, lambda t=test, g=given: t(**g, **{ORACLE: ask})


NETWORKS = dict(networks())


def is_differentiable(model: nn.Module, inputs: list[torch.Tensor]) -> bool:
    try:
        sum(y.sum() for y in tree_leaves(model(*inputs)) if isinstance(y, torch.Tensor)).backward()
    except RuntimeError:
        return False
    return True


@pytest.mark.filterwarnings("ignore")  # the tracer's tests say which they expect
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_the_tracer(name, assert_unroll_follows_the_optimizer):
    def given() -> tuple[nn.Module, ...]:
        torch.manual_seed(0)
        with pytest.raises(Asked) as asked:
            NETWORKS[name]()
        return asked.value.args

    model, *inputs = given()
    if not is_differentiable(model, inputs):
        pytest.skip("it writes over what its gradient needs")
    assert_unroll_follows_the_optimizer(lambda: given()[0], *inputs)


def test_architectures(architecture, assert_unroll_follows_the_optimizer):
    losses = assert_unroll_follows_the_optimizer(architecture.make, torch.randn(8, 3, 32, 32))
    assert not losses.obstacle


def test_language_models(language_model, assert_unroll_follows_the_optimizer):
    texts = torch.randint(11, (3, 7))
    losses = assert_unroll_follows_the_optimizer(type(language_model), texts)
    assert not losses.obstacle
