"""Reading a model changes nothing: attributes, tensors and random numbers; hooks are not called."""

import random
import threading
from collections import deque
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from nfn_optim import NetworkSpec, NFNOptimizer
from nfn_optim.symmetry.tracer import trace
from nfn_optim.symmetry.tracer._twin import Twins


class Memory:
    """A place for state that is no module."""

    def __init__(self):
        self.last = None


class Cache:
    """State with state in it."""

    def __init__(self):
        self.seen, self.total, self.inner = [], torch.zeros(4), Memory()

    def add(self, hidden):
        self.seen.append(hidden)
        self.total.add_(1)
        self.inner.last = hidden


class Closing:
    """What closes a resource with the last of its copies, and with any other."""

    def __init__(self, closed):
        self.closed = closed

    def __del__(self):
        self.closed.append(1)


class Keeping(nn.Module):
    """Two layers, and code that may store the hidden neurons, write to tensors or draw numbers."""

    def __init__(self, code, **attributes):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)
        self.code = code
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        hidden = self.first(x)
        self.code(self, hidden)
        return self.last(hidden)


def store(module, name, value):
    setattr(module, name, value)


def draw(module, hidden):
    hidden + torch.randn(4) + random.random() + float(np.random.rand())


def non_leaf():
    return torch.ones(2, 4, requires_grad=True) * 2


STORING = {
    "attribute": (lambda m, h: store(m, "h", h), {"h": None}),
    "attribute after a run": (lambda m, h: store(m, "h", h + m.h.detach()), {"h": non_leaf()}),
    "list": (lambda m, h: m.seen.append(h), {"seen": []}),
    "deque": (lambda m, h: m.seen.append(h), {"seen": deque(maxlen=3)}),
    "nested": (lambda m, h: m.seen["runs"][0].append(h), {"seen": {"runs": ([],)}}),
    "set": (lambda m, h: m.seen.add(h), {"seen": set()}),
    "object": (lambda m, h: store(m.memory, "last", h), {"memory": Memory()}),
    "counter": (lambda m, h: store(m, "count", m.count + 1), {"count": 1_000}),
    "new attribute": (lambda m, h: store(m, "fresh", h), {}),
    "beside a lock": (lambda m, h: store(m, "h", h), {"h": non_leaf(), "lock": threading.Lock()}),
    "long list": (lambda m, h: m.seen.append(h), {"seen": list(range(5_000))}),
    "random numbers": (draw, {}),
}


@pytest.mark.parametrize("name", STORING)
def test_what_forward_code_stores_stays_out_of_the_model(name, untouched):
    code, attributes = STORING[name]
    model = Keeping(code, **attributes)
    memory = getattr(model, "memory", None)
    with untouched(model):
        spec = NetworkSpec.from_module(model)
    assert memory is None or memory.last is None
    assert spec.axes["last.weight"] == ("out", "first")


def test_a_bound_method_and_a_partial_run_on_the_twin(untouched):
    model = Keeping(lambda m, h: [keep("h", h) for keep in m.keep], h=None)
    model.keep = [model.__setattr__, partial(store, model)]
    with untouched(model):
        NetworkSpec.from_module(model)
    assert model.h is None


@pytest.mark.parametrize(
    "write",
    [
        lambda m, h: m.total.add_(1),
        lambda m, h: m.total[1:].zero_(),
        lambda m, h: torch.add(m.total, 1, out=m.total),
        lambda m, h: m.tensors[0].fill_(2),
        lambda m, h: m.weights[0].data.mul_(2),
    ],
    ids=["in place", "through a view", "out", "in a list", "weights"],
)
def test_operations_in_place_leave_the_models_tensors(write):
    model = Keeping(write, total=torch.ones(4), tensors=[torch.ones(4)])
    model.weights = [model.last.weight]
    tensors = [model.total, *model.tensors, model.last.weight]
    before = [tensor.clone() for tensor in tensors]
    assert NetworkSpec.from_module(model).names
    torch.testing.assert_close(tensors, before, rtol=0, atol=0)


@pytest.mark.parametrize("holder", [lambda x: x, lambda x: {"caches": [x]}], ids=["bare", "deep"])
def test_objects_in_objects_stay_as_they_were(holder):
    cache, found = Cache(), []
    model = Keeping(lambda m, h: (found.append(1), caches(m.cache)[0].add(h)), cache=holder(cache))
    assert NetworkSpec.from_module(model).axes["last.weight"] == ("out", "first")
    assert found
    assert (cache.seen, cache.inner.last, cache.total.tolist()) == ([], None, [0.0] * 4)


def caches(x):
    return x["caches"] if isinstance(x, dict) else [x]


def test_objects_that_close_something_are_not_copied():
    closed = []
    model = Keeping(draw, file=Closing(closed), holder=Memory())
    model.holder.last = model.file
    NetworkSpec.from_module(model)
    assert not closed


SETTING = {
    "freezes": lambda m, h: m.requires_grad_(False),
    "casts": lambda m, h: m.half(),
    "moves": lambda m, h: m.to("meta"),
    "replaces numbers": lambda m, h: [store(p, "data", p.data + 1) for p in m.parameters()],
    "replaces gradients": lambda m, h: m.zero_grad(),
    "replaces parameters": lambda m, h: store(m.last, "weight", nn.Parameter(torch.ones(2, 4))),
    "writes to all": lambda m, h: [p.mul_(2) for p in m.parameters() if not p.requires_grad],
    "turns gradients off": lambda m, h: torch.set_grad_enabled(False),
    "default type": lambda m, h: torch.set_default_dtype(torch.float64),
    "raises": lambda m, h: (m.requires_grad_(False), m.seen.append(h), 1 / 0),
}


