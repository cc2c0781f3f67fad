"""Code that branches on data, on sizes and on types is followed every way."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nfn_optim import NetworkSpec
from nfn_optim.symmetry.tracer import _branches, trace


class Net(nn.Module):
    """Two layers that may be used instead of each other, and a readout."""

    def __init__(self, code):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 4), nn.Linear(5, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)
        self.code = code

    def forward(self, x):
        return self.code(self, x)


def choose(m, x):
    return m.head(m.a(x).relu() if x.sum() > 0 else m.b(x).tanh())


def sort_on_one_way(m, x):
    return m.head(m.a(x).relu() if x.sum() > 0 else m.b(x).sort(-1).values)


def ask_one_neuron(m, x):
    hidden = m.a(x)
    return m.head(hidden * 2 if hidden[0, 0] > 0 else hidden)


def ask_all_neurons(m, x):
    hidden = m.a(x)
    return m.head(hidden * 2 if hidden.max() > 0 else hidden)


def flip_if_large(m, x):
    hidden = m.a(x)
    if hidden.sum() > 0:
        hidden = hidden.flip(-1)
    return m.head(hidden)


def check_sizes(m, x):
    if x.shape[-1] != 5:
        raise ValueError("expected 5 features")
    if x.dim() == 1:
        x = x.unsqueeze(0)
    return m.head(m.a(x))


def ask_twice(m, x):
    hidden = m.a(x) if x.shape[0] > 2 else m.b(x)
    for _ in range(8):
        hidden = m.c(hidden) if x.shape[0] > 2 else hidden
    return m.head(hidden)


def several_results(m, x):
    first, rest = (m.a(x), [m.b(x)]) if x.mean() > 0 else (m.b(x), [m.a(x)])
    return m.head(first) + m.head(rest[0])


def one_example_is_another_case(m, x):
    hidden = m.a(x).flip(-1) if x.shape[0] == 1 else m.a(x)
    return m.head(hidden)


def cast_where_needed(m, x):
    hidden = m.a(x)
    if hidden.dtype in (torch.float16, torch.bfloat16):
        hidden = hidden.flip(-1).float()
    return m.head(hidden.to(m.head.weight.dtype))


# Forward code, and the populations that may be renumbered.
CODE = {
    "either layer": (choose, {"b"}),
    "sorted on one way": (sort_on_one_way, set()),
    "asks one neuron": (ask_one_neuron, set()),
    "asks all neurons": (ask_all_neurons, {"a"}),
    "flips if large": (flip_if_large, set()),
    "checks sizes": (check_sizes, {"a"}),
    "asks twice": (ask_twice, {"b"}),
    "several results": (several_results, {"b"}),
    "more than one example": (one_example_is_another_case, {"a"}),
    "asks for types": (cast_where_needed, {"a"}),
}


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", CODE)
def test_what_holds_on_every_way_is_found(name, sign, assert_renumbering_keeps_the_function):
    code, free = CODE[name]
    inputs = sign * torch.rand(3, 5)
    spec = assert_renumbering_keeps_the_function(Net(code), inputs)
    assert set(spec.populations) == free


def loop_on_data(m, x):
    hidden = m.a(x)
    while hidden.norm() > 10:
        hidden = m.c(hidden) / 2
    return m.head(hidden)


def count_on_data(m, x):
    hidden = m.a(x)
    for _ in range(int(x.sum())):
        hidden = m.c(hidden)
    return m.head(hidden)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (loop_on_data, "branches on data more than 4 times"),
        (count_on_data, "int() argument must be a string"),
    ],
)
def test_loops_on_data_are_not_followed(code, why, assert_renumbering_keeps_the_function):
    model = Net(code)
    [failure] = trace(model).failures.values()
    assert why in failure
    spec = assert_renumbering_keeps_the_function(model, torch.rand(3, 5))
    assert set(spec.names) == {name for name, _ in model.named_parameters()}
    assert not spec.populations


class Nested(nn.Module):
    """A branch in a module in a branch in a module, and so on."""

    def __init__(self, depth):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.inner = Nested(depth - 1) if depth else nn.Identity()

    def forward(self, x):
        return self.inner(self.fc(x)) if x.sum() > 0 else self.inner(x)


def test_ways_through_nested_branches_are_bounded(monkeypatch):
    monkeypatch.setattr(_branches, "_MOST_WAYS", 100)
    model = Nested(12)
    found = trace(model)
    assert "there are too many ways through its branches" in found.failures.values()
    assert set(found.description.axes) == {name for name, _ in model.named_parameters()}


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(x)[: int(x.sum() * 0) + len(x)]


class Outer(nn.Module):
    """A module that cannot be followed, two modules deep in one that can."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Sequential(Inner()), nn.Linear(4, 4))
        self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.down(self.up(self.block(x)).relu())


