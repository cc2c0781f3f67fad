"""Where parameters alone are handed on: iterators know their model, and so does a class of it."""

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nfn_optim import NFNOptimizer


class Residual(nn.Module):
    """No chain: shapes alone do not tell what it is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(x + self.second(torch.tanh(self.first(x)))))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(16, 6, generator=generator)).square().mean().backward()
        optimizer.step()


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, msg=name)


def by_decay(model: nn.Module, decay: float = 0.1) -> list[dict[str, Any]]:
    """The groups that most scripts make."""
    params = list(model.parameters())
    return [
        {"params": [p for p in params if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
    ]


ITERATORS: dict[str, Callable[[nn.Module], Any]] = {
    "parameters": lambda m: m.parameters(),
    "named_parameters": lambda m: m.named_parameters(),
    "filter": lambda m: filter(lambda p: p.requires_grad, m.parameters()),
    "two filters": lambda m: filter(torch.is_tensor, filter(torch.is_tensor, m.parameters())),
    "begun": lambda m: begun(m.parameters()),
}


def begun(params: Any) -> Any:
    next(params)
    return params


@pytest.mark.parametrize("iterate", ITERATORS.values(), ids=ITERATORS)
def test_an_iterator_of_a_model_hands_the_model_on(iterate):
    model = Residual()
    optimizer = NFNOptimizer(iterate(model))
    assert optimizer.coverage().share == 1
    known = {name: param for name, param in model.named_parameters()}
    for group in optimizer.param_groups:
        for name, param in zip(group["param_names"], group["params"], strict=True):
            assert known[name] is param


@pytest.mark.parametrize("name", ["parameters", "named_parameters", "filter"])
def test_steps_are_those_of_an_optimizer_of_the_model(name):
    ours, theirs = Residual(), Residual()
    train(ours, NFNOptimizer(ITERATORS[name](ours)))
    train(theirs, NFNOptimizer(theirs))
    assert_same(ours, theirs)


def test_a_model_that_is_given_goes_before_the_one_that_is_found():
    model = nn.ModuleList([Residual()])
    optimizer = NFNOptimizer(model[0].parameters(), model=model)
    assert optimizer.param_groups[0]["param_names"][0] == "0.first.weight"


@pytest.mark.parametrize(
    "params",
    [
        lambda m: list(m.parameters()),
        lambda m: (p for p in m.parameters()),
        lambda m: map(nn.Identity(), m.parameters()),
    ],
)
def test_what_is_no_iterator_of_a_model_is_read_off_the_shapes(params):
    with pytest.warns(UserWarning, match="form no certain chain .* Pass the model"):
        assert NFNOptimizer(params(Residual())).coverage().share == 0


def test_a_used_up_iterator_is_refused_as_by_torch():
    params = Residual().parameters()
    list(params)
    with pytest.raises(ValueError, match="empty parameter list"):
        NFNOptimizer(params)


def test_a_state_without_names_belongs_to_the_same_parameters_with_names():
    ours, theirs = Residual(), Residual()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unnamed = NFNOptimizer(list(ours.parameters()))
    train(ours, unnamed)
    theirs.load_state_dict(ours.state_dict())
    named = NFNOptimizer(theirs.parameters())
    named.load_state_dict(unnamed.state_dict())
    assert named.stats()["steps"] == 3
    assert named.param_groups[0]["param_names"][0] == "first.weight"


def test_a_class_that_reads_a_model_makes_optimizers_of_its_groups():
    ours, theirs = Residual(), Residual()
    made = NFNOptimizer.reading(ours)(by_decay(ours), lr=0.5)
    assert made.coverage().share == 1
    assert [group["weight_decay"] for group in made.param_groups] == [0.1, 0.0]
    train(ours, made)
    train(theirs, NFNOptimizer(by_decay(theirs), lr=0.5, model=theirs))
    assert_same(ours, theirs)


def test_a_class_that_reads_a_model_is_a_class_of_optimizers():
    model = Residual()
    reading = NFNOptimizer.reading(model)
    assert issubclass(reading, torch.optim.Optimizer)
    assert reading.__name__ == "NFNOptimizer"
    made = reading(by_decay(model))
    assert type(made) is NFNOptimizer
    assert type(pickle.loads(pickle.dumps(made))) is type(copy.deepcopy(made)) is NFNOptimizer


def test_a_wrapped_model_may_be_read_by_its_own_parameters():
    model = Residual()
    wrapped = torch.compile(model, backend="eager")
    for optimizer in (
        NFNOptimizer(wrapped.parameters()),
        NFNOptimizer.reading(wrapped)(by_decay(model)),
    ):
        assert optimizer.coverage().share == 1