@pytest.mark.parametrize("code", SETTING.values(), ids=SETTING.keys())
def test_what_forward_code_sets_is_put_back(code, untouched):
    model = Keeping(code, seen=[], frozen=nn.Linear(2, 2).requires_grad_(False))
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    with untouched(model):
        trace(model)


def test_a_generator_of_the_model_is_not_drawn_from():
    model = Keeping(lambda m, h: torch.randn(4, generator=m.random))
    model.random = torch.Generator().manual_seed(1)
    before = model.random.get_state()
    NetworkSpec.from_module(model)
    assert torch.equal(model.random.get_state(), before)


def test_random_numbers_are_kept_where_tracing_fails():
    model = Keeping(lambda m, h: (draw(m, h), int(h.sum())))
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    assert trace(model).failures
    assert torch.equal(torch.rand(3), expected)


def test_hooks_of_all_modules_are_not_called():
    calls = []
    handle = nn.modules.module.register_module_forward_hook(lambda *_: calls.append(1))
    try:
        NetworkSpec.from_module(nn.Sequential(nn.Sequential(nn.Linear(2, 3)), nn.Linear(3, 1)))
    finally:
        handle.remove()
    assert not calls


def test_a_twin_shares_tensors_and_the_items_of_long_containers():
    data = torch.zeros(5), [torch.ones(2), {"deep": torch.ones(3)}]
    model = Keeping(draw, data=data, rows=[{"row": i} for i in range(2_000)])
    twin = Twins().of(model)
    assert twin is not model
    assert twin.data[0] is data[0]
    assert twin.data[1][0] is data[1][0]
    assert twin.data[1][1] is not data[1][1]
    assert twin.data[1][1]["deep"] is data[1][1]["deep"]
    assert twin.rows is not model.rows
    assert twin.rows[7] is model.rows[7]
    assert twin.first.weight is model.first.weight


def test_a_model_that_keeps_its_state_trains():
    def keep(module, hidden):
        module.h = hidden + module.h.detach()

    model = Keeping(keep, h=torch.zeros(2, 4))
    inputs = torch.ones(2, 3)
    model(inputs)
    optimizer, start = NFNOptimizer(model), model.first.weight.clone()
    model(inputs).square().mean().backward()
    optimizer.step()
    assert not torch.equal(model.first.weight, start)


def layers():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))


def with_norm(norm):
    model = layers()
    norm(model[0])
    return model


WRAPPED = {
    "scripted": lambda: torch.jit.script(layers()),
    "traced": lambda: torch.jit.trace(layers(), torch.ones(1, 2)),
    "scripted part": lambda: nn.Sequential(torch.jit.script(nn.Linear(2, 3)), nn.Linear(3, 1)),
    "compiled": lambda: torch.compile(layers()),
    "compiled part": lambda: nn.Sequential(torch.compile(nn.Linear(2, 3)), nn.Linear(3, 1)),
    "weight norm": lambda: with_norm(parametrizations.weight_norm),
    "spectral norm": lambda: with_norm(parametrizations.spectral_norm),
    "orthogonal": lambda: with_norm(parametrizations.orthogonal),
    "weight norm by a hook": lambda: with_norm(nn.utils.weight_norm),
    "spectral norm by a hook": lambda: with_norm(nn.utils.spectral_norm),
    "batch norm": lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:NFNOptimizer reads:UserWarning")
@pytest.mark.parametrize("build", WRAPPED.values(), ids=WRAPPED.keys())
def test_making_an_optimizer_changes_nothing_else(build, untouched):
    model = build()
    with untouched(model):
        NFNOptimizer(model)


@pytest.mark.parametrize("checkpoint", ["default", "small", "untrained"])
def test_making_an_optimizer_draws_no_random_numbers(checkpoint, untouched, monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    model = layers()
    with untouched(model):
        NFNOptimizer(model, checkpoint=checkpoint)
    assert not seeded


def test_hooks_that_change_the_model_are_not_called(untouched):
    model = layers()
    for register in (model[0].register_forward_hook, model[0].register_forward_pre_hook):
        register(lambda module, *_: module.weight.data.zero_())
    model[0].weight.register_hook(lambda grad: model[0].weight.data.zero_())
    with untouched(model):
        NFNOptimizer(model)
    assert model[0].weight.all()


class Largest(TorchDispatchMode):
    """Looks at all tensors that are made."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = [x for x in _pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        known = {x.untyped_storage()._cdata for x in given}
        for x in _pytree.tree_leaves(out):
            if isinstance(x, torch.Tensor) and x.untyped_storage()._cdata not in known:
                self.entries = max(self.entries, x.numel())
        return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_no_large_tensor_is_copied(dtype):
    model = nn.Sequential(nn.Embedding(500, 400), nn.Linear(400, 400), nn.BatchNorm1d(400))
    model.to(dtype)
    with Largest() as largest:
        NFNOptimizer(model)
    assert 0 < largest.entries < 400 * 400 / 4


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # torch.jit's own
def test_a_scripted_model_is_not_read():
    model = torch.jit.script(layers())
    assert not trace(model).description.axes
    assert "0.weight" in trace(model).reasons