def test_a_module_that_cannot_be_followed_leaves_its_callers_readable(
    assert_renumbering_keeps_the_function,
):
    model = Outer()
    assert list(trace(model).failures) == ["block.0.0"]
    spec = assert_renumbering_keeps_the_function(model, torch.rand(3, 4))
    assert spec.populations == ("block.1", "up")


def test_a_tensor_of_zeros_is_what_is_added_to_it(assert_renumbering_keeps_the_function):
    def summed(m, x):
        total = torch.zeros(x.size(0), 4, dtype=x.dtype)
        for layer in (m.a, m.b):
            total += layer(x)
        return m.head(total)

    spec = assert_renumbering_keeps_the_function(Net(summed), torch.rand(3, 5))
    assert spec.populations == ("a",)
    assert spec.axes["b.weight"][0] == "a"


WRITTEN = {
    "added in place": lambda m, total, y: total.add_(y),
    "added to a view": lambda m, total, y: total.view(-1, 4).add_(y),
    "copied": lambda m, total, y: total.copy_(y),
    "one neuron set": lambda m, total, y: total.select(1, 0).fill_(1.0),
    "some neurons set": lambda m, total, y: total[:, 1:3].fill_(3.0),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_tensor_that_is_written_to_is_not_taken_for_equal_entries(
    name, assert_renumbering_keeps_the_function
):
    def written(m, x):
        total, hidden = torch.zeros(x.size(0), 4, dtype=x.dtype), m.a(x)
        WRITTEN[name](m, total, hidden)
        return m.head(total * hidden + total)

    spec = assert_renumbering_keeps_the_function(Net(written), torch.rand(3, 5))
    assert not spec.populations


class Fed(nn.Module):
    """Arguments by keyword, arguments that have defaults, and further ones."""

    def __init__(self):
        super().__init__()
        self.table, self.up = nn.Embedding(9, 4), nn.Linear(4, 6)
        self.down, self.norm = nn.Linear(6, 4), nn.LayerNorm(4)

    def forward(self, input_ids=None, mask=None, *, scale: float = 1.0, **options):
        x = self.table(input_ids)
        front, last = x.shape[:-1], (4,)
        if mask is not None:
            x = x * mask[..., None]
        y = self.down(F.gelu(self.up(x.view(-1, x.size(-1))))).view(front + last)
        heads = y.view(*front, 2, -1).transpose(1, 2)
        y = heads.transpose(1, 2).reshape(*front, -1).to(x.device)
        return {"logits": self.norm(x + scale * y) @ self.table.weight.T, **options}


def test_arguments_that_all_have_defaults_are_fed_the_first(assert_renumbering_keeps_the_function):
    spec = assert_renumbering_keeps_the_function(Fed(), torch.arange(6).view(2, 3))
    assert set(spec.populations) == {"table", "up"}


def test_layers_that_forward_makes_are_followed():
    class Inline(nn.Sequential):
        def forward(self, x):
            return self[1](nn.ReLU()(self[0](x)))

    spec = NetworkSpec.from_module(Inline(nn.Linear(3, 4), nn.Linear(4, 2)))
    assert spec.axes["1.weight"] == ("out", "0")
